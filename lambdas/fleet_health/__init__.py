"""Fleet health: metrics from the archive, who is connected, who needs an update."""
