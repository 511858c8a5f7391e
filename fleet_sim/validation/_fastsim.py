"""NREL's FASTSim 3 as an independent oracle, run in this process: the `validate` extra.

Its cycles (UDDS, HWFET) and its vehicles, with the parameters that are given here.
"""

import importlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fleet_sim.models import VehiclePreset
from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.battery_road import MILE_M, RoadLoad

MISSING = "FASTSim 3 is not installed: pip install 'fleet-sim[validate]'"
_LEAF = "2016 Nissan Leaf 30 kWh thrml.yaml"


class Car(NamedTuple):
    """Parameters that FASTSim and we both take."""

    name: str
    mass_kg: float
    cd: float
    area_m2: float
    crr: float
    motor_kw: float
    aux_w: float = 250.0

    def ours(self) -> VehiclePreset:
        """Our vehicle with the same figures; the pack does not matter for what is compared."""
        return VehiclePreset(
            self.name,
            RoadLoad.from_drag(self.mass_kg, self.cd, self.area_m2, self.crr),
            usable_kwh=50.0,
            ac_kw=7.0,
            length_m=4.5,
            width_m=1.8,
            source="FASTSim",
            motor_kw=self.motor_kw,
            regen_kw=self.motor_kw,
        )


CARS = (
    Car("Model 3 RWD 2022", 1752.0, 0.23, 2.22, 0.0070, 239.0),
    Car("Leaf 30 2016", 1636.0, 0.315, 2.755, 0.0080, 80.0),
    Car("Bolt 2017", 1758.0, 0.29, 2.845, 0.0073, 150.0),
)


class Trace(NamedTuple):
    """A drive as FASTSim made it."""

    time_s: FloatArray
    speed_mps: FloatArray
    terminal_j: FloatArray
    """Energy out of the pack's terminals up to each sample."""

    @property
    def wh_per_mi(self) -> float:
        way = float(np.trapezoid(self.speed_mps, self.time_s))
        return float(self.terminal_j[-1]) / 3600.0 / (way / MILE_M)


def available() -> bool:
    try:
        return hasattr(importlib.import_module("fastsim").SimDrive, "to_dict")
    except ImportError:
        return False


@lru_cache(maxsize=4)
def cycle(name: str) -> tuple[FloatArray, FloatArray]:
    """Time, s, and speed, m/s, of FASTSim's cycle `name`: udds or hwfet."""
    found = importlib.import_module("fastsim").Cycle.from_resource(f"{name}.csv").to_dict()
    return np.array(found["time_seconds"]), np.array(found["speed_meters_per_second"])


@lru_cache(maxsize=64)
def drive(car: Car, name: str) -> Trace:
    """FASTSim's run of the cycle `name` (udds, hwfet)."""
    return _run(car, importlib.import_module("fastsim").Cycle.from_resource(f"{name}.csv"))


@lru_cache(maxsize=64)
def cruise_wh_per_mi(car: Car, speed_mps: float) -> float:
    """FASTSim's consumption at a steady speed, over the second of 8 minutes' two halves."""
    time = np.arange(481.0)
    speed = np.minimum(time * 1.0, speed_mps)
    cycle_ = importlib.import_module("fastsim").Cycle.from_dict(
        {"time_seconds": time.tolist(), "speed_meters_per_second": speed.tolist()}
    )
    trace = _run(car, cycle_)
    joules = trace.terminal_j[-1] - trace.terminal_j[240]
    return float(joules) / 3600.0 / (speed_mps * 240.0 / MILE_M)


def _run(car: Car, cycle_: Any) -> Trace:
    fastsim = importlib.import_module("fastsim")
    drive_ = fastsim.SimDrive(_vehicle(fastsim, car), cycle_)
    drive_.run()
    vehicle = drive_.to_dict()["veh"]
    state, history = vehicle["state"], vehicle["history"]
    if not state["cyc_met_overall"]:
        raise RuntimeError(f"FASTSim: the {car.name} did not follow the cycle")
    # Heating or cooling would make the comparison unlike: at 22 °C there is none.
    mean_aux = state["energy_aux_joules"] / state["time_seconds"]
    if abs(mean_aux - car.aux_w) > 0.01 * car.aux_w:
        raise RuntimeError(f"FASTSim: auxiliaries took {mean_aux} W instead of {car.aux_w} W")
    pack = vehicle["pt_type"]["BEV"]["res"]["history"]
    return Trace(
        np.array(history["time_seconds"]),
        np.array(history["speed_ach_meters_per_second"]),
        np.array(pack["energy_out_electrical_joules"]),
    )


def _vehicle(fastsim: Any, car: Car) -> Any:
    """FASTSim's Leaf with the road load, mass, motor and auxiliaries of `car`."""
    made = fastsim.Vehicle.from_resource(_LEAF).to_dict()
    made["name"] = car.name
    made["mass_kilograms"] = car.mass_kg
    made["pwr_aux_base_watts"] = car.aux_w
    made["chassis"]["drag_coef"] = car.cd
    made["chassis"]["frontal_area_square_meters"] = car.area_m2
    made["chassis"]["wheel_rr_coef"] = car.crr
    power = made["pt_type"]["BEV"]
    power["em"]["pwr_out_max_watts"] = car.motor_kw * 1e3
    power["res"]["pwr_out_max_watts"] = car.motor_kw * 1.2e3
    vehicle = fastsim.Vehicle.from_dict(made)
    vehicle.set_save_interval(1)
    return vehicle
