"""How far it is on foot: along the streets, from a point to many spots. Pure.

A point reaches the nearest street in a straight line, goes along it and other streets by the
shortest way (Dijkstra), and leaves the last one in a straight line. Streets are walked both ways
and crossed anywhere.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from api.queries import M_PER_DEG
from fleet_sim.contract import StreetNetwork

_GRID_M = 100.0
_REMEMBERED = 100_000
_FARTHEST_RINGS = 20
"""Of grid cells looked at for the nearest street: 2 km."""


class Place(NamedTuple):
    """A point on the network."""

    tail: int
    head: int
    to_tail_m: float
    to_head_m: float
    off_m: float
    """From the point to the street."""


def straight_m(lat: float, lon: float, lat2: float, lon2: float) -> float:
    """Equirectangular about the middle: over 2 km off by less than a millimetre from a sphere."""
    east = (lon2 - lon) * math.cos(math.radians((lat + lat2) / 2))
    return math.hypot(east, lat2 - lat) * M_PER_DEG


class Walks:
    """The network in metres, with a grid over its segments. Made once a deployment."""

    def __init__(self, network: StreetNetwork) -> None:
        self.network = network
        lats = [lat for lat, _ in network.nodes]
        self._kx = M_PER_DEG * math.cos(math.radians(sum(lats) / len(lats) if lats else 0.0))
        self._at = [(lon * self._kx, lat * M_PER_DEG) for lat, lon in network.nodes]
        self._next: list[list[tuple[int, float]]] = [[] for _ in network.nodes]
        self._grid: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._places: dict[tuple[float, float], Place | None] = {}
        for segment in network.segments:
            (x1, y1), (x2, y2) = self._at[segment.tail], self._at[segment.head]
            length = math.hypot(x2 - x1, y2 - y1)
            self._next[segment.tail].append((segment.head, length))
            self._next[segment.head].append((segment.tail, length))
            ends = segment.tail, segment.head
            for cell in _cells(x1, y1, x2, y2, length):
                self._grid.setdefault(cell, []).append(ends)

    def place(self, lat: float, lon: float) -> Place | None:
        """Where the nearest street is; None when there is none within 2 km."""
        x, y = lon * self._kx, lat * M_PER_DEG
        column, row = int(x // _GRID_M), int(y // _GRID_M)
        # To the nearest side of the point's own cell: beyond it are the next ring's.
        inside = min(x % _GRID_M, -x % _GRID_M, y % _GRID_M, -y % _GRID_M)
        best: Place | None = None
        for ring in range(_FARTHEST_RINGS):
            if best is not None and best.off_m <= inside + (ring - 1) * _GRID_M:
                break
            for cell in _ring(column, row, ring):
                for tail, head in self._grid.get(cell, ()):
                    found = self._onto(x, y, tail, head)
                    if best is None or found.off_m < best.off_m:
                        best = found
        return best

    def _spot_place(self, point: tuple[float, float]) -> Place | None:
        """As `place`, remembered: spots are asked for again and again."""
        if point not in self._places:
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            self._places[point] = self.place(*point)
        return self._places[point]

    def _onto(self, x: float, y: float, tail: int, head: int) -> Place:
        (x1, y1), (x2, y2) = self._at[tail], self._at[head]
        dx, dy = x2 - x1, y2 - y1
        squared = dx * dx + dy * dy
        share = 0.0
        if squared:
            share = min(max(((x - x1) * dx + (y - y1) * dy) / squared, 0.0), 1.0)
        length = math.sqrt(squared)
        off = math.hypot(x - x1 - share * dx, y - y1 - share * dy)
        return Place(tail, head, share * length, (1 - share) * length, off)

    def least_m(self, lat: float, straight_m: float) -> float:
        """How far the walk from a point at `lat` is at least to points up to 2 km away, when they
        are `straight_m` away. Not all of that: a degree is as wide as in the network's middle."""
        widest = M_PER_DEG * math.cos(math.radians(max(abs(lat) - 0.05, 0.0)))
        return straight_m * min(1.0, self._kx / widest)

    def distances_m(
        self, lat: float, lon: float, points: Sequence[tuple[float, float]]
    ) -> list[float]:
        """From a point to each of `points` (latitude, longitude); straight where no street leads
        there."""
        start = self.place(lat, lon)
        places = [self._spot_place(point) for point in points]
        if start is None:
            return [straight_m(lat, lon, *point) for point in points]
        wanted = {node for place in places if place for node in (place.tail, place.head)}
        reached = self._dijkstra(start, wanted)
        found = []
        for place, point in zip(places, points, strict=True):
            way = math.inf if place is None else _way(start, place, reached)
            found.append(way if math.isfinite(way) else straight_m(lat, lon, *point))
        return found

    def _dijkstra(self, start: Place, wanted: Iterable[int]) -> dict[int, float]:
        """Metres to each node, until all the wanted ones are reached."""
        left = set(wanted)
        reached: dict[int, float] = {}
        queue = [(start.to_tail_m, start.tail), (start.to_head_m, start.head)]
        heapq.heapify(queue)
        while queue and left:
            metres, node = heapq.heappop(queue)
            if node in reached:
                continue
            reached[node] = metres
            left.discard(node)
            for other, length in self._next[node]:
                if other not in reached:
                    heapq.heappush(queue, (metres + length, other))
        return reached

    def geojson(self) -> dict[str, Any]:
        """The streets as a GeoJSON FeatureCollection (RFC 7946) of one LineString a segment."""
        nodes, names = self.network.nodes, self.network.streets
        return {
            "type": "FeatureCollection",
            "city": self.network.city,
            "attribution": self.network.attribution,
            "features": [
                {
                    "type": "Feature",
                    "properties": {"name": names[segment.street]},
                    "geometry": {
                        "type": "LineString",
                        "coordinates": [
                            [nodes[end][1], nodes[end][0]] for end in (segment.tail, segment.head)
                        ],
                    },
                }
                for segment in self.network.segments
            ],
        }


def _way(start: Place, end: Place, reached: dict[int, float]) -> float:
    along = min(
        reached.get(end.tail, math.inf) + end.to_tail_m,
        reached.get(end.head, math.inf) + end.to_head_m,
    )
    if (start.tail, start.head) == (end.tail, end.head):
        along = min(along, abs(start.to_tail_m - end.to_tail_m))
    return start.off_m + along + end.off_m


def _cells(x1: float, y1: float, x2: float, y2: float, length: float) -> set[tuple[int, int]]:
    """Grid cells that a segment passes, sampled every half cell: it may miss a corner that it cuts
    by less than a quarter, whose neighbours hold it."""
    steps = int(length / (_GRID_M / 2)) + 1
    return {
        (int((x1 + (x2 - x1) * k / steps) // _GRID_M), int((y1 + (y2 - y1) * k / steps) // _GRID_M))
        for k in range(steps + 1)
    }


def _ring(column: int, row: int, ring: int) -> Iterator[tuple[int, int]]:
    """Cells at this distance (Chebyshev) from one."""
    if ring == 0:
        yield column, row
        return
    for d in range(-ring, ring + 1):
        yield column + d, row - ring
        yield column + d, row + ring
    for d in range(-ring + 1, ring):
        yield column - ring, row + d
        yield column + ring, row + d
