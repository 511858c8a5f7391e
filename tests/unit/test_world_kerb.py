"""Stalls change hands in one place, and the truth remembers."""

import numpy as np
import pytest

from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.world import City, illegal
from fleet_sim.world import kerb as kerb_module
from fleet_sim.world.demand import DWELL_MEAN_S, Demand, draw_dwell_s, draw_residual_s
from fleet_sim.world.kerb import Kerb
from fleet_sim.world.truth import BACKGROUND, EVENT, NOBODY


@pytest.fixture(scope="module")
def city() -> City:
    return City.generate(GeneratedCity(blocks=(5, 5)), 1)


@pytest.fixture
def kerb(city: City) -> Kerb:
    return Kerb(city.stalls, np.random.default_rng(1))


def test_truth_replays_to_any_time(kerb: Kerb) -> None:
    rng, states = np.random.default_rng(2), []
    kerb.fill(np.arange(5), np.full(5, BACKGROUND))
    for t in range(1, 3000):
        stall = rng.integers(kerb.stalls.n, size=1)
        if kerb.truth.occupied[stall[0]]:
            kerb.free(float(t), stall)
        else:
            kerb.take(float(t), stall, np.array([t % 7]))
        states.append(kerb.truth.occupied.copy())
    truth = kerb.truth
    assert truth.occupied_at(0.0).sum() == 5
    for t in (1, 2, 1500, 2999):
        assert (truth.occupied_at(float(t)) == states[t - 1]).all()
        assert (truth.occupied_at(t + 0.5) == states[t - 1]).all()
    assert (np.diff(truth.t_s) >= 0).all()
    assert (truth.now_occupied == (truth.by != NOBODY)).all()
    assert (truth.occupied == (truth.holder != NOBODY)).all()


def test_a_stall_never_holds_two(kerb: Kerb) -> None:
    kerb.take(1.0, np.array([3]), np.array([BACKGROUND]))
    with pytest.raises(RuntimeError, match="two cars for one stall"):
        kerb.take(2.0, np.array([2, 3]), np.array([0, 1]))
    with pytest.raises(RuntimeError, match="two cars for one stall"):
        kerb.take(2.0, np.array([8, 8]), np.array([0, 1]))
    with pytest.raises(RuntimeError, match="free already"):
        kerb.free(2.0, np.array([3, 4]))


def test_cars_stand_inside_their_stalls(kerb: Kerb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kerb_module, "_ALONG_SIGMA_M", 2.0)
    n = kerb.stalls.n
    kerb.take(1.0, np.arange(n), np.full(n, BACKGROUND))
    reach = np.abs(kerb.centre[0] - kerb.stalls.offset) + kerb.half[0]
    assert (reach <= kerb.stalls.length / 2 + 1e-9).all()
    assert 2 * kerb.half[0].mean() == pytest.approx(4.6, abs=0.1)


def test_parked_cars_differ_in_length_place_and_angle(kerb: Kerb) -> None:
    n = kerb.stalls.n
    kerb.take(1.0, np.arange(n), np.full(n, BACKGROUND))
    length = 2 * kerb.half[0]
    assert np.percentile(length, 2) < 3.9
    assert np.percentile(length, 98) > 5.4
    shift = kerb.centre[0] - kerb.stalls.offset
    assert 0.3 < shift.std() < 0.6
    assert np.abs(shift.mean()) < 0.06
    assert kerb.side[0].std() == pytest.approx(np.hypot(0.14, 0.05), abs=0.03)
    assert kerb.yaw_deg[0].std() == pytest.approx(1.5, rel=0.15)


def test_things_stand_beside_stalls_and_take_nobodys_place() -> None:
    city = City.generate(GeneratedCity(blocks=(14, 14)), 2)
    stalls, length = city.stalls, city.roads.length
    things = Kerb(stalls, np.random.default_rng(1)).things
    cars, edges = things.is_car, stalls.first.size - 1
    assert things.n == things.edge.size == things.side.size
    low, high = stalls.offset - stalls.length / 2, stalls.offset + stalls.length / 2
    for k in np.flatnonzero(cars):
        mine = slice(stalls.first[things.edge[k]], stalls.first[things.edge[k] + 1])
        assert mine.stop > mine.start
        begin, end = things.centre[k] - things.half[k], things.centre[k] + things.half[k]
        assert ((end <= low[mine] + 1e-9) | (begin >= high[mine] - 1e-9)).all()
        assert begin > 5.9
        assert end < length[things.edge[k]] - 5.9
    # Driveways are 12 % of the slots on legal sides, and each such side has two corners. Bus stops
    # add a few.
    used = int((np.diff(stalls.first) > 0).sum())
    gaps = stalls.n * 0.12 / 0.88 + 2 * used
    standing = cars & things.standing
    assert standing.sum() / gaps == pytest.approx(kerb_module.ILLEGAL_SHARE, rel=0.25)
    assert things.standing[~cars].all()
    assert (~cars).sum() == pytest.approx(stalls.n * 6.7 * kerb_module.BINS_PER_M, rel=0.15)
    assert used < edges


def test_the_cell_of_a_thing_leads_to_it(kerb: Kerb) -> None:
    things = kerb.things
    here = kerb.stalls.cell(things.edge, things.centre)
    found = things.cell[here]
    assert (found >= 0).all()
    assert (things.edge[found] == things.edge).all()
    assert (np.abs(things.centre[found] - things.centre) <= 4.0).all()
    assert (found == np.arange(things.n)).mean() > 0.9


def test_who_stands_illegally_comes_and_goes_and_no_stall_knows() -> None:
    city = City.generate(GeneratedCity(blocks=(14, 14)), 2)
    kerb = Kerb(city.stalls, np.random.default_rng(1))
    there = illegal.IllegalKerb(city.roads, kerb.things)
    demand = Demand(
        there,
        illegal.OCCUPANCY,
        np.random.default_rng(2),
        illegal.draw_dwell_s,
        mean_dwell_s=illegal.DWELL_MEAN_S,
    )
    share = []
    for k in range(1, 361):
        demand.step(10.0, 10.0 * k)
        cars = kerb.things.standing[kerb.things.is_car]
        assert (cars == there.truth.occupied).all()
        share.append(cars.mean())
    assert np.mean(share) == pytest.approx(illegal.OCCUPANCY, abs=0.05)
    assert np.ptp(share) < 0.25
    assert there.truth.by.size > cars.size
    assert not kerb.truth.occupied.any()
    assert (there.truth.occupied_at(3600.0) == there.truth.occupied).all()


def test_a_city_without_stalls_has_no_things() -> None:
    bare = City.generate(GeneratedCity(blocks=(2, 2), legal_kerb=0.0), 1)  # type: ignore[arg-type]
    assert Kerb(bare.stalls, np.random.default_rng(1)).things.n == 0


def test_residual_dwell_is_the_equilibrium_law() -> None:
    """Mean residual of a renewal process is E[D²] / 2 E[D]."""
    rng = np.random.default_rng(3)
    dwell, residual = draw_dwell_s(200_000, rng), draw_residual_s(200_000, rng)
    assert dwell.mean() == pytest.approx(DWELL_MEAN_S, rel=0.02)
    assert residual.mean() == pytest.approx((dwell**2).mean() / dwell.mean() / 2, rel=0.02)


def test_an_event_fills_stalls_near_it_and_most_leave() -> None:
    city = City.generate(GeneratedCity(blocks=(12, 12)), 1)
    kerb = Kerb(city.stalls, np.random.default_rng(1))
    demand = Demand(kerb, 0.3, np.random.default_rng(4))
    venue = city.venue("arena")
    demand.attract(venue.x, venue.y, 200, 100.0, 300.0, 100.0)
    arrived = []
    for t in range(1, 421):
        demand.step(1.0, float(t))
        arrived.append((kerb.truth.by == EVENT).sum())
    assert arrived[98] == 0
    assert arrived[399] == 200
    # Most come around the peak, 200 s into the phase.
    assert arrived[349] - arrived[249] > 100
    event = kerb.truth.holder == EVENT
    away = np.hypot(city.stalls.x - venue.x, city.stalls.y - venue.y)
    assert away[event].mean() < 0.8 * away.mean()
    demand.disperse(0.75, 420.0, 100.0)
    for t in range(421, 522):
        demand.step(1.0, float(t))
    assert (kerb.truth.holder == EVENT).sum() == 50


def test_cars_without_a_stall_are_counted(city: City, kerb: Kerb) -> None:
    demand = Demand(kerb, 1.0, np.random.default_rng(5))
    demand.arrival_rate_per_s = 0.0
    demand.depart_s[:] = np.inf
    demand.attract(0.0, 0.0, 30, 0.0, 10.0, 5.0)
    demand.step(10.0, 10.0)
    assert (demand.arrivals, demand.turned_away) == (30, 30)
    assert kerb.truth.occupied.all()


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.8), (0.8, 0.3)])
def test_occupancy_moves_to_a_phases_target(kerb: Kerb, before: float, after: float) -> None:
    demand = Demand(kerb, before, np.random.default_rng(6))
    demand.shift_to(after, 0.0, 120.0)
    for t in range(1, 121):
        demand.step(1.0, float(t))
    assert kerb.truth.occupied.mean() == pytest.approx(after, abs=0.05)


def test_a_city_without_stalls_turns_everybody_away() -> None:
    bare = City.generate(GeneratedCity(blocks=(2, 2), legal_kerb=0.0), 1)  # type: ignore[arg-type]
    kerb = Kerb(bare.stalls, np.random.default_rng(1))
    demand = Demand(kerb, 0.6, np.random.default_rng(1))
    demand.attract(0.0, 0.0, 10, 0.0, 10.0, 5.0)
    demand.step(10.0, 10.0)
    assert demand.turned_away == 10
