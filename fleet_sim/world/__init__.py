"""City, stalls and demand, fleet state and ground truth."""

from fleet_sim.world.city import City
from fleet_sim.world.faults import RADIO_DOWN, RADIO_OUT, RADIO_STALLED, RADIO_UP
from fleet_sim.world.towns import Share, Simulated, build_cities, share_out, simulate
from fleet_sim.world.truth import Truth
from fleet_sim.world.world import MODES, Observation, World, catalog

__all__ = [
    "MODES",
    "RADIO_DOWN",
    "RADIO_OUT",
    "RADIO_STALLED",
    "RADIO_UP",
    "City",
    "Observation",
    "Share",
    "Simulated",
    "Truth",
    "World",
    "build_cities",
    "catalog",
    "share_out",
    "simulate",
]
