"""The links in the world: coverage along lanes, faults, observations."""

import numpy as np

from fleet_sim.models import RADIOS
from fleet_sim.models.radio_coverage import GOOD
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import Fault, GeneratedCity, Phase, RadioFault, VehicleGroup
from fleet_sim.scenario.units import Duration
from fleet_sim.world import World


def town(*groups: VehicleGroup, faults: tuple[Fault, ...] = ()) -> World:
    return World(
        Scenario(
            name="t",
            city=CitySpec(generate=GeneratedCity(blocks=(8, 8)), cars=0),
            fleet=groups or (VehicleGroup(group="a", count=200, radio="rural"),),
            phases=(Phase(name="a", duration_s=Duration(60.0)),),
            faults=faults,
        )
    )


def test_asking_for_rtt_and_throughput_changes_nothing() -> None:
    one, two = town(), town()
    changes = 0
    for _ in range(300):
        before = one.radio_up
        one.step(0.2)
        two.step(0.2)
        two.rtt_s(np.arange(7))
        two.throughput_bps(np.arange(3))
        assert (one.radio_up == two.radio_up).all()
        changes += int((one.radio_up != before).sum())
    assert changes > 10


def test_a_place_is_the_same_for_every_vehicle_of_a_network_and_another_for_others() -> None:
    world = town(
        VehicleGroup(group="a", count=100, radio="rural"),
        VehicleGroup(group="b", count=100, radio="rural"),
        VehicleGroup(group="c", count=100, radio="lte_simple"),
    )
    fleet, signal = world.fleet, world._signal
    fleet.edge[:], fleet.x[:] = np.arange(300) % 100, 30.0
    place = signal.place()
    assert (place[:100] == place[100:200]).all()
    assert len(set(place[:100].tolist())) > 1
    assert (place[200:] == GOOD).all()


def test_the_other_groups_do_not_move_a_networks_holes() -> None:
    taxis = VehicleGroup(group="a", count=50, radio="rural")
    alone, mixed = town(taxis), town(taxis, VehicleGroup(group="b", count=9, radio="5g_urban"))
    for world in (alone, mixed):
        world.fleet.edge[:50], world.fleet.x[:50] = np.arange(50), 50.0
    assert (alone._signal.place()[:50] == mixed._signal.place()[:50]).all()


def test_the_table_covers_every_lane_to_its_end() -> None:
    """At both ends of the longest and the last lane; neighbours on one street agree mostly."""
    world = town()
    fleet, roads = world.fleet, world.city.roads
    for x in (0.0, 99.999, 100.0, 104.0):
        fleet.edge[:] = np.arange(200) % roads.n_edges
        fleet.x[:] = np.minimum(x, roads.length[fleet.edge])
        assert set(world._signal.place().tolist()) <= {0, 1, 2}
    # Both directions of a street are one place: 3 m apart against 120 m of correlation.
    back = {(t, h): e for e, (t, h) in enumerate(zip(roads.head, roads.tail, strict=True))}
    pairs = [
        (e, back[t, h])
        for e, (t, h) in enumerate(zip(roads.tail, roads.head, strict=True))
        if (t, h) in back
    ]
    there, home = np.array(pairs[:200]).T
    fleet.edge[:], fleet.x[:] = there, roads.length[there] / 2
    one = world._signal.place()
    fleet.edge[:] = home
    assert (one == world._signal.place()).mean() > 0.8


def test_a_fault_is_no_radio_for_the_observations_too() -> None:
    world = town(faults=(Fault(at_s=Duration(1.0), for_s=Duration(2.0), radio=RadioFault()),))
    everyone = np.arange(world.n)
    assert np.isfinite(world.rtt_s(everyone)).any()
    for _ in range(12):
        world.step(0.1)
    assert np.isinf(world.rtt_s(everyone)).all()
    assert (world.throughput_bps(everyone).uplink_bps == 0).all()
    for _ in range(25):
        world.step(0.1)
    assert (np.isfinite(world.rtt_s(everyone)) == world.radio_up).all()


def test_moving_vehicles_are_handed_over() -> None:
    world = town(VehicleGroup(group="a", count=200))
    way = -world.fleet.odo.sum()
    for _ in range(240):
        world.step(0.5)
    way += world.fleet.odo.sum()
    expected = way / RADIOS["lte_urban"].handover_m
    assert abs(world._signal.links.handovers - expected) < 4 * expected**0.5
