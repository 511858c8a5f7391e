"""Who follows whom, who goes first, and who gets the stall."""

import numpy as np
import pytest

from fleet_sim.models.motion import FREE_M, acceleration, interaction
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City, GeneratedCity, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import World
from fleet_sim.world.fleet import CRUISING, PARKED
from fleet_sim.world.traffic import CYCLE_S, STOP_LINE_M, green, leaders, one_each
from fleet_sim.world.truth import BACKGROUND

HALF = 2.0


def follow(
    rows: list[tuple[int, float, float, int]], held: tuple[int, ...] = ()
) -> tuple[list[float], list[float]]:
    """`rows`: edge, x, v, next edge, by lane and position; every edge is 100 m long."""
    edge, x, v, wanted = (np.array(column) for column in zip(*rows, strict=True))
    stops = np.isin(np.arange(len(rows)), held)
    half = np.full(len(rows), HALF)
    gap, lead = leaders(edge, x, v.astype(float), half, wanted, 100.0 - x, stops, 10)
    return gap.tolist(), lead.tolist()


def test_on_one_lane_each_follows_the_next() -> None:
    gap, lead = follow([(0, 10.0, 5.0, 3), (0, 30.0, 6.0, 3), (0, 60.0, 7.0, 3)])
    assert gap == [16.0, 26.0, FREE_M]
    assert lead == [6.0, 7.0, 7.0]


def test_the_first_follows_the_last_on_the_edge_it_will_take() -> None:
    gap, lead = follow([(0, 90.0, 5.0, 3), (3, 8.0, 2.0, 4), (3, 50.0, 9.0, 4)])
    assert gap[0] == pytest.approx(10.0 + 8.0 - 2 * HALF)
    assert lead[0] == 2.0


def test_who_reaches_the_crossing_later_gives_way() -> None:
    rows = [(0, 80.0, 10.0, 3), (1, 85.0, 10.0, 3)]
    gap, lead = follow(rows)
    assert gap[1] == FREE_M
    # Waiting at the line leaves more room than keeping 5 m behind.
    assert gap[0] == pytest.approx(20.0 - HALF - STOP_LINE_M)
    assert lead[0] == 10.0
    # Slower, though nearer: the other one is through before it.
    gap, _ = follow([(0, 80.0, 10.0, 3), (1, 85.0, 4.0, 3)])
    assert gap[0] == FREE_M
    assert gap[1] < FREE_M


def test_nobody_gives_way_to_a_vehicle_at_a_red_light_or_on_another_way() -> None:
    rows = [(0, 80.0, 10.0, 3), (1, 94.0, 0.0, 3)]
    assert follow(rows)[0][0] < FREE_M
    assert follow(rows, held=(1,))[0][0] == FREE_M
    assert follow([(0, 80.0, 10.0, 3), (1, 90.0, 0.0, 4)])[0] == [FREE_M, FREE_M]


def test_giving_way_is_gentle() -> None:
    gap, lead = follow([(0, 90.0, 10.0, 3), (1, 95.0, 10.0, 3)])
    v = np.array([10.0])
    accel = acceleration(v, np.array([14.0]), interaction(v, np.array(gap[:1]), np.array(lead[:1])))
    assert -3.5 < accel[0] < 0.0


def test_one_each_takes_the_nearest() -> None:
    chosen = one_each(np.arange(5), np.array([7, 7, 8, 7, 9]), np.array([3.0, 1.0, 5.0, 2.0, 0.0]))
    assert chosen.tolist() == [False, True, True, False, True]


def world(count: int, blocks: tuple[int, int] = (6, 6), parked: float = 0.0) -> World:
    group = VehicleGroup(group="a", count=count, parked=Fraction(parked))
    return World(
        Scenario(
            name="t",
            city=City(generate=GeneratedCity(blocks=blocks, legal_kerb=Fraction(1.0))),
            fleet=(group,),
            phases=(Phase(name="a", duration_s=Duration(60.0)),),
        )
    )


def test_lights_are_never_green_both_ways_and_green_for_both_in_turn() -> None:
    roads = world(1).city.roads
    node = roads.head[roads.signal > 0][0]
    into = np.flatnonzero(roads.head == node)
    assert set(roads.signal[into]) == {1, 2}
    states = np.array([green(roads, t)[into] for t in np.arange(0, CYCLE_S, 0.5)])
    first, second = states[:, roads.signal[into] == 1], states[:, roads.signal[into] == 2]
    assert not (first.any(axis=1) & second.any(axis=1)).any()
    assert first.all(axis=1).mean() == pytest.approx(26 / 60, abs=0.02)
    assert second.all(axis=1).mean() == pytest.approx(26 / 60, abs=0.02)
    assert green(roads, 12.0)[roads.signal == 0].all()


def test_nobody_drives_over_a_red_light() -> None:
    town = world(300)
    roads, fleet = town.city.roads, town.fleet
    passed = red = 0
    for _ in range(1500):
        edge = fleet.edge.copy()
        town.step(0.1)
        left = edge[(fleet.edge != edge) & (fleet.mode <= CRUISING)]
        left = left[roads.signal[left] > 0]
        # Amber is 4 s, and who has passed the line needs some more to the crossing's middle.
        late = ~green(roads, town.now_s) & ~green(roads, town.now_s - 6.0)
        passed += left.size
        red += int(late[left].sum())
    assert passed > 100
    assert red <= 0.02 * passed


@pytest.mark.parametrize("dt_s", [0.1, 0.5])
def test_vehicles_do_not_overlap_in_dense_traffic(dt_s: float) -> None:
    town = world(600)
    fleet = town.fleet
    for _ in range(round(200 / dt_s)):
        town.step(dt_s)
        road = fleet.on_road()
        same = fleet.edge[road][1:] == fleet.edge[road][:-1]
        gap = np.diff(fleet.x[road]) - fleet.half[road][1:] - fleet.half[road][:-1]
        assert gap[same].min() > 0


def test_two_vehicles_do_not_claim_one_stall() -> None:
    town = world(2)
    fleet, kerb, trips = town.fleet, town._kerb, town._trips
    edge = int(kerb.stalls.edge[0])
    only = int(kerb.stalls.first[edge + 1]) - 1
    occupied = kerb.truth.occupied
    rest = np.setdiff1d(np.flatnonzero(~occupied), [only])
    kerb.take(0.0, rest, np.full(rest.size, BACKGROUND))
    if occupied[only]:
        kerb.free(0.0, np.array([only]))
    fleet.mode[:] = CRUISING
    fleet.edge[:], fleet.v[:], fleet.x[:] = edge, 3.0, (5.0, 20.0)
    trips._claim(np.array([0, 1]))
    assert fleet.stall.tolist() == [-1, only]
    assert fleet.stop_x[1] == kerb.stalls.offset[only]
    trips._claim(np.array([0]))
    assert fleet.stall[0] == -1


def test_neighbours_pull_out_one_after_the_other() -> None:
    town = world(20, parked=1.0)
    fleet, kerb, trips = town.fleet, town._kerb, town._trips
    first = np.flatnonzero(np.diff(kerb.stalls.edge) == 0)[0]
    kerb.truth.occupied[:] = False
    for vehicle, stall in ((0, first), (1, first + 1)):
        fleet.mode[vehicle], fleet.stall[vehicle] = PARKED, stall
        fleet.edge[vehicle], fleet.x[vehicle] = kerb.stalls.edge[stall], kerb.stalls.offset[stall]
        kerb.truth.occupied[stall] = True
        trips.wake_s[vehicle] = 0.0
    trips._leave(np.array([0, 1]), 1.0)
    assert (fleet.mode[:2] <= CRUISING).sum() == 1
