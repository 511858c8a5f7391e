"""Small OpenStreetMap files for the tests, drawn in metres."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from fleet_sim.contract import SpotRegistry
from fleet_sim.world import City
from fleet_sim.world.geo import EARTH_RADIUS_M
from fleet_sim.world.roads import CORNER_M
from fleet_sim.world.stalls import STALL_LENGTH_M

LAT, LON = 37.8, -122.3
WEST_OAKLAND = Path(__file__).parents[2] / ".." / "shared" / "data" / "west-oakland.osm.bz2"


def osm(
    points: Mapping[int, tuple[float, float]],
    ways: Sequence[tuple[Sequence[int], Mapping[str, str]]],
    signals: Sequence[int] = (),
) -> str:
    """XML of points (metres east and north of `LAT`, `LON`) and ways over them."""
    east = EARTH_RADIUS_M * math.cos(math.radians(LAT))
    lines = ['<osm version="0.6">']
    for ref, (x, y) in points.items():
        lat, lon = LAT + math.degrees(y / EARTH_RADIUS_M), LON + math.degrees(x / east)
        inner = '<tag k="highway" v="traffic_signals"/>' if ref in signals else ""
        lines.append(f'<node id="{ref}" version="1" lat="{lat:.7f}" lon="{lon:.7f}">{inner}</node>')
    for i, (refs, tags) in enumerate(ways):
        inner = "".join(f'<nd ref="{ref}"/>' for ref in refs)
        inner += "".join(f'<tag k="{k}" v="{v}"/>' for k, v in tags.items())
        lines.append(f'<way id="{i + 1}" version="1">{inner}</way>')
    return "\n".join([*lines, "</osm>"])


RESIDENTIAL = {"highway": "residential", "name": "Oak Street"}
CROSS = {1: (0.0, 0.0), 2: (150.0, 0.0), 3: (-150.0, 0.0), 4: (0.0, 150.0), 5: (0.0, -150.0)}


def cross(main: Mapping[str, str] = RESIDENTIAL, *, signals: Sequence[int] = ()) -> str:
    """Two streets of 300 m that cross; `main` are the tags of the one from west to east."""
    side = {"highway": "residential", "name": "Pine Street"}
    return osm(CROSS, [((3, 1, 2), main), ((5, 1, 4), side)], signals)


def assert_stalls_are_where_they_may_be(city: City) -> None:
    r, s = city.roads, city.stalls
    half = STALL_LENGTH_M / 2
    assert (s.offset >= half).all()
    assert (s.offset <= r.length[s.edge] - half).all()
    from_start, to_end = s.offset - half, r.length[s.edge] - s.offset - half
    assert (from_start[~r.bend[r.tail[s.edge]]] >= CORNER_M - 1e-6).all()
    assert (to_end[~r.bend[r.head[s.edge]]] >= CORNER_M - 1e-6).all()
    # No lane runs through a stall's middle, its own included.
    dx, dy = s.x[:, None] - r.lane_x, s.y[:, None] - r.lane_y
    along, across = dx * r.ux + dy * r.uy, np.abs(dx * r.uy - dy * r.ux)
    beside = (along > 0) & (along < r.length)
    assert np.where(beside, across, np.inf).min() > 2.9
    gap = np.hypot(s.x[:, None] - s.x, s.y[:, None] - s.y) + 1e3 * np.eye(s.n)
    assert gap.min() > 6.0
    assert len(set(s.id)) == s.n
    assert (np.diff(s.edge) >= 0).all()
    registry = city.to_registry()
    assert msgspec.json.decode(msgspec.json.encode(registry), type=SpotRegistry) == registry
