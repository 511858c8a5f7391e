"""Following, stopping and queue discharge by the Intelligent Driver Model."""

import numpy as np
import pytest

from fleet_sim.models import motion
from fleet_sim.validation import _sumo
from fleet_sim.validation.motion import SUMO_HEADWAY_S, platoon


@pytest.mark.parametrize("dt", [0.05, 0.1, 0.5])
def test_saturation_headway_is_near_1_9_s(dt: float) -> None:
    passed, _ = platoon(dt)
    # The first vehicles still accelerate (Highway Capacity Manual: from the fourth on).
    assert np.diff(passed[4:]).mean() == pytest.approx(1.9, abs=0.1)


def test_a_queue_keeps_the_limits_of_acceleration_and_jerk() -> None:
    _, speeds = platoon(0.1)
    accel = np.diff(speeds, axis=0, prepend=0.0) / 0.1
    assert (speeds >= 0).all()
    assert accel.max() <= motion.IDM.accel_mps2 + 1e-9
    assert np.abs(np.diff(accel, axis=0)).max() / 0.1 <= motion.IDM.jerk_mps3 + 1e-6


def test_acceleration_follows_its_target_at_the_jerk_limit_but_for_an_emergency() -> None:
    target, before, v = np.array([2.0, -6.0, -6.0]), np.zeros(3), np.full(3, 10.0)
    urgent = np.array([False, False, True])
    assert motion.with_jerk(target, before, v, 0.1, urgent) == pytest.approx([0.2, -0.2, -2.0])


def test_brakes_are_eased_before_a_standstill() -> None:
    v, accel = np.full(1, 3.0), np.full(1, -2.0)
    for _ in range(100):
        if v[0] < 0.01:
            break
        accel = motion.with_jerk(np.full(1, -2.0), accel, v, 0.1)
        v, _ = motion.advance(v, accel, 0.1)
    assert v[0] < 0.01
    assert accel[0] > -0.25


def test_stopping_way_is_what_a_driver_needs_who_brakes_at_the_jerk_limit() -> None:
    rng = np.random.default_rng(1)
    v0, a0 = rng.uniform(0.5, 15.0, 200), rng.uniform(-2.0, 2.0, 200)
    v, accel, way, dt = v0.copy(), a0.copy(), np.zeros(200), 0.001
    for _ in range(12_000):
        accel = np.maximum(accel - 2.0 * dt, np.minimum(a0, -3.0))
        v, ds = motion.advance(v, np.where(v > 0.0, accel, 0.0), dt)
        way += ds
    assert motion.stopping_m(v0, a0, 3.0) == pytest.approx(way, abs=0.05)


def test_drivers_foresee_what_the_jerk_limit_delays() -> None:
    v, gap, lead = np.full(2, 8.0), np.full(2, 20.0), np.array([3.0, 9.0])
    target = motion.acceleration(v, np.full(2, 15.0), motion.interaction(v, gap, lead))
    seen = motion.foresee(target - 1.0, np.full(2, 1.5), v, gap, lead)
    assert seen[0] < target[0] - 1.5
    assert seen[1] == target[1] - 1.0  # nobody closes in on a faster one
    assert (motion.foresee(target, target, v, gap, lead) == target).all()


def test_an_emergency_is_what_braking_at_4_cannot_avoid() -> None:
    hard = motion.must_brake_hard(np.array([10.0, 10.0, 0.1]), np.array([10.0, 20.0, 0.0]), 0.0)
    assert hard.tolist() == [True, False, False]


def test_above_the_limit_it_slows_gently() -> None:
    accel = motion.acceleration(np.full(1, 14.0), np.full(1, 7.0), np.zeros(1))
    assert -motion.IDM.brake_mps2 <= accel[0] < -1.5


@pytest.mark.parametrize("field", ["headway_s", "jerk_mps3"])
def test_a_parameter_that_makes_no_sense_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"Idm\.{field}: -1.0 \(allowed: above 0\)"):
        motion.Idm(**{field: -1.0})


@pytest.mark.parametrize("dt", [0.05, 0.25, 0.5])
def test_a_vehicle_stops_at_a_point_and_not_beyond(dt: float) -> None:
    x, v = np.zeros(1), np.full(1, 13.0)
    for _ in range(round(40 / dt)):
        gap = 80.0 - x + motion.IDM.standstill_m
        ratio = motion.interaction(v, gap, np.zeros(1))
        v, ds = motion.advance(v, motion.acceleration(v, np.full(1, 13.9), ratio), dt)
        x = x + ds
    assert x[0] == pytest.approx(80.0, abs=0.6)
    assert x[0] < 80.1
    assert v[0] < 0.1


def test_free_road_brings_it_to_the_limit_and_not_above() -> None:
    v = np.zeros(1)
    for _ in range(600):
        v, _ = motion.advance(v, motion.acceleration(v, np.full(1, 8.33), np.zeros(1)), 0.1)
    assert v[0] == pytest.approx(8.33, abs=0.02)


def test_braking_to_a_stop_within_a_step_covers_v2_over_2a() -> None:
    v, ds = motion.advance(np.array([1.0]), np.array([-4.0]), 1.0)
    assert v[0] == 0.0
    assert ds[0] == pytest.approx(1 / 8)


def test_amber_stops_who_can_and_lets_the_others_through() -> None:
    v = np.array([10.0, 10.0, 0.1])
    way = motion.stopping_m(v, np.zeros(3), motion.FIRM_MPS2)
    stops = way <= np.array([26.0, 20.0, 0.3])
    assert stops.tolist() == [True, False, True]


def test_speed_before_a_turn_falls_towards_the_turns_speed() -> None:
    v = motion.approach_speed(np.full(3, 13.9), np.full(3, 6.5), np.array([0.0, 10.0, 500.0]))
    assert v[0] == pytest.approx(6.5)
    assert v[1] == pytest.approx(np.sqrt(6.5**2 + 30))
    assert v[2] == pytest.approx(13.9)


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_it_turns_at_the_speed_of_the_turn(dt: float) -> None:
    v, accel, way = np.full(1, 13.9), np.zeros(1), np.full(1, 120.0)
    turn, cap = np.full(1, 6.5), np.full(1, 13.9)
    while way[0] > 0.0:
        wanted = motion.acceleration(v, motion.approach_speed(cap, turn, way), np.zeros(1))
        accel = motion.with_jerk(motion.slow_for(wanted, v, turn, way), accel, v, dt)
        assert accel[0] > -2.5
        v, ds = motion.advance(v, accel, dt)
        way = way - ds
    assert v[0] == pytest.approx(6.5, abs=0.6)


def test_a_queue_discharges_as_in_sumo() -> None:
    ours = np.diff(platoon(0.1)[0])[4:].mean()
    assert ours == pytest.approx(SUMO_HEADWAY_S, abs=0.05)


@pytest.mark.skipif(not _sumo.available(), reason=_sumo.MISSING)
def test_sumo_still_gives_what_is_recorded() -> None:
    assert np.diff(_sumo.discharge(15.0))[4:].mean() == pytest.approx(SUMO_HEADWAY_S, abs=0.02)
