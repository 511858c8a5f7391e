"""The benchmarks of `fleet-sim bench`, and those of continuous integration."""
