"""Physics: arrays in, arrays out. No clock, no I/O; randomness from the generator passed in."""

from fleet_sim.models.battery_vehicle import VehiclePreset
from fleet_sim.models.presets import RADIOS, VEHICLES, radio, vehicle
from fleet_sim.models.radio import RadioPreset

__all__ = ["RADIOS", "VEHICLES", "RadioPreset", "VehiclePreset", "radio", "vehicle"]
