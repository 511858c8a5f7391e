"""Streets that are read from a map: where they lead, how fast, and where cars may stand."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import osmium
import pytest
from osm_maps import (
    CROSS,
    LAT,
    LON,
    RESIDENTIAL,
    assert_stalls_are_where_they_may_be,
    cross,
    osm,
)

from fleet_sim.models import gnss
from fleet_sim.world import City
from fleet_sim.world import osm as reader
from fleet_sim.world.network import reverse
from fleet_sim.world.roads import CROSSING_S
from fleet_sim.world.routing import Router
from fleet_sim.world.stalls import STALL_LENGTH_M

PRIMARY = {"highway": "primary", "name": "Main Street"}


def read(tmp_path: Path, text: str, seed: int = 1) -> City:
    path = tmp_path / "map.osm"
    path.write_text(text)
    return City.from_osm(path, seed)


def has_edge(city: City, tail: tuple[float, float], head: tuple[float, float]) -> bool:
    """Whether an edge leads from one place to another, metres around the centre, ± 2 m."""
    r = city.roads
    off = np.hypot(r.node_x[r.tail] - tail[0], r.node_y[r.tail] - tail[1])
    off += np.hypot(r.node_x[r.head] - head[0], r.node_y[r.head] - head[1])
    return bool((off < 2.0).any())


@pytest.mark.parametrize(
    ("text", "kmh"),
    [
        ("50", 50.0),
        ("25 mph", 40.2336),
        ("25mph", 40.2336),
        ("30 km/h", 30.0),
        ("5 knots", 9.26),
        ("walk", 7.0),
        ("50;30", 50.0),
        ("", None),
        ("none", None),
        ("signals", None),
        ("RO:urban", None),
        ("0", None),
        ("9999", None),
    ],
)
def test_speed_limits(text: str, kmh: float | None) -> None:
    assert reader.speed_kmh(text) == (kmh if kmh is None else pytest.approx(kmh))


@pytest.mark.parametrize(
    ("tags", "ways"),
    [
        ({}, (True, True)),
        ({"oneway": "yes"}, (True, False)),
        ({"oneway": "-1"}, (False, True)),
        ({"oneway": "no"}, (True, True)),
        ({"junction": "roundabout"}, (True, False)),
        ({"highway": "motorway"}, (True, False)),
        ({"highway": "motorway_link", "oneway": "no"}, (True, True)),
    ],
)
def test_one_ways(tags: dict[str, str], ways: tuple[bool, bool]) -> None:
    assert reader.directions({"highway": "residential", **tags}) == ways


@pytest.mark.parametrize(
    ("tags", "open_"),
    [
        ({}, True),
        ({"access": "private"}, False),
        ({"access": "no", "motor_vehicle": "yes"}, True),
        ({"access": "yes", "motorcar": "no"}, False),
        ({"access": "destination"}, True),
        ({"area": "yes"}, False),
    ],
)
def test_access(tags: dict[str, str], open_: bool) -> None:
    assert reader.open_to_cars({"highway": "residential", **tags}) is open_


@pytest.mark.parametrize(
    ("tags", "right_left"),
    [
        ({}, (True, True)),
        ({"highway": "primary"}, (False, False)),
        ({"highway": "living_street"}, (False, False)),
        ({"bridge": "yes"}, (False, False)),
        ({"tunnel": "yes"}, (False, False)),
        ({"parking:right": "no"}, (False, True)),
        ({"parking:both": "no"}, (False, False)),
        ({"parking:lane:left": "no_stopping"}, (True, False)),
        ({"parking:left": "lane"}, (True, True)),
    ],
)
def test_where_parking_is_legal(tags: dict[str, str], right_left: tuple[bool, bool]) -> None:
    assert reader.parking({"highway": "residential", **tags}) == right_left


def test_a_crossing_of_two_streets(tmp_path: Path) -> None:
    city = read(tmp_path, cross({**PRIMARY, "maxspeed": "35 mph"}))
    r = city.roads
    assert (r.n_edges, r.node_x.size, int(r.bend.sum())) == (8, 5, 0)
    assert r.length == pytest.approx(150.0, abs=0.1)
    assert r.streets == ("Main Street", "Pine Street")
    main = r.street_of == 0
    assert r.limit_mps[main] == pytest.approx(35 * 0.44704)
    assert r.limit_mps[~main] == pytest.approx(40 / 3.6)
    assert sorted(np.round(r.bearing_deg[main]) % 360) == [90, 90, 270, 270]
    assert (r.arterial == main).all()
    assert r.signal.sum() == 0
    # To the right of the middle: eastbound lanes are in the south.
    east = main & (r.ux > 0)
    assert (r.lanes[main] == 2).all()
    assert r.lane_y[east] == pytest.approx(-1.75 - 3.5, abs=0.05)
    assert city.attribution == "© OpenStreetMap contributors, ODbL"
    assert not city.dropped


@pytest.mark.parametrize(
    ("tags", "lanes"),
    [
        ({}, (1, 1)),
        ({"highway": "trunk"}, (2, 2)),
        ({"highway": "secondary"}, (2, 2)),
        ({"lanes": "2"}, (1, 1)),
        ({"lanes": "4"}, (2, 2)),
        ({"lanes": "1"}, (1, 1)),
        ({"lanes": "3"}, (1, 1)),
        ({"lanes": "5", "lanes:both_ways": "1"}, (2, 2)),
        ({"lanes": "3", "lanes:forward": "2"}, (2, 1)),
        ({"lanes": "3", "lanes:forward": "2", "lanes:backward": "1"}, (2, 1)),
        ({"lanes:backward": "2"}, (1, 2)),
        ({"lanes": "3", "oneway": "yes"}, (3, 3)),
        ({"lanes": "many"}, (1, 1)),
        ({"lanes": "40"}, (6, 6)),
        ({"lanes": "0"}, (1, 1)),
        ({"lanes": "2; 3"}, (1, 1)),
    ],
)
def test_lanes_of_each_direction(tags: dict[str, str], lanes: tuple[int, int]) -> None:
    tags = {"highway": "tertiary", **tags}
    assert reader.lanes(tags, *reader.directions(tags)) == lanes


def test_the_kerb_is_beside_the_rightmost_lane(tmp_path: Path) -> None:
    tags = {**RESIDENTIAL, "lanes": "5", "lanes:forward": "3", "lanes:backward": "2"}
    city = read(tmp_path, cross(tags))
    r, s = city.roads, city.stalls
    east, west = ((r.ux > 0.9), (r.ux < -0.9))
    assert r.lanes[east].tolist() == [3, 3]
    assert r.lane_y[east] == pytest.approx(-(1.75 + 7.0), abs=0.05)
    assert r.lane_y[west] == pytest.approx(1.75 + 3.5, abs=0.05)
    assert s.y[east[s.edge]] == pytest.approx(-(1.75 + 7.0 + 3.0), abs=0.05)
    # Stalls of the narrow street keep clear of the wide one's lanes.
    across = np.abs(r.uy[s.edge]) > 0.9
    assert across.any()
    assert (np.abs(s.y[across]) - STALL_LENGTH_M / 2 >= 1.75 + 7.0 + 1.75).all()


def test_tunnels_see_no_sky(tmp_path: Path) -> None:
    r = read(tmp_path, cross({**PRIMARY, "tunnel": "yes"})).roads
    assert (r.reception == np.where(r.street_of == 0, gnss.COVERED, gnss.STREET)).all()


def test_one_way_streets_have_one_lane_in_their_middle(tmp_path: Path) -> None:
    ring = {1: (0.0, 0.0), 2: (200.0, 0.0), 3: (200.0, 200.0), 4: (0.0, 200.0)}
    ways = [((1, 2), RESIDENTIAL), ((2, 3), {**RESIDENTIAL, "oneway": "yes"}),
            ((4, 3), {**RESIDENTIAL, "oneway": "-1"}), ((4, 1), RESIDENTIAL)]  # fmt: skip
    city = read(tmp_path, osm(ring, ways))
    assert has_edge(city, (100, -100), (100, 100))
    assert not has_edge(city, (100, 100), (100, -100))
    assert has_edge(city, (100, 100), (-100, 100))
    assert not has_edge(city, (-100, 100), (100, 100))
    assert has_edge(city, (-100, 100), (-100, -100))
    assert has_edge(city, (-100, -100), (-100, 100))
    r = city.roads
    (east_side,) = np.flatnonzero((r.uy > 0.9) & (r.node_x[r.tail] > 0))
    assert r.lane_x[east_side] == pytest.approx(100.0, abs=0.1)
    stalls = city.stalls
    assert (stalls.x[stalls.edge == east_side] > 100.0).all()


def test_what_cannot_be_both_reached_and_left_is_dropped_and_counted(tmp_path: Path) -> None:
    points = {**CROSS, 6: (150.0, 300.0), 8: (900.0, 900.0), 9: (980.0, 900.0)}
    ways = [((3, 1, 2), RESIDENTIAL), ((5, 1, 4), RESIDENTIAL),
            ((2, 6), {**RESIDENTIAL, "oneway": "yes"}),  # leads out and never back
            ((8, 9), RESIDENTIAL)]  # fmt: skip
    city = read(tmp_path, osm(points, ways))
    assert city.roads.n_edges == 8
    assert "0.4 km" in city.dropped
    # Centred on what is kept.
    assert (city.projection.lat0, city.projection.lon0) == (
        pytest.approx(LAT, abs=1e-6),
        pytest.approx(LON, abs=1e-6),
    )


def test_signals_alternate_between_the_axes_of_a_crossing(tmp_path: Path) -> None:
    at_crossing = read(tmp_path, cross(PRIMARY, signals=[1])).roads
    into = at_crossing.signal > 0
    assert into.sum() == 4
    assert (at_crossing.street_of[into] == at_crossing.signal[into] - 1).all()
    assert np.unique(at_crossing.signal_offset_s[into]).size == 1
    before = {**CROSS, 7: (-30.0, 0.0)}
    text = osm(before, [((3, 7, 1, 2), PRIMARY), ((5, 1, 4), RESIDENTIAL)], [7])
    moved = read(tmp_path, text).roads
    assert (moved.signal > 0).sum() == 4
    middle = {**CROSS, 7: (-75.0, 0.0)}
    text = osm(middle, [((3, 7, 1, 2), PRIMARY), ((5, 1, 4), RESIDENTIAL)], [7])
    crosswalk = read(tmp_path, text).roads
    assert crosswalk.signal[crosswalk.signal > 0].tolist() == [1, 1]


def test_a_way_turned_round_is_the_same_street() -> None:
    tags = {**RESIDENTIAL, "oneway": "yes", "parking:right": "no"}
    way = reader.way_of(tags, (1, 2, 3))
    turned = reverse(way)
    assert turned.points == (3, 2, 1)
    assert (turned.forward, turned.backward) == (False, True)
    assert (turned.park_right, turned.park_left) == (True, False)
    assert reverse(turned) == way


def test_a_bend_is_no_crossing(tmp_path: Path) -> None:
    points = {**CROSS, 6: (250.0, 100.0), 7: (250.0, 300.0)}
    text = osm(points, [((3, 1, 2, 6, 7), RESIDENTIAL), ((5, 1, 4), RESIDENTIAL)])
    r = read(tmp_path, text).roads
    assert int(r.bend.sum()) == 2
    into = r.bend[r.head]
    assert r.travel_s[into] == pytest.approx(r.length[into] / r.limit_mps[into])
    assert r.travel_s[~into] == pytest.approx(r.length[~into] / r.limit_mps[~into] + CROSSING_S)
    # However long the queue ahead and wherever the goal: nobody turns round in a bend.
    rng, router = np.random.default_rng(1), Router(r)
    edge = np.flatnonzero(into)
    for goal in range(r.n_edges):
        queue = np.full(r.n_edges, 3600.0)
        turn = router.towards(edge, np.full(edge.size, goal), queue, rng)
        away = r.tail[goal] != r.head[edge]
        assert (r.head[turn] != r.tail[edge])[away].all()


def test_a_curve_keeps_its_shape_in_pieces_that_are_not_short(tmp_path: Path) -> None:
    angle = np.linspace(0.0, np.pi, 60)
    points = {i + 1: (120 * np.cos(a), 120 * np.sin(a)) for i, a in enumerate(angle)}
    city = read(tmp_path, osm(points, [(tuple(points), RESIDENTIAL)]))
    r = city.roads
    assert r.length.min() >= 18.0
    assert r.length.sum() / 2 == pytest.approx(np.pi * 120, rel=0.01)
    radius = np.hypot(r.node_x, r.node_y + 60.0)  # the kept box is centred
    assert radius == pytest.approx(120.0, abs=0.5)


def test_two_ways_between_the_same_crossings_are_both_driven(tmp_path: Path) -> None:
    points = {**CROSS, 6: (75.0, 60.0)}
    fast = {**RESIDENTIAL, "maxspeed": "50"}
    text = osm(points, [((3, 1, 2), fast), ((5, 1, 4), RESIDENTIAL), ((1, 6, 2), RESIDENTIAL)])
    r = read(tmp_path, text).roads
    to_go = r.cost_to_go()
    a = int(np.hypot(r.node_x, r.node_y).argmin())
    b = int(r.head[(r.tail == a) & (r.ux > 0.99)][0])
    assert to_go[a, b] == pytest.approx(150 / (50 / 3.6) + CROSSING_S, rel=1e-3)


def test_of_parallel_edges_a_route_counts_the_quicker(tmp_path: Path) -> None:
    r = read(tmp_path, cross()).roads
    double = {
        name: np.concatenate((value, value[:1]))
        for name in ("tail", "head", "length", "limit_mps", "signal")
        for value in [getattr(r, name)]
    }
    double["limit_mps"][-1] /= 2
    assert (dataclasses.replace(r, **double).cost_to_go() == r.cost_to_go()).all()


def test_the_crossings_of_a_dual_carriageway_become_one(tmp_path: Path) -> None:
    points = {1: (0.0, -8.0), 2: (0.0, 8.0), 3: (-200.0, -8.0), 4: (200.0, -8.0),
              5: (-200.0, 8.0), 6: (200.0, 8.0), 7: (0.0, 150.0), 8: (0.0, -150.0)}  # fmt: skip
    one = {**PRIMARY, "oneway": "yes"}
    ways = [((3, 1, 4), one), ((6, 2, 5), one), ((8, 1, 2, 7), RESIDENTIAL),
            ((4, 6), RESIDENTIAL), ((5, 3), RESIDENTIAL)]  # fmt: skip
    r = read(tmp_path, osm(points, ways)).roads
    into = np.bincount(r.head, minlength=r.node_x.size)
    centre = int(np.hypot(r.node_x, r.node_y).argmin())
    assert into[centre] == 4
    assert r.length.min() > 18.0
    assert np.isfinite(r.cost_to_go()).all()


def test_a_ring_without_a_crossing_is_a_city(tmp_path: Path) -> None:
    points = {i: (100 * np.cos(i), 100 * np.sin(i)) for i in range(1, 7)}
    city = read(tmp_path, osm(points, [((1, 2, 3, 4, 5, 6, 1), RESIDENTIAL)]))
    assert np.isfinite(city.roads.cost_to_go()).all()
    assert city.roads.n_edges >= 6


def test_a_way_with_points_that_are_not_in_the_file_is_cut_there(tmp_path: Path) -> None:
    text = osm(CROSS, [((3, 1, 99, 4, 2), RESIDENTIAL), ((5, 1), RESIDENTIAL)])
    path = tmp_path / "cut.osm"
    path.write_text(text)
    assert [way.points for way in reader.read(path).ways] == [(3, 1), (4, 2), (5, 1)]


def test_stalls_stand_at_legal_kerbs_clear_of_everything(tmp_path: Path) -> None:
    points = {**CROSS, 6: (140.0, 25.0), 7: (250.0, 100.0)}
    ways = [((3, 1, 2), {**PRIMARY, "highway": "secondary", "parking:right": "no"}),
            ((5, 1, 4), RESIDENTIAL), ((1, 6, 2), RESIDENTIAL), ((2, 7), PRIMARY)]  # fmt: skip
    city = read(tmp_path, osm(points, ways))
    assert_stalls_are_where_they_may_be(city)
    r, s = city.roads, city.stalls
    street = np.array(r.streets)[r.street_of[s.edge]]
    main = street == "Main Street"
    assert main.any()
    assert (r.ux[s.edge][main] < 0).all()  # drawn eastwards: its right-hand side is the south
    assert s.n > 40


def test_same_file_and_seed_same_city(tmp_path: Path) -> None:
    one, again, other = (read(tmp_path, cross(), seed) for seed in (1, 1, 2))
    assert one.to_registry() == again.to_registry()
    assert one.to_registry().city != other.to_registry().city


@pytest.mark.parametrize("suffix", [".osm.bz2", ".osm.gz", ".osm.pbf", ".pbf"])
def test_other_formats_hold_the_same_city(suffix: str, tmp_path: Path) -> None:
    xml = read(tmp_path, cross(signals=[1]))
    other = tmp_path / f"same{suffix}"
    with osmium.SimpleWriter(str(other)) as writer:
        for item in osmium.FileProcessor(str(tmp_path / "map.osm")):
            writer.add(item)
    assert City.from_osm(other, 1).to_registry() == xml.to_registry()
    whole = other.read_bytes()
    other.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"city\.osm: .*: not a whole OpenStreetMap file: \w+"):
        City.from_osm(other, 1)


ONE_WAY_OUT = osm(CROSS, [((3, 1, 2), {**RESIDENTIAL, "oneway": "yes"})])
BAD = {
    "empty": ("", "not a whole OpenStreetMap file"),
    "text": ("hello\n", "not a whole OpenStreetMap file"),
    "other XML": ("<html></html>", "not a whole OpenStreetMap file"),
    "truncated": (cross()[:-60], "not a whole OpenStreetMap file"),
    "nothing in it": ('<osm version="0.6"></osm>', "has no street that cars may use"),
    "paths only": (cross({"highway": "footway"}).replace("residential", "steps"), "has no street"),
    "no way back": (ONE_WAY_OUT, "no two points of its streets can be reached from each other"),
    "too short": (
        osm({1: (0, 0), 2: (9.0, 0)}, [((1, 2), RESIDENTIAL)]),
        "too short to drive on",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_map_of_streets_is_one_line(what: str, tmp_path: Path) -> None:
    text, reason = BAD[what]
    with pytest.raises(ValueError, match=reason) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith("city.osm: ")
    assert "(allowed: " in message
    assert "\n" not in message


def test_files_that_are_not_there_or_not_maps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        City.from_osm(tmp_path / "none.osm", 1)
    (tmp_path / "folder.osm").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        City.from_osm(tmp_path / "folder.osm", 1)
    with pytest.raises(ValueError, match=r"unknown format \(allowed: \.osm, "):
        City.from_osm(tmp_path / "map.zip", 1)


def test_without_the_reader_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "osmium", None)
    with pytest.raises(ValueError, match=r"city\.osm: .* pip install 'fleet-sim\[osm\]'"):
        read(tmp_path, cross())


def test_too_many_crossings_are_refused_before_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_sim.world.streets.MAX_NODES", 4)
    with pytest.raises(ValueError, match=r"5 crossings and bends are too many .*up to 4"):
        read(tmp_path, cross())
    monkeypatch.setattr(reader, "MAX_STREET_POINTS", 5)
    with pytest.raises(ValueError, match="more than 5 points"):
        read(tmp_path, cross())
