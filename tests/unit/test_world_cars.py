"""Cars outside the fleet: they drive as it does, park for the demand, and send nothing."""

import numpy as np

from fleet_sim.scenario.model import (
    City,
    GeneratedCity,
    Parking,
    ParkingEvent,
    Phase,
    Scenario,
    VehicleGroup,
)
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import World
from fleet_sim.world.fleet import CRUISING, PARKED
from fleet_sim.world.truth import BACKGROUND, EVENT


def scenario(cars: int | None, *phases: Phase, first_s: float = 600.0) -> Scenario:
    parking = Parking(occupancy=Fraction(0.7))
    return Scenario(
        name="t",
        seed=6,
        city=City(generate=GeneratedCity(blocks=(7, 6)), cars=cars),
        fleet=(VehicleGroup(group="a", count=50, parked=Fraction(0.1)),),
        phases=(Phase(name="a", duration_s=Duration(first_s), parking=parking), *phases),
    )


def test_they_are_rows_behind_the_fleet_that_nobody_hears_of() -> None:
    world = World(scenario(30))
    assert (world.n, world.fleet.rows) == (50, 80)
    assert World(scenario(None)).fleet.rows == 55
    assert len(world.vins) == world.radio_up.size == world.groups.size == 50
    for _ in range(100):
        world.step(0.5)
    counts = world.counts()
    assert sum(counts[k] for k in ("driving", "cruising", "parked", "charging")) == 50
    assert world.observe(np.arange(50)).lat.size == 50
    assert (world.fleet.odo[50:] > 0).all()
    assert (world.fleet.energy_j[50:] == 0).all()


def test_they_share_lanes_look_for_stalls_and_leave_them() -> None:
    world = World(scenario(60))
    fleet, truth = world.fleet, world.truth
    looked = idle = 0
    came_back = np.zeros(60, dtype=bool)
    was_idle = np.zeros(60, dtype=bool)
    for _ in range(800):
        world.step(0.5)
        mode = fleet.mode[50:]
        looked += int((mode == CRUISING).sum())
        parked = mode == PARKED
        idle += int(parked.sum())
        came_back |= was_idle & ~parked
        was_idle |= parked
        road = fleet.on_road()
        same = fleet.lane[road][1:] == fleet.lane[road][:-1]
        gap = np.diff(fleet.x[road]) - fleet.half[road][1:] - fleet.half[road][:-1]
        assert (gap[same] > 0).all()
        # The truth knows vehicles of the fleet by number, and cars as ordinary ones.
        assert truth.holder.max() < 50
        held = truth.holder[truth.holder >= 0]
        stands = (fleet.mode[:50] >= PARKED) & (fleet.stall[:50] >= 0)
        assert sorted(held.tolist()) == np.flatnonzero(stands).tolist()
    assert looked > 0
    assert was_idle.sum() > 20
    assert came_back.sum() > 10
    # Whoever parked by road stays as long as any other ordinary car.
    background = truth.holder == BACKGROUND
    assert np.isfinite(world.demand.depart_s[background]).all()
    assert np.isinf(world.demand.depart_s[~truth.occupied]).all()


def test_who_has_no_gap_to_pull_out_waits_in_its_stall() -> None:
    world = World(scenario(3))
    fleet, stalls = world.fleet, world.city.stalls
    stall = np.flatnonzero(world.truth.holder == BACKGROUND)[:1]
    fleet.mode[:] = PARKED
    edge = int(stalls.edge[stall[0]])
    blocker = 0
    fleet.mode[blocker], fleet.v[blocker], fleet.stall[blocker] = 0, 0.0, -1
    fleet.edge[blocker], fleet.lane[blocker] = edge, fleet.lanes.first[edge]
    fleet.x[blocker] = stalls.offset[stall[0]]
    assert world.demand.pull_out(1.0, stall).size == 0
    assert (fleet.mode[50:] == PARKED).all()
    fleet.mode[blocker] = PARKED
    assert world.demand.pull_out(1.0, stall).tolist() == stall.tolist()
    assert (fleet.mode[50:] <= CRUISING).sum() == 1


def test_same_seed_same_truth_with_cars_and_more_cars_are_another_world() -> None:
    one, two, more = World(scenario(20)), World(scenario(20)), World(scenario(40))
    for _ in range(120):
        for world in (one, two, more):
            world.step(0.5)
    assert (one.fleet.x == two.fleet.x).all()
    assert one.truth.stall.tolist() == two.truth.stall.tolist()
    assert (one.fleet.x[:50] != more.fleet.x[:50]).any()
    # The city is drawn before anyone drives in it.
    assert one.city.to_registry() == more.city.to_registry()


def test_guests_of_an_event_come_by_road_and_stay() -> None:
    surge = Phase(
        name="b",
        duration_s=Duration(200.0),
        parking=Parking(event=ParkingEvent(at="arena", attendance=40)),
    )
    world = World(scenario(60, surge, first_s=60.0))
    for _ in range(120 - 1):
        world.step(0.5)
    assert not (world.truth.holder == EVENT).any()
    by_road = 0
    for _ in range(400):
        world.step(0.5)
        by_road = max(by_road, int((world.fleet.by[50:] == EVENT).sum()))
    guests = world.truth.holder == EVENT
    assert by_road > 5
    still = (world.fleet.by[50:] == EVENT) & (world.fleet.mode[50:] <= CRUISING)
    assert guests.sum() > 10
    assert guests.sum() + still.sum() == 40
    assert np.isinf(world.demand.depart_s[guests]).all()
