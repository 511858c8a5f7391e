"""Following, stopping and queue discharge by the Intelligent Driver Model."""

import numpy as np
import pytest

from fleet_sim.models import motion


def platoon(n: int, dt: float, seconds: float, length: float = 5.0):
    """A queue at a light that turns green at 0: yields position [n] and speed after each step."""
    x = -np.arange(n) * (length + motion.IDM.standstill_m)
    v = np.zeros(n)
    free = np.full(n, 15.0)
    for _ in range(round(seconds / dt)):
        gap = np.append(motion.FREE_M, x[:-1] - x[1:] - length)
        lead = np.append(v[0], v[:-1])
        accel = motion.acceleration(v, free, motion.interaction(v, gap, lead))
        v, ds = motion.advance(v, accel, dt)
        x = x + ds
        yield x, v, accel


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_saturation_headway_is_near_1_9_s(dt: float) -> None:
    passed = np.full(30, np.nan)
    for k, (x, _, _) in enumerate(platoon(30, dt, 120.0)):
        passed[np.isnan(passed) & (x > 0)] = (k + 1) * dt
    # The first vehicles still accelerate (Highway Capacity Manual: from the fourth on).
    headway = np.diff(passed[4:]).mean()
    assert headway == pytest.approx(1.9, abs=0.15)


def test_nobody_collides_or_backs_up_in_a_queue() -> None:
    for x, v, accel in platoon(20, 0.1, 60.0):
        assert (x[:-1] - x[1:] > 5.0).all()
        assert (v >= 0).all()
        assert accel.max() <= motion.IDM.accel_mps2


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
    stops = motion.can_stop(np.array([10.0, 10.0, 0.1]), np.array([20.0, 10.0, 0.0]))
    assert stops.tolist() == [True, False, True]


def test_speed_before_a_turn_falls_towards_the_turns_speed() -> None:
    v = motion.approach_speed(np.full(3, 13.9), np.full(3, 6.5), np.array([0.0, 10.0, 500.0]))
    assert v[0] == pytest.approx(6.5)
    assert v[1] == pytest.approx(np.sqrt(6.5**2 + 30))
    assert v[2] == pytest.approx(13.9)
