"""Who follows whom, who goes first, and who gets the stall."""

from dataclasses import replace

import numpy as np
import pytest

from fleet_sim.models.motion import FREE_M, IDM, acceleration
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City, GeneratedCity, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.validation.motion import discharge, rush
from fleet_sim.world import World, search
from fleet_sim.world.fleet import CRUISING, PARKED, Fleet
from fleet_sim.world.lanes import Lanes
from fleet_sim.world.routing import U_TURN_S, Router
from fleet_sim.world.traffic import (
    AMBER_S,
    Signals,
    Stopping,
    give_way,
    leaders,
    near_crossing,
    one_each,
    queues_ahead,
)
from fleet_sim.world.trips import Trips
from fleet_sim.world.truth import BACKGROUND

HALF = 2.0


Row = tuple[int, float, float, int]
"""Edge, x, v, next edge, by lane and position; every edge is 100 m long."""


def columns(rows: list[Row]) -> list[np.ndarray]:
    edge, x, v, wanted = (np.array(column) for column in zip(*rows, strict=True))
    return [edge, x, v.astype(float), np.full(len(rows), HALF), wanted, 100.0 - x]


def follow(rows: list[Row]) -> tuple[list[float], list[float]]:
    ahead = leaders(*columns(rows), 10)
    return ahead.gap.tolist(), ahead.lead.tolist()


def yields(
    rows: list[Row], held: tuple[int, ...] = (), went: tuple[int, ...] = ()
) -> dict[int, float]:
    """Who gives way, and how strongly."""
    lane, x, v, half, wanted, to_end = columns(rows)
    first = leaders(lane, x, v, half, wanted, to_end, 10).ends
    everyone = np.arange(len(rows))
    near = np.flatnonzero(near_crossing(v, to_end) & ~np.isin(everyone, held))
    later, ratio, goes = give_way(
        near,
        lane,
        v,
        half,
        wanted,
        to_end,
        Stopping.of(v[near], np.zeros(near.size)),
        np.isin(everyone, went),
        first,
    )
    assert sorted([*later, *goes]) == near.tolist()
    return dict(zip(later.tolist(), ratio.tolist(), strict=True))


def test_on_one_lane_each_follows_the_next() -> None:
    gap, lead = follow([(0, 10.0, 5.0, 3), (0, 30.0, 6.0, 3), (0, 60.0, 7.0, 3)])
    assert gap == [16.0, 26.0, FREE_M]
    assert lead == [6.0, 7.0, 7.0]


def test_the_first_follows_the_last_on_the_edge_it_will_take() -> None:
    gap, lead = follow([(0, 90.0, 5.0, 3), (3, 8.0, 2.0, 4), (3, 50.0, 9.0, 4)])
    assert gap[0] == pytest.approx(10.0 + 8.0 - 2 * HALF)
    assert lead[0] == 2.0


def test_behind_a_leader_that_turns_elsewhere_it_sees_the_queue_where_it_will_go_itself() -> None:
    rows = [(0, 70.0, 8.0, 3), (0, 95.0, 8.0, 4), (3, 5.0, 0.0, 5), (4, 50.0, 8.0, 5)]
    cols = columns(rows)
    seen, ratio = queues_ahead(*cols[1:], leaders(*cols, 10))
    assert seen.tolist() == [0]
    assert ratio[0] == pytest.approx((2 + 8 + 16) / (30 + 5 - 2 * HALF))


def test_who_reaches_the_crossing_later_gives_way() -> None:
    assert list(yields([(0, 75.0, 8.0, 3), (1, 82.0, 8.0, 3)])) == [0]
    # Slower, though nearer: the other one is through before it.
    assert list(yields([(0, 80.0, 8.0, 3), (1, 82.0, 4.0, 3)])) == [1]


def test_who_cannot_stop_any_more_goes_first_whatever_the_order() -> None:
    # With 12 m/s it takes 33 m to stop, and the line is 22 m away; the other one can wait.
    assert list(yields([(0, 70.0, 12.0, 3), (1, 88.0, 2.0, 3)])) == [1]


def test_a_turn_once_taken_is_kept_against_who_is_a_little_sooner() -> None:
    rows = [(0, 80.0, 5.0, 3), (1, 81.0, 5.0, 3)]
    assert list(yields(rows)) == [0]
    assert list(yields(rows, went=(0,))) == [1]


def test_who_queues_behind_others_lets_others_go() -> None:
    rows = [(0, 85.0, 0.5, 3), (0, 91.7, 0.5, 4), (1, 80.0, 5.0, 3)]
    assert list(yields(rows)) == [0]


def test_nobody_gives_way_to_a_vehicle_at_a_red_light_or_on_another_way() -> None:
    rows = [(0, 80.0, 8.0, 3), (1, 91.0, 0.0, 3)]
    assert yields(rows)
    assert not yields(rows, held=(1,))
    assert not yields([(0, 80.0, 8.0, 3), (1, 90.0, 0.0, 4)])


def test_giving_way_is_gentle() -> None:
    ratio = yields([(0, 75.0, 8.0, 3), (1, 82.0, 8.0, 3)])[0]
    accel = acceleration(np.array([8.0]), np.array([14.0]), np.array([ratio]))
    assert -3.5 < accel[0] < 0.0


def test_one_each_takes_the_nearest() -> None:
    chosen = one_each(np.arange(5), np.array([7, 7, 8, 7, 9]), np.array([3.0, 1.0, 5.0, 2.0, 0.0]))
    assert chosen.tolist() == [False, True, True, False, True]


def world(count: int, blocks: tuple[int, int] = (6, 6), parked: float = 0.0) -> World:
    group = VehicleGroup(group="a", count=count, parked=Fraction(parked))
    return World(
        Scenario(
            name="t",
            city=City(generate=GeneratedCity(blocks=blocks, legal_kerb=Fraction(1.0)), cars=0),
            fleet=(group,),
            phases=(Phase(name="a", duration_s=Duration(60.0)),),
        )
    )


def test_lights_are_never_green_both_ways_and_green_for_both_in_turn() -> None:
    roads = world(1, blocks=(12, 12)).city.roads
    signals = Signals(roads)
    lit = roads.signal > 0
    assert (signals.cycle_s[lit] >= 60.0).all()
    assert (signals.cycle_s[lit] <= 90.0).all()
    assert np.ptp(signals.cycle_s[lit]) > 10.0
    for node in np.unique(roads.head[lit]):
        into = np.flatnonzero(roads.head == node)
        assert set(roads.signal[into]) == {1, 2}
        cycle = signals.cycle_s[into[0]]
        assert (signals.cycle_s[into] == cycle).all()
        times = np.arange(0.0, cycle, cycle / 400)
        states = ~np.array([signals.red(t)[into] for t in times])
        first, second = states[:, roads.signal[into] == 1], states[:, roads.signal[into] == 2]
        assert not (first.any(axis=1) & second.any(axis=1)).any()
        share = 0.5 - AMBER_S / cycle
        assert first.all(axis=1).mean() == pytest.approx(share, abs=0.01)
        assert second.all(axis=1).mean() == pytest.approx(share, abs=0.01)
    assert not signals.red(12.0)[~lit].any()


def test_nobody_drives_over_a_red_light() -> None:
    town = world(300)
    roads, fleet = town.city.roads, town.fleet
    signals = Signals(roads)
    passed = red = 0
    for _ in range(1500):
        edge = fleet.edge.copy()
        town.step(0.1)
        left = edge[(fleet.edge != edge) & (fleet.mode <= CRUISING)]
        left = left[roads.signal[left] > 0]
        # Amber is 4 s, and who has passed the line needs some more to the crossing's middle.
        late = signals.red(town.now_s).copy() & signals.red(town.now_s - 6.0)
        passed += left.size
        red += int(late[left].sum())
    assert passed > 100
    assert red <= 0.02 * passed


def test_dense_traffic_has_no_collision_no_emergency_and_no_jolt() -> None:
    seen = rush(60.0, vehicles=900)
    assert seen.crossings > 1000
    assert seen.least_gap_m > 0.5
    assert seen.beside == seen.clamps == seen.emergencies == 0
    assert seen.accel_mps2[0] > -6.0
    assert seen.accel_mps2[1] <= IDM.accel_mps2 + 1e-9
    assert seen.jerk_mps3 <= IDM.jerk_mps3 + 1e-6
    assert np.percentile(seen.over_mps, 95) < 1.0


def test_long_steps_do_not_make_vehicles_overlap() -> None:
    seen = rush(200.0, vehicles=700, dt_s=0.5)
    assert seen.least_gap_m > 0.0
    assert seen.clamps <= seen.crossings / 2000


def test_a_queue_at_a_signal_leaves_at_the_saturation_headway() -> None:
    headways = np.concatenate([discharge(seed) for seed in range(3)])
    assert headways.size > 15
    assert headways.mean() == pytest.approx(1.9, abs=0.1)


def test_nobody_pulls_out_before_a_vehicle_that_comes_from_the_crossing() -> None:
    town = world(2)
    fleet = town.fleet
    edge = int(fleet.edge[1])
    fleet.mode[0] = PARKED
    before = int(np.flatnonzero(town.city.roads.head == town.city.roads.tail[edge])[0])
    fleet.edge[1], fleet.next_edge[1], fleet.v[1], fleet.accel[1] = before, edge, 8.0, 0.0
    fleet.lane[1], fleet.next_lane[1] = fleet.lanes.first[[before, edge]]
    place = (np.array([edge]), np.array([18.0]), fleet.half[:1])
    fleet.x[1] = town.city.roads.length[before] - 5.0
    assert not fleet.room_to_join(*place)[0]
    fleet.x[1] -= 20.0
    assert fleet.room_to_join(*place)[0]


def test_lanes_are_chosen_by_the_turn_that_comes_and_by_the_queue() -> None:
    roads = world(1).city.roads
    lanes = Lanes(replace(roads, lanes=np.full(roads.n_edges, 2)))
    assert lanes.left_m[:4].tolist() == [0.0, 3.5, 0.0, 3.5]

    def onward(edge: int, by_deg: float) -> int:
        out = roads.out[roads.head[edge]]
        turn = (roads.bearing_deg[out] - roads.bearing_deg[edge]) % 360.0
        return int(out[(out >= 0) & np.isclose(turn, by_deg)][0])

    ways = (roads.out[roads.head] >= 0).sum(axis=1)
    first = next(e for e in np.flatnonzero(ways == 4).tolist() if ways[onward(e, 0.0)] == 4)
    edge = onward(first, 0.0)
    free = np.zeros(lanes.n, dtype=np.int64)

    def chosen(own: int, by_deg: float, on_lane: np.ndarray = free, kerb: bool = False) -> int:
        after = np.array([onward(edge, by_deg)])
        lane = np.array([lanes.first[first] + own])
        taken = lanes.choose(lane, np.array([edge]), after, on_lane, np.array([kerb]))
        return int(taken[0] - lanes.first[edge])

    assert [chosen(own, 270.0) for own in (0, 1)] == [1, 1]
    assert [chosen(own, 90.0) for own in (0, 1)] == [0, 0]
    assert [chosen(own, 0.0) for own in (0, 1)] == [0, 1]
    assert chosen(1, 270.0, kerb=True) == 0
    queue = free.copy()
    queue[lanes.first[edge]] = 4
    assert chosen(0, 0.0, queue) == 1
    queue[lanes.first[edge]] = 20
    assert chosen(0, 90.0, queue) == 1


def two_lanes(count: int) -> World:
    """A small city in which every direction has two lanes."""
    town = world(count)
    roads = replace(town.city.roads, lanes=np.full(town.city.roads.n_edges, 2))
    object.__setattr__(town.city, "roads", roads)
    town.fleet = Fleet(town.scenario, town.city, np.random.default_rng(3))
    town._trips = Trips(town.scenario, town.fleet, town._kerb, np.random.default_rng(4))
    return town


def test_vehicles_in_two_lanes_pass_one_another_and_none_touches_another() -> None:
    town = two_lanes(500)
    fleet = town.fleet
    passed = 0
    for k in range(1, 601):
        before = fleet.x.copy(), fleet.lane.copy()
        fleet.drive(0.2, 0.2 * k)
        fleet.settle(0.2)
        town._trips.step(0.2, 0.2 * k)
        assert (fleet.lanes.edge[fleet.lane] == fleet.edge).all()
        r = fleet.on_road()
        same = fleet.lane[r][1:] == fleet.lane[r][:-1]
        gaps = np.diff(fleet.x[r]) - fleet.half[r][1:] - fleet.half[r][:-1]
        assert gaps[same].min() > 0.0
        # Side by side on one edge, all the time: two that changed their order.
        one, other = r[:-1], r[1:]
        beside = (fleet.lane[one] + 1 == fleet.lane[other]) & (fleet.edge[one] == fleet.edge[other])
        a, b = one[beside], other[beside]
        stayed = (before[1][a] == fleet.lane[a]) & (before[1][b] == fleet.lane[b])
        passed += int(
            (stayed & ((fleet.x[a] - fleet.x[b]) * (before[0][a] - before[0][b]) < 0.0)).sum()
        )
    assert passed > 0
    assert (fleet.lane - fleet.lanes.first[fleet.edge])[fleet.mode <= CRUISING].max() == 1
    assert fleet.clamps <= 3


def test_who_waits_at_a_red_light_keeps_its_route() -> None:
    """However long: it would else turn anywhere as soon as the light is green."""
    town = world(8)
    fleet, roads = town.fleet, town.city.roads
    edge = int(np.flatnonzero(roads.signal == 1)[0])
    fleet.edge[:], fleet.lane[:] = edge, fleet.lanes.first[edge]
    fleet.x[:] = roads.length[edge] - 9.0 - 8.0 * np.arange(8)
    fleet.v[:], fleet.goal_edge[:], fleet.goal_x[:] = 0.0, int(roads.out[roads.head[edge]][0]), 1e6
    fleet.next_edge[:] = fleet.next_lane[:] = fleet.goal_edge
    fleet._signals.red = lambda now_s: np.arange(roads.n_edges) == edge  # type: ignore[method-assign]
    for k in range(300):
        fleet.drive(0.5, 0.5 * k)
        fleet.settle(0.5)
    assert (fleet.v == 0.0).all()
    fleet._signals.red = lambda now_s: np.zeros(roads.n_edges, dtype=bool)  # type: ignore[method-assign]
    fleet.drive(0.5, 150.0)
    fleet.settle(0.5)
    assert (fleet.next_edge == fleet.goal_edge).all()


def test_who_claimed_a_stall_beyond_the_walking_distance_still_parks_there() -> None:
    town = world(1)
    fleet, kerb, trips = town.fleet, town._kerb, town._trips
    free = int(np.flatnonzero(~kerb.truth.occupied)[0])
    far = int(np.hypot(kerb.stalls.x - kerb.stalls.x[free], kerb.stalls.y - kerb.stalls.y[free])
              .argmax())  # fmt: skip
    edge = kerb.stalls.edge[free]
    fleet.edge[0], fleet.lane[0] = edge, fleet.lanes.first[edge]
    fleet.x[0], fleet.v[0], fleet.parks[0] = kerb.stalls.offset[free], 0.0, True
    fleet.goal_edge[0], fleet.goal_x[0] = kerb.stalls.edge[far], kerb.stalls.offset[far]
    fleet.stall[0], fleet.stop_x[0], trips.search._claimed[free] = free, fleet.x[0], True
    trips.step(0.1, 0.1)
    assert fleet.mode[0] == PARKED
    assert kerb.truth.occupied[free]


def test_two_vehicles_do_not_claim_one_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TAKES_SHARE", 2.0)
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
    fleet.edge[:], fleet.v[:] = edge, 3.0
    # The second is nearer; both see it.
    fleet.x[:] = kerb.stalls.offset[only] - np.array([28.0, 14.0])
    fleet.lane[:] = fleet.lanes.first[edge]
    trips.search._claim(np.array([0, 1]))
    assert fleet.stall.tolist() == [-1, only]
    assert fleet.stop_x[1] == kerb.stalls.offset[only]
    trips.search._claim(np.array([0]))
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


def test_who_meets_a_queue_on_the_way_does_not_turn_round_for_it() -> None:
    roads, rng = world(1).city.roads, np.random.default_rng(1)
    router = Router(roads)
    ways = (roads.out[roads.head] >= 0).sum(axis=1)
    edge = int(np.flatnonzero((ways == 4) & ~roads.bend[roads.head])[0])
    out = roads.out[roads.head[edge]]
    back = int(out[roads.head[out] == roads.tail[edge]][0])
    cosine = roads.cosine(np.full(4, edge), out)
    goal = int(roads.out[roads.head[out[cosine.argmax()]]][0])
    queue_s = np.zeros(roads.n_edges)
    to_back = router._to_go[roads.tail[edge], roads.tail[goal]] + roads.travel_s[back]
    ahead = roads.travel_s[out] + router._to_go[roads.head[out], roads.tail[goal]]
    # Every other way costs as much as turning round and half a minute more.
    others = out != back
    queue_s[out[others]] = np.maximum(to_back - ahead[others], 0.0) + U_TURN_S - 10.0

    def turn(back_s: float) -> int:
        arrays = np.array([edge]), np.array([goal])
        return int(router.towards(*arrays, queue_s, rng, back_s)[0])

    assert turn(0.0) == back
    assert turn(U_TURN_S) != back


def test_a_trip_may_begin_by_turning_round_and_costs_it_later() -> None:
    town = world(30)
    fleet, asked = town.fleet, []
    towards = fleet.router.towards

    def listen(*args: object) -> np.ndarray:
        asked.append(args[4])
        return towards(*args)  # type: ignore[arg-type]

    fleet.router.towards = listen  # type: ignore[method-assign]
    one = np.array([3])
    fleet.v[one], fleet.x[one] = 0.0, 10.0
    fleet.head_for(one, np.array([7]), np.array([30.0]))
    fleet.reconsider(one)
    costs = [float(np.min(cost)) for cost in asked if isinstance(cost, np.ndarray)]
    assert costs == [0.0, U_TURN_S]
