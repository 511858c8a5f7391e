"""The world as the engine uses it: step, observe, truth, counts."""

import numpy as np
import pytest

from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import (
    Charging,
    City,
    Fault,
    GeneratedCity,
    Parking,
    ParkingEvent,
    Phase,
    RadioFault,
    VehicleGroup,
)
from fleet_sim.scenario.units import Duration, Fraction
from fleet_sim.world import MODES, World, catalog
from fleet_sim.world.fleet import CHARGING, CRUISING, DRIVING, PARKED
from fleet_sim.world.truth import BACKGROUND, EVENT


def scenario(**changes: object) -> Scenario:
    fields: dict[str, object] = {
        "name": "t",
        "seed": 11,
        "city": City(generate=GeneratedCity(blocks=(6, 5)), cars=0),
        "fleet": (
            VehicleGroup(group="taxis", count=90, parked=Fraction(0.3)),
            VehicleGroup(group="vans", count=30, vehicle="leaf_30", radio="rural"),
        ),
        "phases": (Phase(name="calm", duration_s=Duration(60.0)),),
    }
    return Scenario(**(fields | changes))  # type: ignore[arg-type]


def timeline(world: World) -> tuple[list[float], list[int], list[int]]:
    truth = world.truth
    return truth.t_s.tolist(), truth.stall.tolist(), truth.by.tolist()


def run(world: World, seconds: float, dt_s: float = 0.1) -> World:
    for _ in range(round(seconds / dt_s)):
        world.step(dt_s)
    return world


def test_same_seed_same_truth_and_observing_changes_nothing() -> None:
    one, two = World(scenario()), World(scenario())
    rng = np.random.default_rng(0)
    for _ in range(300):
        one.step(0.1)
        two.step(0.1)
        two.observe(rng.integers(two.n, size=7))
        two.rtt_s(np.arange(3))
    assert len(one.truth.t_s) > 5
    assert timeline(one) == timeline(two)
    assert (one.fleet.x == two.fleet.x).all()
    assert (one.fleet.soc == two.fleet.soc).all()


def test_another_seed_is_another_world() -> None:
    one, two = run(World(scenario()), 30), run(World(scenario(), seed=12), 30)
    assert timeline(one) != timeline(two)
    assert one.city.to_registry().city != two.city.to_registry().city


def test_invariants_hold_while_it_runs() -> None:
    world = World(scenario())
    fleet, truth = world.fleet, world.truth
    parked_once = False
    for _ in range(600):
        odo = fleet.odo.copy()
        world.step(0.2)
        roads = world.city.roads
        assert (fleet.x >= 0).all()
        assert (fleet.x <= roads.length[fleet.edge]).all()
        assert (fleet.v >= 0).all()
        assert (fleet.odo >= odo).all()
        road = fleet.on_road()
        same = fleet.lane[road][1:] == fleet.lane[road][:-1]
        gap = np.diff(fleet.x[road]) - fleet.half[road][1:] - fleet.half[road][:-1]
        assert (gap[same] > 0).all()
        parked = np.flatnonzero(fleet.mode >= PARKED)
        assert (truth.holder[fleet.stall[parked]] == parked).all()
        assert np.unique(fleet.stall[parked]).size == parked.size
        held = truth.holder[truth.holder >= 0]
        assert sorted(held) == sorted(parked)
        parked_once |= bool((truth.by >= 0).any())
    assert parked_once
    counts = world.counts()
    assert sum(counts[k] for k in ("driving", "cruising", "parked", "charging")) == world.n == 120
    assert counts["occupied_stalls"] == truth.occupied.sum()
    assert counts["occupied_stalls"] + counts["free_stalls"] == counts["stalls"]


def test_it_begins_with_the_parked_share_and_the_phases_occupancy() -> None:
    phases = (Phase(name="a", duration_s=Duration(60.0), parking=Parking(occupancy=Fraction(0.7))),)
    world = World(scenario(phases=phases))
    in_stall = world.fleet.mode == PARKED
    assert in_stall[world.groups == 0].sum() == 27
    assert in_stall[world.groups == 1].sum() == 3
    background = (world.truth.holder == BACKGROUND).mean()
    assert background == pytest.approx(0.7, abs=0.001)


def test_observation_is_near_the_truth_and_well_formed() -> None:
    world = run(World(scenario()), 20)
    idx = np.arange(0, world.n, 2)
    seen = world.observe(idx)
    x, y = world.city.projection.to_metres(seen.lat, seen.lon)
    true_x, true_y = world.fleet.position(idx)
    assert np.median(np.hypot(x - true_x, y - true_y)) < 8
    assert np.hypot(x - true_x, y - true_y).min() > 0
    assert all(len(field) == idx.size for field in seen)
    assert seen.range_cm.shape == (idx.size, 20)
    assert ((seen.heading_deg >= 0) & (seen.heading_deg < 360)).all()
    assert (seen.speed_mps >= 0).all()
    assert np.abs(seen.speed_mps - world.fleet.v[idx]).max() < 0.5
    parked = world.fleet.mode[idx] == PARKED
    assert parked.any()
    assert (seen.mode[parked] == MODES.index("parked")).all()
    assert (seen.speed_mps[parked] == 0).all()
    assert not seen.sonar_ok[parked].any()
    assert (seen.range_cm[~seen.sonar_ok] == 0).all()


def test_without_the_side_sensor_all_else_is_the_same() -> None:
    world = World(scenario())
    for _ in range(20):
        world.step(0.1)
    idx = np.arange(world.n)
    seen, without = world.observe(idx), world.observe(idx, side_sensor=False)
    assert seen.sonar_ok.any()
    assert not without.sonar_ok.any()
    assert not without.range_cm.any()
    for name in set(seen._fields) - {"range_cm", "sonar_ok"}:
        assert (getattr(seen, name) == getattr(without, name)).all(), name


def test_observing_nobody_is_fine() -> None:
    world = World(scenario())
    assert world.observe(np.empty(0, dtype=np.int64)).lat.size == 0


def test_parked_vehicles_are_seen_in_their_stalls() -> None:
    world = World(scenario())
    parked = np.flatnonzero(world.fleet.mode == PARKED)
    x, y = world.fleet.position(parked)
    stall = world.fleet.stall[parked]
    assert np.hypot(x - world.city.stalls.x[stall], y - world.city.stalls.y[stall]).max() < 1e-6


def test_a_radio_fault_takes_down_who_is_there_when_it_strikes() -> None:
    faults = (Fault(at_s=Duration(5.0), for_s=Duration(3.0), radio=RadioFault(district="north")),)
    world = World(scenario(faults=faults))
    down_before = world.n - run(world, 4.9).radio_up.sum()
    world.step(0.1)
    _, y = world.fleet.position(np.arange(world.n))
    assert not world.radio_up[y >= 0].any()
    assert world.radio_up[y < 0].mean() > 0.8
    run(world, 3.0)
    assert abs((world.n - world.radio_up.sum()) - down_before) < 10


def test_an_event_passes_through_its_phases() -> None:
    phases = (
        Phase(name="calm", duration_s=Duration(10.0)),
        Phase(
            name="surge",
            duration_s=Duration(40.0),
            parking=Parking(event=ParkingEvent(at="arena", attendance=100)),
        ),
        Phase(
            name="egress",
            duration_s=Duration(30.0),
            parking=Parking(event=ParkingEvent(at="arena", leaves=Fraction(0.75))),
        ),
    )
    world = World(scenario(phases=phases))
    guests = []
    for k in range(820):
        world.step(0.1)
        guests.append(int((world.truth.holder == EVENT).sum()))
        assert world.phase == (0 if k < 99 else 1 if k < 499 else 2)
    assert guests[98] == 0
    assert 30 < guests[365] < 70
    assert guests[499] == 100
    assert guests[-1] == 25


def test_long_steps_are_subdivided_and_nonsense_is_refused() -> None:
    world = World(scenario())
    world.step(7.3)
    assert world.now_s == pytest.approx(7.3)
    assert (world.fleet.odo > 0).all()
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="dt_s"):
            world.step(bad)


def test_energy_of_the_fleet_closes() -> None:
    """What drives took from the packs is what the packs lost."""
    world = World(scenario())
    fleet = world.fleet
    before = fleet.soc.copy()
    run(world, 120, 0.2)
    lost = (before - fleet.soc) * fleet.usable_j
    drove = fleet.energy_j > 0
    assert drove.sum() > 80
    assert lost[drove].sum() == pytest.approx(fleet.energy_j[drove].sum(), rel=1e-3)
    # City driving of these cars: near the EPA's 150-200 Wh/mi at the terminals.
    odo0 = World(scenario()).fleet.odo
    miles = (fleet.odo - odo0).sum() / 1609.344
    assert 100 < fleet.energy_j.sum() / 3600 / miles < 300


def test_without_stations_low_packs_charge_in_the_street_and_empty_ones_off_it() -> None:
    city = City(generate=GeneratedCity(blocks=(6, 5)), cars=0, charging=Charging(stations=0))
    fleet_of = (VehicleGroup(group="a", count=60, parked=Fraction(0.0)),)
    world = World(scenario(city=city, fleet=fleet_of))
    fleet = world.fleet
    fleet.soc[:30] = 0.1
    fleet.soc[30:40] = 0.01
    run(world, 300, 0.5)
    assert (fleet.mode[30:40] == CHARGING).all()
    assert (fleet.stall[30:40] < 0).all()
    assert (fleet.site < 0).all()
    low = fleet.mode[:30]
    assert (low == CHARGING).sum() > 15
    assert set(low.tolist()) <= {DRIVING, CRUISING, CHARGING}
    assert (fleet.soc[30:40] > 0.01).all()
    fleet.soc[:40] = 0.9
    run(world, 60, 0.5)
    assert (fleet.mode[:40] <= CRUISING).sum() > 35


def test_vins_follow_the_groups() -> None:
    world = World(scenario())
    assert len(set(world.vins)) == len(world.vins) == world.n == 120
    assert world.groups.tolist() == [0] * 90 + [1] * 30


def test_what_does_not_fit_the_city_is_refused() -> None:
    small = City(generate=GeneratedCity(blocks=(1, 1)), cars=0)
    crowd = VehicleGroup(group="a", count=500, parked=Fraction(0.0))
    with pytest.raises(ValueError, match=r"fleet: 500 vehicles on the road do not fit"):
        World(scenario(city=small, fleet=(crowd,)))
    parked = VehicleGroup(group="a", count=500, parked=Fraction(0.9))
    with pytest.raises(ValueError, match=r"fleet: 450 vehicles begin parked, but the city has"):
        World(scenario(city=small, fleet=(parked,)))


def test_a_city_without_stalls_runs() -> None:
    bare = City(generate=GeneratedCity(blocks=(4, 4), legal_kerb=Fraction(0.0)), cars=0)
    group = VehicleGroup(group="a", count=40, parked=Fraction(0.0), soc=(Fraction(0.05),) * 2)
    world = run(World(scenario(city=bare, fleet=(group,))), 60, 0.5)
    assert world.observe(np.arange(40)).range_cm.shape == (40, 20)
    assert world.truth.occupied_at(60.0).size == 0


def test_catalog_names_what_a_scenario_may_use() -> None:
    names = catalog()
    assert set(names.vehicles) == {"model3_rwd", "leaf_30", "bolt_2017"}
    assert set(names.radios) == {"lte_urban", "5g_urban", "rural", "lte_simple", "none"}
    assert names.venues == ("arena", "market")
