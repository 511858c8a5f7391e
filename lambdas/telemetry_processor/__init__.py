"""Stream batch → archive, then spots, then vehicles. Only `handler` touches the environment."""
