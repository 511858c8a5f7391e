"""`python -m fleet_sim`."""

from fleet_sim.cli import main

# A shard's process imports the module that the command was, under another name.
if __name__ == "__main__":
    main()
