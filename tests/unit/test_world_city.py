"""Generated cities: stalls where stalls may be, roads that lead everywhere."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.contract import RegistrySpot, SpotRegistry
from fleet_sim.models import gnss
from fleet_sim.models.arrays import IntArray
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.scenario.units import Fraction, Length
from fleet_sim.world import City, districts
from fleet_sim.world.geo import Projection
from fleet_sim.world.roads import CORNER_M, Roads
from fleet_sim.world.routing import Router
from fleet_sim.world.stalls import STALL_LENGTH_M

cities = st.builds(
    lambda cols, rows, block, legal, centre, one_way, lat, lon: GeneratedCity(
        blocks=(cols, rows),
        centre=Fraction(centre),
        one_way=one_way,
        block_length_m=Length(block),
        legal_kerb=Fraction(legal),
        lat=lat,
        lon=lon,
    ),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(40, 300),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
    st.floats(-80, 80),
    st.floats(-180, 180),
)


@settings(max_examples=60, deadline=None)
@given(spec=cities, seed=st.integers(0, 2**63 - 1))
def test_every_stall_is_legal_and_every_place_reachable(spec: GeneratedCity, seed: int) -> None:
    city = City.generate(spec, seed)
    roads, stalls = city.roads, city.stalls
    # Every block of street is there, one way or both.
    pairs = np.sort(np.stack((roads.tail, roads.head), axis=1), axis=1)
    streets, ways = np.unique(pairs, axis=0, return_counts=True)
    assert len(streets) == 2 * spec.blocks[0] * spec.blocks[1] + sum(spec.blocks)
    assert spec.one_way or (ways == 2).all()
    assert (roads.tail != roads.head).all()
    assert np.isfinite(roads.cost_to_go()).all()
    ends = np.hypot(
        roads.node_x[roads.head] - roads.node_x[roads.tail],
        roads.node_y[roads.head] - roads.node_y[roads.tail],
    )
    assert ends == pytest.approx(roads.length)
    assert len(set(stalls.id)) == stalls.n
    half = STALL_LENGTH_M / 2
    tail, head = roads.tail[stalls.edge], roads.head[stalls.edge]
    assert (roads.corner_m >= CORNER_M).all()
    assert (stalls.offset - half >= roads.corner_m[tail] - 1e-6).all()
    assert (
        stalls.offset + half <= (roads.length - roads.corner_m[roads.head])[stalls.edge] + 1e-6
    ).all()
    # No stall stands on the lanes of the street that crosses.
    x, y = stalls.x, stalls.y
    for node in (tail, head):
        away = np.maximum(np.abs(x - roads.node_x[node]), np.abs(y - roads.node_y[node]))
        assert (away - half >= (roads.corner_m - 8.0)[node] - 1e-6).all()
    assert (roads.reception[stalls.edge] != gnss.COVERED).all()
    same = stalls.edge[1:] == stalls.edge[:-1]
    assert (np.diff(stalls.edge) >= 0).all()
    assert (np.diff(stalls.offset)[same] >= STALL_LENGTH_M - 1e-6).all()
    for edge in range(roads.n_edges):
        assert (stalls.edge[stalls.first[edge] : stalls.first[edge + 1]] == edge).all()


@settings(max_examples=20, deadline=None)
@given(spec=cities, seed=st.integers(0, 2**63 - 1))
def test_the_registry_is_what_the_contract_accepts(spec: GeneratedCity, seed: int) -> None:
    registry = City.generate(spec, seed).to_registry()
    again = msgspec.json.decode(msgspec.json.encode(registry), type=SpotRegistry)
    assert again == registry


@pytest.fixture(scope="module")
def city() -> City:
    return City.generate(GeneratedCity(blocks=(6, 5)), 42)


def test_same_seed_same_city_and_another_seed_another(city: City) -> None:
    spec = GeneratedCity(blocks=(6, 5))
    assert City.generate(spec, 42).to_registry() == city.to_registry()
    other = City.generate(spec, 43).to_registry()
    assert other.city != city.to_registry().city
    moved = City.generate(GeneratedCity(blocks=(6, 5), lat=37.0), 42).to_registry()
    assert moved.city != city.to_registry().city


def test_a_stall_is_right_of_its_lane_by_its_offset(city: City) -> None:
    """From the registry's figures alone: step back across, and be on the lane's centre line."""
    roads, stalls = city.roads, city.stalls
    spots: list[RegistrySpot] = city.to_registry().spots
    bearing = np.radians([s.bearing_deg for s in spots])
    across = np.array([s.lane_offset_m for s in spots])
    lat, lon = np.array([s.lat for s in spots]), np.array([s.lon for s in spots])
    x, y = city.projection.to_metres(lat, lon)
    # Right of a heading is heading + 90 degrees.
    x, y = x - across * np.cos(bearing), y + across * np.sin(bearing)
    lane_x, lane_y = roads.point(stalls.edge, stalls.offset)
    assert np.hypot(x - lane_x, y - lane_y).max() < 0.02
    assert np.sin(bearing) == pytest.approx(roads.ux[stalls.edge], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_streets_have_ranks(seed: int) -> None:
    """Arterials are wide, fast and have the signals; where a collector meets one, too."""
    city = City.generate(GeneratedCity(blocks=(14, 10)), seed)
    roads = city.roads
    kmh = np.round(roads.limit_mps * 3.6).astype(int)
    assert set(kmh[roads.arterial]) == {50}
    assert (roads.lanes[roads.arterial] == 2).all()
    assert set(kmh[~roads.arterial]) == {30, 40}
    # A stall keeps 8 m clear of the cross street: 6 m to its edge, 3.5 m more for another lane.
    wide = np.isin(np.arange(roads.node_x.size), roads.head[roads.arterial])
    assert roads.corner_m == pytest.approx(np.where(wide, 17.5, 14.0))
    at_signal = np.unique(roads.head[roads.signal > 0])
    for node in range(roads.node_x.size):
        into = np.flatnonzero(roads.head == node)
        lit = roads.arterial[into].any() and (kmh[into] >= 40).all()
        assert (node in at_signal) == lit
        # Each way through a crossing has one half of the cycle.
        if lit:
            north = roads.uy[into] != 0
            assert (roads.signal[into] == np.where(north, 1, 2)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_centre_is_one_way_narrow_and_high(seed: int) -> None:
    city = City.generate(GeneratedCity(blocks=(14, 10)), seed)
    roads, centre = city.roads, city.character == districts.CENTRE
    pair = set(zip(roads.tail.tolist(), roads.head.tolist(), strict=True))
    single = np.array([(h, t) not in pair for t, h in zip(roads.tail, roads.head, strict=True)])
    assert single.any()
    assert centre[single].all()
    assert not roads.arterial[single].any()
    # In turns: as many metres to the east as to the west, at most a street apart.
    for u in (roads.ux, roads.uy):
        way = (u * roads.length)[single]
        assert abs(way.sum()) <= way.max() * 6
        assert way.min() < 0 < way.max()
    assert (roads.reception[centre] == gnss.CANYON).all()
    assert roads.length[centre].mean() < 0.95 * roads.length[~centre].mean()
    assert np.bincount(city.character, minlength=4).min() > 0
    covered = np.flatnonzero(roads.reception == gnss.COVERED)
    assert covered.size == 2
    assert roads.head[covered[0]] == roads.tail[covered[1]]
    plain = City.generate(GeneratedCity(blocks=(14, 10), centre=Fraction(0), tunnel=False), seed)
    assert (plain.character == districts.MIXED).all()
    assert np.ptp(plain.roads.length) < 1e-9
    assert set(plain.roads.reception) == {gnss.OPEN, gnss.STREET}


@pytest.mark.parametrize("mean", [0.05, 0.3, 0.6, 0.9, 0.97])
def test_districts_differ_in_occupancy_and_the_mean_is_kept(mean: float) -> None:
    city = City.generate(GeneratedCity(blocks=(14, 10)), 1)
    character = city.character[city.stalls.edge]
    share = districts.occupancies(mean, character)
    assert share[character].mean() == pytest.approx(mean, abs=1e-6)
    assert (np.diff(share) < 0).all()
    assert (share < 1).all()


def test_streets_of_a_kilometre_have_a_citys_number_of_stalls() -> None:
    city = City.generate(GeneratedCity(blocks=(14, 10)), 1)
    km = city.roads.length.sum() / 1000
    # 60 % of the kerb is legal, of which two corners, driveways and bus stops take a good third.
    assert 40 < city.stalls.n / km < 75


def test_a_large_city_is_drawn() -> None:
    city = City.generate(GeneratedCity(blocks=(60, 60)), 1)
    assert city.roads.node_x.size == 61 * 61


def test_streets_that_do_not_hang_together_are_refused(city: City) -> None:
    roads = city.roads
    lonely = without_edges(roads, np.flatnonzero(roads.head != 0))
    with pytest.raises(ValueError, match=r"city: its 42 crossings are 2 parts.*strongly connected"):
        dataclasses.replace(city, roads=lonely)


def without_edges(roads: Roads, keep: IntArray) -> Roads:
    """Without the other edges."""
    per_edge = ("tail", "head")
    return dataclasses.replace(roads, **{name: getattr(roads, name)[keep] for name in per_edge})


def test_names_and_ids(city: City) -> None:
    roads, stalls = city.roads, city.stalls
    assert {"1st Ave", "2nd Ave", "3rd Ave", "7th Ave"} <= set(roads.streets)
    assert roads.streets[7:] == (
        "Alder St",
        "Birch St",
        "Cedar St",
        "Elm St",
        "Hazel St",
        "Linden St",
    )
    for i in range(0, stalls.n, 17):
        letter, bearing = stalls.id[i][0], roads.bearing_deg[stalls.edge[i]]
        assert bearing == {"N": 0, "E": 90, "S": 180, "W": 270}[letter]


def test_ids_count_up_along_a_street_in_the_direction_of_travel(city: City) -> None:
    roads, stalls = city.roads, city.stalls
    west = [i for i in range(stalls.n) if stalls.id[i].startswith("W03-")]
    by_id = sorted(west, key=lambda i: int(stalls.id[i].split("-")[1]))
    assert (np.diff(stalls.x[by_id]) < 0).all()
    assert len({int(roads.street_of[stalls.edge[i]]) for i in west}) == 1


def test_arena_is_near_the_centre_and_market_is_not(city: City) -> None:
    arena, market = city.venue("arena"), city.venue("market")
    assert np.hypot(arena.x, arena.y) < 100
    assert np.hypot(market.x, market.y) > 150
    with pytest.raises(ValueError, match=r"venue: 'zoo'.*arena, market"):
        city.venue("zoo")


def test_districts_are_halves(city: City) -> None:
    x, y = city.stalls.x, city.stalls.y
    north, south = city.district("north", x, y), city.district("south", x, y)
    assert (north ^ south).all()
    assert 0.3 < north.mean() < 0.7
    assert (city.district("east", x, y) == (x >= 0)).all()
    assert city.district("all", x, y).all()
    with pytest.raises(ValueError, match="district: 'up'"):
        city.district("up", x, y)


@settings(max_examples=50)
@given(
    lat0=st.floats(-80, 80),
    lon0=st.floats(-180, 180),
    x=st.floats(-5000, 5000),
    y=st.floats(-5000, 5000),
)
def test_projection_reads_back_what_it_writes(lat0: float, lon0: float, x: float, y: float) -> None:
    projection = Projection(lat0, lon0)
    lat, lon = projection.to_degrees(np.array([x]), np.array([y]))
    assert -180 <= lon[0] <= 180
    back_x, back_y = projection.to_metres(lat, lon)
    assert (back_x[0], back_y[0]) == (pytest.approx(x, abs=1e-3), pytest.approx(y, abs=1e-3))


def test_projection_agrees_with_the_great_circle_near_the_centre() -> None:
    projection = Projection(37.8, -122.27)
    lat, lon = projection.to_degrees(np.array([700.0]), np.array([700.0]))
    a, b, dlon = np.radians(37.8), np.radians(lat[0]), np.radians(lon[0] + 122.27)
    h = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(dlon / 2) ** 2
    assert 2 * 6_371_008.8 * np.arcsin(np.sqrt(h)) == pytest.approx(np.hypot(700, 700), rel=2e-4)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (
            GeneratedCity(block_length_m=Length(20)),
            r"city\.generate\.block_length: 20 m.*40\.\.1000",
        ),
        (GeneratedCity(blocks=(200, 200)), r"city\.generate\.blocks: 200 x 200.*up to 8192"),
    ],
)
def test_what_does_not_fit_is_refused(spec: GeneratedCity, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        City.generate(spec, 1)


def test_routes_reach_their_goal_in_the_least_time(city: City) -> None:
    roads, rng = city.roads, np.random.default_rng(1)
    router, to_go = Router(roads), roads.cost_to_go()
    edge, goal = rng.integers(roads.n_edges, size=(2, 200))
    best = to_go[roads.head[edge], roads.tail[goal]].astype(float)
    spent = np.zeros(200)
    for _ in range(40):
        away = edge != goal
        edge = np.where(away, router.towards(edge, goal, np.zeros(roads.n_edges), rng), edge)
        spent += np.where(away & (edge != goal), roads.travel_s[edge], 0.0)
    assert (edge == goal).all()
    # Ties of up to half a second a turn are broken at random.
    assert (spent <= best + 0.5 * 20).all()


def test_a_queue_turns_routes_away(city: City) -> None:
    roads, rng = city.roads, np.random.default_rng(2)
    router = Router(roads)
    edge, goal = np.array([0] * 50), np.array([roads.n_edges - 1] * 50)
    usual = router.towards(edge, goal, np.zeros(roads.n_edges), rng)
    queue = np.zeros(roads.n_edges)
    queue[np.unique(usual)] = 500.0
    assert not np.isin(router.towards(edge, goal, queue, rng), usual).any()


def test_loitering_stays_near_and_does_not_turn_round(city: City) -> None:
    roads, rng = city.roads, np.random.default_rng(3)
    router = Router(roads)
    edge = np.full(300, 20)
    here_x, here_y = (np.full(300, a[20]) for a in roads.middle())
    for _ in range(30):
        turn = router.around(edge, here_x, here_y, rng)
        assert (roads.tail[turn] == roads.head[edge]).all()
        assert (roads.head[turn] != roads.tail[edge]).all()
        edge = turn
    x, y = roads.point(edge, roads.length[edge] / 2)
    assert np.median(np.hypot(x - here_x, y - here_y)) < 200
