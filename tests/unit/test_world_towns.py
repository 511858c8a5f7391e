"""Who has which vehicles, and several towns as one world."""

from collections.abc import Sequence

import numpy as np
import pytest

from fleet_sim.scenario import Scenario, loads
from fleet_sim.world import World, build_cities, share_out, simulate
from fleet_sim.world.towns import Towns, fleet_vins, registry, street_network


def scenario(counts: Sequence[int] = (17, 5), towns: int = 1) -> Scenario:
    groups = [f"  - {{group: g{i}, count: {count}, parked: 20%}}" for i, count in enumerate(counts)]
    return loads(
        "\n".join(
            [
                "name: towns",
                "seed: 5",
                f"city: {{generate: {{blocks: [3, 2], towns: {towns}}}}}",
                "fleet:",
                *groups,
                "phases: [{name: only, duration: 30s}]",
            ]
        )
    )


@pytest.mark.parametrize("towns", [1, 2, 3, 5])
@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_every_vehicle_is_one_shards_and_known_by_the_same_name(towns: int, shards: int) -> None:
    spec = scenario(towns=towns)
    vins = fleet_vins(spec)
    shares = share_out(spec, shards)
    assert sorted(i for share in shares for i in share.ids.tolist()) == list(range(22))
    assert max(share.n for share in shares) <= 22 / min(shards, towns) + len(spec.fleet) * towns
    for share in shares:
        assert (np.diff(share.ids) > 0).all()
        world = simulate(spec, share)
        assert [world.vins[i] for i in share.members] == [vins[i] for i in share.ids]
        firsts = np.cumsum([0, *(group.count for group in spec.fleet)])
        own = [first + own for first, own in zip(firsts, share.own, strict=False)]
        assert np.array_equal(np.concatenate(own), share.ids)
    # Whoever speaks for a town is one, and every town has one.
    leaders = [town for share in shares if share.leads for town in share.towns]
    assert sorted(leaders) == list(range(towns))


def test_a_shard_of_many_towns_simulates_its_own_only() -> None:
    shares = share_out(scenario((40,), towns=8), 4)
    assert [share.towns for share in shares] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert [simulate(scenario((40,), towns=8), share).n for share in shares] == [10] * 4


def test_towns_are_the_same_whoever_simulates_them() -> None:
    spec = scenario((12, 6), towns=3)
    whole = simulate(spec, share_out(spec, 1)[0])
    assert isinstance(whole, Towns)
    alone = [simulate(spec, share) for share in share_out(spec, 3)]
    for _ in range(100):
        for world in (whole, *alone):
            world.step(0.1)
    assert np.array_equal(whole.occupied, np.concatenate([world.occupied for world in alone]))
    seen = {}
    for world in alone:
        observed = world.observe(np.arange(world.n))
        for i, name in enumerate(world.vins):
            seen[name] = [np.asarray(column[i]).tolist() for column in observed]
    order = np.array([3, 17, 0, 9, 4])
    observed = whole.observe(order)
    for row, i in enumerate(order):
        assert [np.asarray(column[row]).tolist() for column in observed] == seen[whole.vins[i]]
    assert whole.counts()["stalls"] == sum(world.counts()["stalls"] for world in alone)
    assert whole.rtt_s(order).shape == (5,)
    assert whole.throughput_bps(order).uplink_bps.shape == (5,)
    assert whole.observe(np.zeros(0, np.int64)).lat.shape == (0,)


def test_towns_lie_apart_with_stalls_of_their_own_names() -> None:
    spec = scenario((40,), towns=4)
    cities = build_cities(spec)
    spots = registry(cities).spots
    assert len({spot.id for spot in spots}) == len(spots) == sum(c.stalls.n for c in cities)
    lat, lon = np.array([spot.lat for spot in spots]), np.array([spot.lon for spot in spots])
    town = np.array([spot.id.partition("-")[0] for spot in spots])
    boxes = [
        (lat[t].min(), lat[t].max(), lon[t].min(), lon[t].max())
        for t in (town == name for name in np.unique(town))
    ]
    for a, one in enumerate(boxes):
        for other in boxes[:a]:
            apart_north = one[0] > other[1] + 0.002 or other[0] > one[1] + 0.002
            apart_east = one[2] > other[3] + 0.002 or other[2] > one[3] + 0.002
            assert apart_north or apart_east
    worlds = simulate(spec, share_out(spec, 1)[0])
    assert isinstance(worlds, Towns)
    for world, city in zip(worlds.worlds, cities, strict=True):
        assert world.city.to_registry() == city.to_registry()
        assert world.occupied.size == city.stalls.n


def test_one_town_is_the_world_it_always_was() -> None:
    spec = scenario()
    [share] = share_out(spec, 1)
    world, plain = simulate(spec, share), World(spec)
    assert isinstance(world, World)
    assert np.array_equal(share.members, np.arange(22))
    for each in (world, plain):
        each.step(0.5)
    assert np.array_equal(world.occupied, plain.occupied)
    [city] = build_cities(spec)
    assert registry([city]) == plain.city.to_registry()


def test_more_towns_than_vehicles_are_refused() -> None:
    spec = scenario((3, 2), towns=4)
    with pytest.raises(ValueError, match=r"city\.generate\.towns: 4 towns .* at most 3 vehicles"):
        build_cities(spec)


def test_streets_of_all_towns_are_one_network() -> None:
    cities = build_cities(scenario(towns=2))
    network = street_network(cities, "c")
    assert network.city == "c"
    assert len(network.nodes) == sum(city.roads.node_x.size for city in cities)
    ends = {(s.tail, s.head) for s in network.segments}
    lanes = {
        (min(a, b), max(a, b))
        for a, b in zip(cities[0].roads.tail.tolist(), cities[0].roads.head.tolist(), strict=True)
    }
    assert {pair for pair in ends if pair[0] < cities[0].roads.node_x.size} == lanes
    assert len(ends) == len(network.segments)
