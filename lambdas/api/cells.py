"""Which H3 cells a search reads, and in which order. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import h3

from api.queries import NearQuery
from api.walking import straight_m

AT_ONCE = 16
"""Queries in flight: a screenful of map in one round trip."""
FIRST = 4
"""Of a near search, which often ends there; then twice as many, and so on up to `AT_ONCE`."""
_MARGIN_M = 1.0
"""For what a cell's sides bend between its corners, and for distances on a plane."""

Stalls = Mapping[str, int]
"""Cell → its stalls; cells without any are not there."""


class Near(NamedTuple):
    """A cell that a near search may have to read."""

    least_m: float
    """No spot in it is nearer than this in a straight line."""
    cell: str


def by_distance(query: NearQuery, stalls: Stalls | None) -> list[Near]:
    """Cells that may hold a spot within the radius, nearest first. `stalls`: None when it is not
    known which cells have any."""
    found = []
    for cell in query.cells:
        if stalls is not None and cell not in stalls:
            continue
        lat, lon, reach_m = _circle(cell)
        least_m = max(0.0, straight_m(query.lat, query.lon, lat, lon) - reach_m)
        if least_m <= query.radius_m:
            found.append(Near(least_m, cell))
    return sorted(found)


@functools.lru_cache(20_000)
def _circle(cell: str) -> tuple[float, float, float]:
    """Latitude and longitude of its middle, and how far from there it reaches at most, m."""
    lat, lon = h3.cell_to_latlng(cell)
    corners = h3.cell_to_boundary(cell)
    return lat, lon, max(straight_m(lat, lon, *corner) for corner in corners) + _MARGIN_M


def rounds(cells: Sequence[Near]) -> Iterator[Sequence[Near]]:
    """What is read in one round trip each."""
    start, size = 0, FIRST
    while start < len(cells):
        yield cells[start : start + size]
        start, size = start + size, min(2 * size, AT_ONCE)


def enough(cells: Sequence[str], stalls: Stalls | None, wanted: int) -> int:
    """How many of `cells` to read for `wanted` spots, at least 1 and at most `AT_ONCE`."""
    if stalls is None:
        return AT_ONCE
    for count, cell in enumerate(cells[:AT_ONCE], 1):
        wanted -= stalls.get(cell, 0)
        if wanted <= 0:
            return count
    return AT_ONCE
