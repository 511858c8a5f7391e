"""Several towns as one world, and which vehicles a shard of the run has.

A fleet larger than one town's streets is shared out over separate towns, laid side by side: each
has its own streets, cars and stream of randomness, so that whoever has a town's vehicles need
simulate no other. Vehicle i of a group lives in town `i % towns`, wherever it is simulated.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from fleet_sim.contract import Segment, SpotRegistry, StreetNetwork
from fleet_sim.models.arrays import AnyArray, BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.models.radio import Throughput
from fleet_sim.scenario.model import Scenario
from fleet_sim.world.city import City
from fleet_sim.world.geo import Projection
from fleet_sim.world.vin import vin
from fleet_sim.world.world import Observation, World

_STREAM = 0x70B5
_ROOM, _BETWEEN_M = 1.5, 1_000.0
"""Towns stand so far apart that the irregular blocks of one do not reach the next."""


class Simulated(Protocol):
    """What the engine asks of a world: a `World`, or several as `Towns`."""

    @property
    def n(self) -> int: ...
    @property
    def vins(self) -> Sequence[str]: ...
    @property
    def now_s(self) -> float: ...
    @property
    def scenario(self) -> Scenario: ...
    @property
    def radio_state(self) -> Int8Array: ...
    @property
    def wired(self) -> BoolArray: ...
    @property
    def occupied(self) -> BoolArray: ...
    def step(self, dt_s: float) -> None: ...
    def observe(self, idx: IntArray) -> Observation: ...
    def rtt_s(self, idx: IntArray) -> FloatArray: ...
    def throughput_bps(self, idx: IntArray) -> Throughput: ...
    def counts(self) -> dict[str, int]: ...


def town_count(scenario: Scenario) -> int:
    """How many towns the scenario's fleet is shared out over."""
    return 1 if scenario.city.generate is None else scenario.city.generate.towns


def town_scenario(scenario: Scenario, town: int) -> Scenario:
    """The scenario of one town: its share of each group, and its place on the map.

    `ValueError` when there are more towns than vehicles.
    """
    towns, spec = town_count(scenario), scenario.city.generate
    if towns == 1 or spec is None:
        return scenario
    if towns > max(group.count for group in scenario.fleet):
        raise ValueError(
            f"city.generate.towns: {towns} towns for groups of at most "
            f"{max(group.count for group in scenario.fleet)} vehicles (allowed: no more towns than "
            "vehicles in the largest group)"
        )
    row, column = divmod(town, int(np.ceil(np.sqrt(towns))))
    pitch = np.array(spec.blocks) * float(spec.block_length_m) * _ROOM + _BETWEEN_M
    lat, lon = Projection(spec.lat, spec.lon).to_degrees(
        np.array([column * pitch[0]]), np.array([row * pitch[1]])
    )
    fleet = tuple(
        msgspec.structs.replace(group, count=len(range(town, group.count, towns)))
        for group in scenario.fleet
    )
    place = msgspec.structs.replace(spec, towns=1, lat=float(lat[0]), lon=float(lon[0]))
    cars = scenario.city.cars
    cars = None if cars is None else len(range(town, cars, towns))
    city = msgspec.structs.replace(scenario.city, generate=place, cars=cars)
    return msgspec.structs.replace(scenario, fleet=fleet, city=city)


def town_seed(scenario: Scenario, town: int) -> int:
    """The scenario's own for its only town, else one drawn for each."""
    if town_count(scenario) == 1:
        return scenario.seed
    return int(np.random.SeedSequence([scenario.seed, _STREAM, town]).generate_state(1)[0])


def _named(city: City, scenario: Scenario, town: int) -> City:
    """With stalls whose ids say which town they are in, when there are several."""
    if town_count(scenario) == 1:
        return city
    ids = tuple(f"T{town + 1}-{name}" for name in city.stalls.id)
    return replace(city, stalls=replace(city.stalls, id=ids))


def build_cities(scenario: Scenario) -> tuple[City, ...]:
    """Streets and stalls of all towns, without vehicles. `ValueError` as `City.build`."""
    return tuple(
        _named(City.build(town_scenario(scenario, t).city, town_seed(scenario, t)), scenario, t)
        for t in range(town_count(scenario))
    )


def cities_of(world: Simulated) -> tuple[City, ...]:
    """Of the towns that a world simulates."""
    if isinstance(world, Towns):
        return tuple(each.city for each in world.worlds)
    assert isinstance(world, World)
    return (world.city,)


def registry(cities: Sequence[City]) -> SpotRegistry:
    """The stalls of all towns as the cloud is told of them."""
    parts = [city.to_registry() for city in cities]
    if len(parts) == 1:
        return parts[0]
    digest = hashlib.sha256("".join(part.city for part in parts).encode()).hexdigest()[:16]
    return SpotRegistry(city=digest, spots=[spot for part in parts for spot in part.spots])


def street_network(cities: Sequence[City], city: str) -> StreetNetwork:
    """The streets of all towns as the cloud is told of them; `city` is their registry's."""
    parts = [each.to_streets(city) for each in cities]
    nodes = [node for part in parts for node in part.nodes]
    names = [name for part in parts for name in part.streets]
    segments, node, name = [], 0, 0
    for part in parts:
        segments += [Segment(s.tail + node, s.head + node, s.street + name) for s in part.segments]
        node, name = node + len(part.nodes), name + len(part.streets)
    return StreetNetwork(city, nodes, names, segments, parts[0].attribution)


def fleet_vins(scenario: Scenario) -> list[str]:
    """VINs of the whole fleet in the order of the scenario's groups: `vins[id]`."""
    return [vin(g, i) for g, group in enumerate(scenario.fleet) for i in range(group.count)]


class Share(NamedTuple):
    """The vehicles of one shard, k of them, in the order of groups and of vehicles within."""

    number: int
    of: int
    """How many shards the run has."""
    towns: tuple[int, ...]
    """Which towns it simulates, whole."""
    own: tuple[IntArray, ...]
    """By group: which of its vehicles are the shard's, ascending."""
    ids: IntArray
    """[k] of each: its index in the whole fleet."""
    members: IntArray
    """[k] of each: its index in the shard's world."""

    @property
    def n(self) -> int:
        return int(self.ids.size)

    @property
    def leads(self) -> bool:
        """Whether none with a lower number simulates its towns: then it speaks for them."""
        return self.number in self.towns


def share_out(scenario: Scenario, shards: int) -> list[Share]:
    """Who has which vehicles. A shard has whole towns when there are enough, else it simulates a
    town whole and has every m-th of its vehicles, where m shards do."""
    towns = town_count(scenario)
    return [_share(scenario, towns, number, shards) for number in range(shards)]


def _share(scenario: Scenario, towns: int, number: int, shards: int) -> Share:
    if towns >= shards:
        mine, part, parts = range(number, towns, shards), 0, 1
    else:
        town = number % towns
        mine, part = range(town, town + 1), number // towns
        parts = len(range(town, shards, towns))
    own, ids, members = [], [], []
    # Vehicles of group g in town t stand together in the town's world, and towns one after another.
    sizes = np.array([[len(range(t, g.count, towns)) for g in scenario.fleet] for t in mine])
    begins = (np.cumsum(sizes) - sizes.ravel()).reshape(sizes.shape)
    first = 0
    for g, group in enumerate(scenario.fleet):
        i = np.arange(group.count)
        town_of, place = i % towns, i // towns
        chosen = np.flatnonzero(np.isin(town_of, np.array(mine)) & (place % parts == part))
        row = np.searchsorted(np.array(mine), town_of[chosen])
        own.append(chosen)
        ids.append(first + chosen)
        members.append(begins[row, g] + place[chosen])
        first += group.count
    return Share(
        number, shards, tuple(mine), tuple(own), np.concatenate(ids), np.concatenate(members)
    )


def simulate(scenario: Scenario, share: Share) -> Simulated:
    """The world of one shard: its towns, with all their vehicles."""
    towns = town_count(scenario)
    if towns == 1:
        return World(scenario)
    worlds = []
    for town in share.towns:
        world = World(town_scenario(scenario, town), seed=town_seed(scenario, town))
        world.city = _named(world.city, scenario, town)
        world.vins = [
            vin(g, i)
            for g, group in enumerate(scenario.fleet)
            for i in range(town, group.count, towns)
        ]
        worlds.append(world)
    return Towns(worlds)


class Towns:
    """Several worlds as one: their vehicles, and their stalls, one town's after another's."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self.worlds = tuple(worlds)
        self._first = np.cumsum([0, *(world.n for world in worlds)])
        self.vins: list[str] = [name for world in worlds for name in world.vins]

    @property
    def n(self) -> int:
        return int(self._first[-1])

    @property
    def now_s(self) -> float:
        return self.worlds[0].now_s

    @property
    def scenario(self) -> Scenario:
        """One town's: all have the same clock, phases and faults."""
        return self.worlds[0].scenario

    @property
    def radio_state(self) -> Int8Array:
        return np.concatenate([world.radio_state for world in self.worlds])

    @property
    def wired(self) -> BoolArray:
        return np.concatenate([world.wired for world in self.worlds])

    @property
    def occupied(self) -> BoolArray:
        return np.concatenate([world.occupied for world in self.worlds])

    def step(self, dt_s: float) -> None:
        """Advance every town."""
        for world in self.worlds:
            world.step(dt_s)

    def observe(self, idx: IntArray) -> Observation:
        """As `World.observe`, of vehicles of any town."""
        return Observation(*self._each(idx, lambda world, part: world.observe(part)))

    def rtt_s(self, idx: IntArray) -> FloatArray:
        """As `World.rtt_s`."""
        return self._each(idx, lambda world, part: (world.rtt_s(part),))[0]

    def throughput_bps(self, idx: IntArray) -> Throughput:
        """As `World.throughput_bps`."""
        return Throughput(*self._each(idx, lambda world, part: world.throughput_bps(part)))

    def counts(self) -> dict[str, int]:
        """Of all towns together."""
        parts = [world.counts() for world in self.worlds]
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def _each(
        self, idx: IntArray, ask: Callable[[World, IntArray], Sequence[AnyArray]]
    ) -> list[AnyArray]:
        """Ask each town for its vehicles, and put the answers back in the order of `idx`."""
        town = np.searchsorted(self._first, idx, side="right") - 1
        whole: list[AnyArray] = []
        for t in range(len(self.worlds)):
            rows = np.flatnonzero(town == t)
            if not rows.size and (whole or t + 1 < len(self.worlds)):
                continue
            answers = ask(self.worlds[t], idx[rows] - self._first[t])
            if not whole:
                whole = [np.empty((idx.size, *a.shape[1:]), a.dtype) for a in answers]
            for into, answer in zip(whole, answers, strict=True):
                into[rows] = answer
        return whole
