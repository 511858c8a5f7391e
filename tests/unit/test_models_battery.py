"""Road load, drivetrain and the energy of a drive: published figures, and energy that closes."""

from dataclasses import replace

import numpy as np
import pytest

from fleet_sim.models import VEHICLES
from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.battery import (
    MILD_C,
    Batteries,
    constant_speed_wh_per_mi,
    cycle_wh_per_mi,
)
from fleet_sim.models.battery_climate import BASE_AUX_W, Heating, auxiliary_w
from fleet_sim.models.battery_drivetrain import (
    ETA_REGEN,
    motor_efficiency,
    recovered_w,
    terminal_power_w,
)
from fleet_sim.models.battery_road import (
    GRAVITY_MPS2,
    ROTATING_MASS,
    RoadLoad,
    RoadLoads,
    air_density_ratio,
    wheel_force_n,
    wheel_work_j,
)
from fleet_sim.validation import _battery_sessions as sessions
from fleet_sim.validation import battery as checks

MPH = 0.44704
ONE = np.zeros(1, dtype=np.int64)


@pytest.mark.parametrize("car", checks.FASTSIM_2_WH_PER_MI)
def test_constant_speed_is_that_of_fastsim(car: str) -> None:
    found = next(one for one in checks._fastsim.CARS if one.name == car)
    ours = [
        constant_speed_wh_per_mi(found.ours(), mph * MPH, aux_w=250.0) for mph in checks.SPEEDS_MPH
    ]
    assert ours == pytest.approx(list(checks.FASTSIM_2_WH_PER_MI[car]), rel=0.04)


def test_epa_coefficients_convert_to_si() -> None:
    load = RoadLoad.from_epa(37.17, 0.0470, 0.01440, 4250)
    at_60_mph = 37.17 + 0.0470 * 60 + 0.01440 * 60**2
    force = wheel_force_n(load, np.array([60 * MPH]), np.zeros(1))
    assert force[0] == pytest.approx(at_60_mph * 4.44822, rel=1e-5)
    assert load.mass_kg == pytest.approx(1927.8, abs=0.1)
    assert load.gear == 1.0  # coasting down in neutral measured it


def test_drag_coefficients_give_rolling_and_air_resistance() -> None:
    load = RoadLoad.from_drag(1636.0, 0.315, 2.755, 0.008)
    force = wheel_force_n(load, np.array([20.0]), np.zeros(1))
    air = 0.5 * 1.2 * 0.315 * 2.755 * 400
    assert force[0] == pytest.approx(0.008 * 1636 * GRAVITY_MPS2 + air, rel=1e-9)


def test_acceleration_takes_force_for_the_mass_and_its_rotating_parts() -> None:
    load = VEHICLES["bolt_2017"].load
    still = wheel_force_n(load, np.array([10.0]), np.zeros(1))
    hard = wheel_force_n(load, np.array([10.0]), np.ones(1))
    assert hard[0] - still[0] == pytest.approx(ROTATING_MASS * load.mass_kg)


def test_a_slope_takes_the_weight_s_share_as_force_and_as_work() -> None:
    load, v, zero = VEHICLES["leaf_30"].load, np.array([12.0]), np.zeros(1)
    angle = np.arctan(0.05)
    extra = wheel_force_n(load, v, zero, angle) - wheel_force_n(load, v, zero)
    assert extra[0] == pytest.approx(load.mass_kg * GRAVITY_MPS2 * 0.05, rel=2e-3)
    climb = wheel_work_j(load, v, v, v * 1.0, 1.0, np.array([0.6])) - wheel_work_j(
        load, v, v, v * 1.0, 1.0
    )
    assert climb[0] == pytest.approx(load.mass_kg * GRAVITY_MPS2 * 0.6)


def test_cold_air_is_denser_by_the_gas_law() -> None:
    assert air_density_ratio(20.0) == 1.0
    assert air_density_ratio(-7.0) == pytest.approx(293.15 / 266.15)


def test_the_motor_is_best_between_40_and_60_percent_load() -> None:
    load = np.linspace(0, 1, 101)
    efficiency = motor_efficiency(load)
    assert 0.4 <= load[efficiency.argmax()] <= 0.6
    assert efficiency[[0, 10, 50, 100]] == pytest.approx([0.84, 0.92, 0.95, 0.93])
    assert motor_efficiency(load, 0.97) == pytest.approx(efficiency * 0.97 / 0.95)


def test_driving_costs_more_and_braking_returns_less_than_the_wheels_see() -> None:
    wheels = np.array([40e3, 0.0, -10e3])
    power = terminal_power_w(wheels, np.full(3, 15.0), 80e3, 50e3, 0.95, 0.98)
    # 40 kW / 0.98 is a load of 0.51 of 80 kW: 0.95.
    assert power == pytest.approx([40e3 / 0.98 / 0.95, 0.0, -10e3 * ETA_REGEN])


def test_friction_brakes_take_over_at_low_speed_and_beyond_what_the_pack_takes() -> None:
    braking = np.full(4, -20e3)
    back = recovered_w(braking, np.array([0.0, 1.1, 2.2, 20.0]), 50e3)
    assert back == pytest.approx([0.0, -0.5 * 20e3 * ETA_REGEN] + [-20e3 * ETA_REGEN] * 2)
    assert recovered_w(np.array([-200e3]), np.array([20.0]), 50e3)[0] == -50e3


def test_heating_follows_the_table_and_the_heat_pump_wins_above_minus_7() -> None:
    at = np.array([-18.0, -7.0, 0.0, 10.0, 22.0, 35.0, 40.0])
    resistive = [4610, 3410, 2640, 1540, 250, 570, 870]
    pump = [5580, 2940, 1670, 610, 250, 670, 1170]
    assert auxiliary_w(Heating.RESISTIVE, at) == pytest.approx(resistive)
    assert auxiliary_w(Heating.HEAT_PUMP, at) == pytest.approx(pump)
    assert auxiliary_w(Heating.RESISTIVE, MILD_C) == BASE_AUX_W
    assert auxiliary_w(Heating.RESISTIVE, 5.0) == pytest.approx((2640 + 1540) / 2)


def drive(car: str, dt: float, ambient_c: float = MILD_C) -> float:
    """Energy out of the store, J, for stops, accelerations and cruises of 20 min."""
    time, speed = sessions.saw()
    fine = np.arange(0.0, time[-1] + dt / 2, dt)
    v = np.interp(fine, time, speed)
    pack = Batteries([VEHICLES[car]], ONE, ambient_c)
    soc, used = np.array([0.8]), 0.0
    for v0, v1 in zip(v[:-1, None], v[1:, None], strict=True):
        one = pack.drive_j(ONE, soc, v0, v1, (v0 + v1) / 2 * dt, dt)
        soc, used = soc - one / pack.usable_j, used + float(one[0])
    assert (0.8 - soc[0]) * pack.usable_j[0] == pytest.approx(used, rel=1e-9)
    return used


def test_energy_does_not_depend_on_the_step() -> None:
    coarse, fine = drive("model3_rwd", 0.5), drive("model3_rwd", 0.05)
    assert coarse == pytest.approx(fine, rel=2e-3)


def test_cold_costs_heating_and_denser_air() -> None:
    warm, cold = drive("leaf_30", 0.5), drive("leaf_30", 0.5, -7.0)
    heater = (3410 - 250) * 1200
    assert cold - warm == pytest.approx(heater, rel=0.1)
    assert cold - warm > heater


@pytest.mark.parametrize("ambient_c", [-7.0, 22.0])
@pytest.mark.parametrize("car", VEHICLES)
def test_energy_closes(car: str, ambient_c: float) -> None:
    assert sessions.driving_closure(VEHICLES[car], ambient_c) == pytest.approx(0.0, abs=1e-3)


def test_vehicles_of_several_kinds_take_what_each_would_alone() -> None:
    cars = list(VEHICLES.values())
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 50)
    idx = rng.permutation(50)[:30]
    v0, soc = rng.uniform(0, 15, 30), rng.uniform(0.1, 0.9, 30)
    v1 = np.maximum(v0 + rng.normal(0, 0.5, 30), 0)
    args = (v0, v1, (v0 + v1) / 4, 0.5)
    together = Batteries(cars, kind).drive_j(idx, soc, *args)
    for k, car in enumerate(cars):
        mine = kind[idx] == k
        alone = Batteries([car], np.zeros(50, dtype=np.int64))
        found: FloatArray = alone.drive_j(idx[mine], soc[mine], *(a[mine] for a in args[:3]), 0.5)
        assert together[mine] == pytest.approx(found)


def test_climbing_costs_its_potential_energy_through_the_drivetrain() -> None:
    car = VEHICLES["bolt_2017"]
    pack, v, soc = Batteries([car], ONE), np.array([14.0]), np.array([0.6])
    level = pack.terminal_w(ONE, v, v, v, 1.0)
    uphill = pack.terminal_w(ONE, v, v, v, 1.0, np.array([0.7]))
    lift = car.load.mass_kg * GRAVITY_MPS2 * 0.7
    assert lift / 0.96 < (uphill - level)[0] < lift / 0.84
    more = pack.drive_j(ONE, soc, v, v, v, 1.0, np.array([0.7]))
    assert more > pack.drive_j(ONE, soc, v, v, v, 1.0) + lift


def test_consumption_of_a_cycle_counts_its_own_steps() -> None:
    """Samples 1 s and 2 s apart on one straight ramp: the same drive."""
    car = replace(VEHICLES["leaf_30"], regen_kw=0.0)
    even = np.arange(0.0, 21.0)
    uneven = np.array([0.0, 1, 2, 4, 6, 7, 9, 11, 12, 14, 16, 17, 19, 20])
    first, second = (cycle_wh_per_mi(car, t, t * 0.7) for t in (even, uneven))
    assert first == pytest.approx(second, rel=2e-3)


def test_loads_of_several_cars_are_arrays() -> None:
    loads = RoadLoads.of([car.load for car in VEHICLES.values()])
    assert loads.mass_kg.shape == loads.gear.shape == (3,)
