"""Drives and charging sessions that the energy checks, and their small versions, look at."""

from dataclasses import replace

import numpy as np

from fleet_sim.models import VehiclePreset
from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.battery import Batteries
from fleet_sim.models.battery_climate import auxiliary_w
from fleet_sim.models.battery_road import RoadLoads, air_density_ratio, wheel_work_j

_ONE = np.zeros(1, dtype=np.int64)


def saw(seconds: int = 1200) -> tuple[FloatArray, FloatArray]:
    """A trace of stops, accelerations and cruises, from rest to rest: time s, speed m/s."""
    knots = [(0, 0), (10, 0), (22, 15), (60, 15), (66, 8), (80, 14), (95, 0), (100, 0)]
    time = np.arange(0.0, seconds + 1.0)
    at, speed = np.array(knots, dtype=np.float64).T
    return time, np.interp(time % 100.0, at, speed)


def driving_closure(car: VehiclePreset, ambient_c: float) -> float:
    """Relative gap between what left the store and where it went, over a drive from rest to rest.

    Resistance of road and air is integrated in closed form, heat from the voltage's sag.
    """
    time, speed = saw()
    pack = Batteries([car], _ONE, ambient_c)
    load = replace(car.load, c_ns2_m2=car.load.c_ns2_m2 * air_density_ratio(ambient_c))
    aux = float(auxiliary_w(car.heating, ambient_c))
    soc = np.array([0.9])
    lost = 0.0
    for t in range(time.size - 1):
        v0, v1 = speed[t : t + 1], speed[t + 1 : t + 2]
        way = (v0 + v1) / 2
        wheels = float(wheel_work_j(RoadLoads.of([load]), v0, v1, way, 1.0)[0])
        power = pack.terminal_w(_ONE, v0, v1, way, 1.0)
        ocv = pack.voltage_v(_ONE, soc, np.zeros(1))
        heat = float((ocv - pack.voltage_v(_ONE, soc, power))[0])
        heat = heat**2 / (car.resistance_ohm * float(pack.resistance_ratio))
        # Gear, motor and friction brakes: what lies between wheels and terminals.
        lost += float(power[0]) - aux - wheels + heat
        soc = soc - pack.drive_j(_ONE, soc, v0, v1, way, 1.0) / pack.usable_j
    v0, v1 = speed[:-1], speed[1:]
    mean, square = (v0 + v1) / 2, (v0**2 + v0 * v1 + v1**2) / 3
    cube = (v0**3 + v0**2 * v1 + v0 * v1**2 + v1**3) / 4
    road = float((load.a_n * mean + load.b_ns_m * square + load.c_ns2_m2 * cube).sum())
    gone = (0.9 - float(soc[0])) * float(pack.usable_j[0])
    return gone / (road + lost + aux * float(time[-1])) - 1


def charging_closure(car: VehiclePreset, ambient_c: float, dt_s: float) -> float:
    """Relative gap between what a 50 kW station gave and what was stored or became heat."""
    pack = Batteries([car], _ONE, ambient_c)
    soc, given, heat = np.array([0.1]), 0.0, 0.0
    while soc[0] < 0.9:
        power = pack.charge_w(_ONE, soc, 50e3)
        rise = pack.voltage_v(_ONE, soc, -power) - pack.voltage_v(_ONE, soc, np.zeros(1))
        given += float(power[0]) * dt_s
        heat += float(rise[0]) ** 2 / (car.resistance_ohm * float(pack.resistance_ratio)) * dt_s
        soc = soc + pack.charge_j(_ONE, soc, dt_s, 50e3) / pack.usable_j
    return ((float(soc[0]) - 0.1) * float(pack.usable_j[0]) + heat) / given - 1


def charge_session(
    car: VehiclePreset, station_w: float | None, ambient_c: float, dt_s: float
) -> tuple[FloatArray, FloatArray]:
    """State of charge and power, W, every `dt_s` from 1 % until 99.5 % or the power is 1 kW."""
    pack = Batteries([car], _ONE, ambient_c)
    soc, socs, powers = np.array([0.01]), [], []
    while soc[0] < 0.995:
        power = float(pack.charge_w(_ONE, soc, station_w)[0])
        if power < 1e3:
            break
        socs.append(float(soc[0]))
        powers.append(power)
        soc = soc + pack.charge_j(_ONE, soc, dt_s, station_w) / pack.usable_j
    return np.array(socs), np.array(powers)


def rise_past_knee(powers: FloatArray) -> tuple[int, float]:
    """Where power first falls below the most it had, and its largest rise after that, W."""
    fallen = np.flatnonzero(powers < np.maximum.accumulate(powers) * (1 - 1e-6))
    if not fallen.size:
        return powers.size - 1, 0.0
    after = powers[fallen[0] - 1 :]
    return int(fallen[0]) - 1, float(max(np.diff(after).max(), 0.0))
