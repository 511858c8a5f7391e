"""Losing the sky: dead reckoning, time to first fix, and what the receiver says meanwhile."""

import numpy as np
import pytest

from fleet_sim.models.gnss import COVERED, OPEN, STREET, GnssModel
from fleet_sim.models.gnss_presets import HOT_S, MAX_ACC_M, receiver
from fleet_sim.models.gnss_reckoning import reckoning_drms_m


class Drive:
    """n vehicles that all go the same way, under a sky of choice."""

    def __init__(self, n: int, *names: str) -> None:
        self.n = n
        self.idx = np.arange(n)
        kinds = tuple(receiver(name) for name in names or ("automotive",))
        rngs = np.random.default_rng(1), np.random.default_rng(2)
        self.gps = GnssModel(kinds, self.idx % len(kinds), 37.8, *rngs)
        self.x, self.y = np.random.default_rng(3).uniform(0, 12_000, (2, n))
        self.go(STREET, 0.0, 0.0, 1)

    def go(self, sky: int, east_m: float, north_m: float, steps: int, dt_s: float = 1.0) -> None:
        for _ in range(steps):
            self.x, self.y = self.x + east_m / steps, self.y + north_m / steps
            self.gps.step(dt_s)
            self.gps.track(np.full(self.n, sky), lambda idx: (self.x[idx], self.y[idx]))
            self.sky = sky

    def seen(self):  # type: ignore[no-untyped-def]
        return self.gps.observe(self.idx, self.x, self.y, np.full(self.n, self.sky))


def test_under_a_cover_it_goes_on_from_the_last_fix() -> None:
    drive = Drive(500)
    before = drive.seen()
    drive.go(COVERED, 0.0, 0.0, 1)
    under = drive.seen()
    assert (before.fix == 2).all()
    assert (under.fix == 1).all()
    # A second of noise and atmosphere lies between.
    assert np.hypot(*(under.error_m - before.error_m).T).max() < 3
    assert under.acc_m == pytest.approx(before.acc_m, rel=0.1)


@pytest.mark.parametrize("steps", [1, 10, 200])
def test_dead_reckoning_is_what_the_maker_says_whatever_the_step(steps: int) -> None:
    drive = Drive(4000)
    drive.go(COVERED, 0.0, 0.0, 1)
    start = drive.seen()
    drive.go(COVERED, 600.0, 800.0, steps)
    end = drive.seen()
    grown = np.hypot(*(end.error_m - start.error_m).T)
    assert np.percentile(grown, 80) == pytest.approx(25.0, rel=0.05)
    assert np.sqrt((grown**2).mean()) == pytest.approx(reckoning_drms_m(np.array(1000.0)), rel=0.04)
    square = (end.error_m**2).sum(axis=1).mean()
    assert square == pytest.approx((end.acc_m**2).mean(), rel=0.15)


@pytest.mark.parametrize("steps", [1, 40])
def test_far_out_the_walk_of_the_heading_counts_and_still_not_the_step(steps: int) -> None:
    drive = Drive(6000)
    drive.go(COVERED, 0.0, 0.0, 1)
    start = drive.seen()
    drive.go(COVERED, 0.0, 10_000.0, steps)
    square = ((drive.seen().error_m - start.error_m) ** 2).sum(axis=1).mean()
    assert np.sqrt(square) == pytest.approx(reckoning_drms_m(np.array(10_000.0)), rel=0.03)


def test_standing_costs_nothing_and_turning_does() -> None:
    drive = Drive(2000)
    drive.go(COVERED, 10.0, 0.0, 1)
    start = drive.seen()
    drive.go(COVERED, 0.0, 0.0, 600)
    assert (drive.seen().error_m == start.error_m).all()
    loops = []
    for _ in range(2):
        error = drive.seen().error_m
        for _ in range(8):
            for east, north in ((0.0, 40.0), (-40.0, 0.0), (0.0, -40.0), (40.0, 0.0)):
                drive.go(COVERED, east, north, 4)
        loops.append(np.sqrt(((drive.seen().error_m - error) ** 2).sum(axis=1).mean()))
    assert 1.0 < loops[0] < 0.025 * 8 * 160


def test_dead_reckoning_gives_up_in_the_end_and_says_so() -> None:
    drive = Drive(300)
    drive.go(COVERED, 2000.0, 0.0, 20)
    assert (drive.seen().fix == 1).mean() > 0.9
    drive.go(COVERED, 6000.0, 0.0, 20)
    late = drive.seen()
    assert (late.fix == 0).all()
    assert (late.acc_m > 100).all()


def test_without_dead_reckoning_the_last_position_stays() -> None:
    drive = Drive(200, "ublox_m8", "automotive")
    bare, aided = drive.idx[::2], drive.idx[1::2]
    drive.go(COVERED, 0.0, 0.0, 1)
    shown = drive.x + drive.seen().error_m[:, 0]
    drive.go(COVERED, 300.0, 0.0, 30)
    under = drive.seen()
    assert (under.fix[bare] == 0).all()
    assert (under.fix[aided] == 1).all()
    still = drive.x + under.error_m[:, 0]
    assert still[bare] == pytest.approx(shown[bare], abs=1e-6)
    assert np.abs(still[aided] - shown[aided] - 300).max() < 30
    assert (under.acc_m[bare] >= 300).all()
    drive.go(COVERED, 50_000.0, 0.0, 5)
    assert drive.seen().acc_m[bare] == pytest.approx(MAX_ACC_M)


@pytest.mark.parametrize(("away_s", "median_s"), [(600.0, 1.5), (HOT_S - 1, 1.5), (HOT_S, 27.0)])
def test_time_to_first_fix_is_hot_or_cold(away_s: float, median_s: float) -> None:
    drive = Drive(1000)
    drive.go(COVERED, 0.0, 0.0, 1)
    drive.go(COVERED, 0.0, 0.0, 1, away_s - 0.1)
    times = np.zeros(drive.n)
    drive.go(OPEN, 0.0, 0.0, 1, 0.1)
    dt_s = median_s / 50
    while drive.gps.reckoning.any_blind:
        assert (drive.seen().fix[drive.gps.reckoning.blind] == 1).all()
        times[drive.gps.reckoning.blind] += dt_s
        drive.go(OPEN, 0.0, 0.0, 1, dt_s)
        assert times.max() < 100
    assert np.median(times) == pytest.approx(median_s, rel=0.06)
    assert (drive.seen().fix == 2).all()
    assert np.ptp(times) > 0.3 * median_s


def test_a_gap_in_the_roof_shorter_than_a_first_fix_helps_nobody() -> None:
    drive = Drive(300)
    drive.go(COVERED, 100.0, 0.0, 1)
    lost_s = drive.gps.reckoning.lost_s.copy()
    drive.go(OPEN, 1.0, 0.0, 1, 0.2)
    drive.go(COVERED, 100.0, 0.0, 1, 30.0)
    assert (drive.seen().fix == 1).all()
    assert (drive.gps.reckoning.lost_s == lost_s).all()
    drive.go(OPEN, 1.0, 0.0, 1, 0.2)
    assert (drive.seen().fix == 1).all()
    drive.go(OPEN, 1.0, 0.0, 1, 10.0)
    assert (drive.seen().fix == 2).all()


def test_a_new_fix_forgets_what_was_reckoned() -> None:
    drive = Drive(2000)
    drive.go(COVERED, 3000.0, 0.0, 30)
    lost = np.hypot(*drive.seen().error_m.T)
    drive.go(OPEN, 10.0, 0.0, 10)
    found = drive.seen()
    assert np.median(lost) > 30
    assert np.median(np.hypot(*found.error_m.T)) < 4
    assert found.acc_m.max() < 6
    drive.go(COVERED, 0.0, 0.0, 1)
    assert np.median(np.hypot(*drive.seen().error_m.T)) < 4
    assert drive.seen().acc_m.max() < 6
