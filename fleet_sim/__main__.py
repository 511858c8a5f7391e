"""`python -m fleet_sim`."""

from fleet_sim.cli import main

main()
