"""Road load and pack energy against published figures, and energy that closes."""

import numpy as np
import pytest

from fleet_sim.models import VEHICLES
from fleet_sim.models.battery import (
    AUX_W,
    ETA_DRIVE,
    ETA_REGEN,
    ROTATING_MASS,
    RoadLoad,
    RoadLoads,
    constant_speed_wh_per_mi,
    pack_power_w,
    trip_energy_j,
    wheel_force_n,
)

MPH = 0.44704
SPEEDS_MPH = (15, 25, 35, 45, 55, 65, 75)
# FASTSim 2.1.5, terminal Wh/mi at constant speed.
FASTSIM = {
    "model3": ((1752, 0.23, 2.22, 0.0070), (89, 95, 112, 135, 165, 200, 239)),
    "leaf": ((1636, 0.315, 2.755, 0.0080), (98, 113, 138, 176, 223, 279, 348)),
}


@pytest.mark.parametrize("car", FASTSIM)
def test_constant_speed_from_drag_is_near_fastsim(car: str) -> None:
    parameters, expected = FASTSIM[car]
    load = RoadLoad.from_drag(*parameters)
    ours = [constant_speed_wh_per_mi(load, mph * MPH) for mph in SPEEDS_MPH]
    # One efficiency for all loads against FASTSim's map.
    assert ours == pytest.approx(list(expected), rel=0.12)


@pytest.mark.parametrize(("name", "car"), [("model3_rwd", "model3"), ("leaf_30", "leaf")])
def test_constant_speed_of_the_presets_is_near_fastsim(name: str, car: str) -> None:
    ours = [constant_speed_wh_per_mi(VEHICLES[name].load, mph * MPH) for mph in SPEEDS_MPH]
    # EPA's coasting losses are higher than the published Cd and Crr at low speed.
    assert ours == pytest.approx(list(FASTSIM[car][1]), rel=0.20)


def test_epa_coefficients_convert_to_si() -> None:
    load = RoadLoad.from_epa(37.17, 0.0470, 0.01440, 4250)
    at_60_mph = 37.17 + 0.0470 * 60 + 0.01440 * 60**2
    force = wheel_force_n(load, np.array([60 * MPH]), np.zeros(1))
    assert force[0] == pytest.approx(at_60_mph * 4.44822, rel=1e-5)
    assert load.mass_kg == pytest.approx(1927.8, abs=0.1)


def test_acceleration_takes_force_for_the_mass_and_its_rotating_parts() -> None:
    load = VEHICLES["bolt_2017"].load
    still = wheel_force_n(load, np.array([10.0]), np.zeros(1))
    hard = wheel_force_n(load, np.array([10.0]), np.ones(1))
    assert hard[0] - still[0] == pytest.approx(ROTATING_MASS * load.mass_kg)


def test_driving_costs_more_and_braking_returns_less_than_the_wheels_see() -> None:
    power = pack_power_w(np.array([9200.0, 0.0, -10_000.0]))
    assert power == pytest.approx([9200 / ETA_DRIVE + AUX_W, AUX_W, -1e4 * ETA_REGEN + AUX_W])


def test_energy_of_speeding_up_does_not_depend_on_the_step() -> None:
    loads = RoadLoads.of([VEHICLES["leaf_30"].load])
    used = []
    for dt in (0.01, 1.0):
        v, total = np.zeros(1), 0.0
        for _ in range(round(10 / dt)):
            v1 = v + 2.0 * dt
            total += trip_energy_j(loads, v, v1, (v + v1) / 2 * dt, dt)[0]
            v = v1
        used.append(total)
    assert used[1] == pytest.approx(used[0], rel=2e-3)


def test_energy_closes_and_does_not_depend_on_the_step() -> None:
    """Speed up, cruise, brake to a stop: what the pack gave equals losses plus auxiliaries."""
    load = VEHICLES["model3_rwd"].load
    loads = RoadLoads.of([load])
    profile = [(2.0, 7.0), (0.0, 30.0), (-2.0, 7.0)]
    used = {}
    for dt in (0.05, 0.5):
        v, total, drag_j = np.zeros(1), 0.0, 0.0
        for accel, seconds in profile:
            for _ in range(round(seconds / dt)):
                v1 = v + accel * dt
                ds = (v + v1) / 2 * dt
                total += trip_energy_j(loads, v, v1, ds, dt)[0]
                drag_j += wheel_force_n(load, ds / dt, np.zeros(1))[0] * ds[0]
                v = v1
        used[dt] = total
        kinetic = 0.5 * ROTATING_MASS * load.mass_kg * 14.0**2
        if dt == 0.05:
            # Wheels drive for all drag but that of braking, which comes out of kinetic energy.
            braking_drag = sum(
                wheel_force_n(load, np.array([u]), np.zeros(1))[0] * u * 0.05
                for u in np.arange(0.05, 14, 0.1)
            )
            expected = (
                (drag_j - braking_drag + kinetic) / ETA_DRIVE
                - (kinetic - braking_drag) * ETA_REGEN
                + AUX_W * 44.0
            )
            assert total == pytest.approx(expected, rel=1e-3)
    assert used[0.5] == pytest.approx(used[0.05], rel=1e-3)
