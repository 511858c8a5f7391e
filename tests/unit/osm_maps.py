"""Small OpenStreetMap files for the tests, drawn in metres."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet_sim.world.geo import EARTH_RADIUS_M

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
