"""From ways and points to crossings and straight pieces of street.

`Roads` has straight edges. A street that bends becomes several of them, joined at crossings that
are marked as bends: nobody turns round there and they cost a route nothing. Short pieces would hide
the traffic beyond them from a driver, so shape is simplified and crossings that are very near each
other (a dual carriageway's two, a small roundabout's all) become one.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from fleet_sim.models.arrays import BoolArray, FloatArray
from fleet_sim.world.geo import Projection
from fleet_sim.world.osm import Extract, Way
from fleet_sim.world.polyline import MIN_PIECE_M, length_m, shaped

MERGE_M, CLUSTER_M = 25.0, 40.0
"""Crossings joined by less street than the first become one, which spans at most the second: two
carriageways' crossings would hold but three vehicles between them, and lock."""
SIGNAL_REACH_M = 35.0
"""A signal drawn before a crossing, at the stop line, belongs to that crossing."""


@dataclass(frozen=True, slots=True)
class Street:
    """A piece of street from crossing `ends[0]` to `ends[1]`; `line` [k, 2] has both, m."""

    ends: tuple[int, int]
    line: FloatArray
    way: Way


@dataclass(frozen=True, slots=True)
class Network:
    """Strongly connected. `x`, `y` of the N crossings, metres from the projection's centre."""

    x: FloatArray
    y: FloatArray
    signalled: BoolArray
    streets: tuple[Street, ...]
    projection: Projection
    dropped_km: float
    """Streets that no car could both reach and leave."""
    dropped_pieces: int


def build(extract: Extract) -> Network:
    """Keep the largest strongly connected part; merge, simplify. `ValueError` when none is left."""
    ids = {ref: i for i, ref in enumerate(extract.place)}
    degrees = np.array(list(extract.place.values()))
    middle = (degrees.min(axis=0) + degrees.max(axis=0)) / 2
    rough = Projection(float(middle[0]), float(middle[1]))
    at = np.stack(rough.to_metres(degrees[:, 0], degrees[:, 1]), axis=1)
    pieces = _pieces(extract.ways, ids)
    kept, dropped_m = _largest(pieces, at)
    used = sorted({p for a, b, _ in kept for p in (a, b)})
    low, high = degrees[used].min(axis=0), degrees[used].max(axis=0)
    projection = Projection(*((low + high) / 2).tolist())
    at = np.stack(projection.to_metres(degrees[:, 0], degrees[:, 1]), axis=1)
    beside = _beside(kept)
    signals = _at_crossings({ids[s] for s in extract.signals if s in ids}, beside, at)
    chains = _chains(kept, beside, signals, at)
    return _merged(chains, signals, projection, dropped_m, len(pieces) - len(kept))


_Piece = tuple[int, int, Way]
"""Two neighbouring points of a way, as indices, in the order in which it was drawn."""


def _pieces(ways: list[Way], ids: dict[int, int]) -> list[_Piece]:
    seen: set[tuple[int, int]] = set()
    pieces = []
    for way in ways:
        for a, b in pairwise(way.points):
            pair = (min(ids[a], ids[b]), max(ids[a], ids[b]))
            if pair not in seen:  # some maps draw a street twice
                seen.add(pair)
                pieces.append((ids[a], ids[b], way))
    return pieces


def _largest(pieces: list[_Piece], at: FloatArray) -> tuple[list[_Piece], float]:
    """Pieces of the strongly connected part with most metres, and the metres of the others."""
    a, b = np.array([p[:2] for p in pieces]).T
    forward = np.array([p[2].forward for p in pieces])
    backward = np.array([p[2].backward for p in pieces])
    tail = np.concatenate((a[forward], b[backward]))
    head = np.concatenate((b[forward], a[backward]))
    n = len(at)
    graph = csr_array((np.ones(tail.size), (tail, head)), shape=(n, n))
    _, part = connected_components(graph, directed=True, connection="strong")
    length = np.hypot(*(at[b] - at[a]).T)
    inside = part[a] == part[b]
    if not inside.any():
        raise ValueError(
            "city.osm: no two points of its streets can be reached from each other "
            "(allowed: streets that form a connected network)"
        )
    metres = np.bincount(part[a][inside], weights=length[inside])
    keep = inside & (part[a] == metres.argmax())
    return [p for p, k in zip(pieces, keep, strict=True) if k], float(length[~keep].sum())


def _beside(pieces: list[_Piece]) -> dict[int, list[tuple[int, int]]]:
    """Of each point, its neighbours and the index of the piece that leads there."""
    beside: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, (a, b, _) in enumerate(pieces):
        beside[a].append((b, i))
        beside[b].append((a, i))
    return beside


def _at_crossings(
    signals: set[int], beside: dict[int, list[tuple[int, int]]], at: FloatArray
) -> set[int]:
    """Signals at the crossings they belong to; those in the middle of a block stay there."""
    moved: set[int] = set()
    for signal in signals:
        found = [
            (far, end)
            for start, _ in beside.get(signal, ())
            for far, end in [_walk(signal, start, beside, at)]
            if far <= SIGNAL_REACH_M and len(beside[end]) > 2
        ]
        if len(beside.get(signal, ())) > 2 or (not found and signal in beside):
            moved.add(signal)
        elif found:
            moved.add(min(found)[1])
    return moved


def _walk(
    start: int, then: int, beside: dict[int, list[tuple[int, int]]], at: FloatArray
) -> tuple[float, int]:
    """Way to and number of the next point with other than two neighbours, at most as far as a
    signal may be from its crossing."""
    before, here = start, then
    far = float(np.hypot(*(at[here] - at[before])))
    while len(beside[here]) == 2 and far <= SIGNAL_REACH_M and here != start:
        onward = next((p for p, _ in beside[here] if p != before), start)
        before, here = here, onward
        far += float(np.hypot(*(at[here] - at[before])))
    return far, here


def _chains(
    pieces: list[_Piece],
    beside: dict[int, list[tuple[int, int]]],
    signals: set[int],
    at: FloatArray,
) -> list[Street]:
    """Join pieces between crossings, signals, and places where a street's character changes."""

    def ends(point: int) -> bool:
        if len(beside[point]) != 2 or point in signals:
            return True
        (_, i), (_, j) = beside[point]
        same_sense = (pieces[i][1] == point) != (pieces[j][1] == point)
        one, other = (replace(pieces[k][2], points=()) for k in (i, j))
        return one != (other if same_sense else reverse(other))

    done = [False] * len(pieces)
    chains = []
    starts = [p for p in beside if ends(p)]
    # A ring without a crossing has no end: it begins anywhere, so those come last.
    for start in [*starts, *beside]:
        for _, first in beside[start]:
            if done[first]:
                continue
            way = replace(pieces[first][2], points=())
            if pieces[first][0] != start:
                way = reverse(way)
            points, here, piece = [start], start, first
            while True:
                done[piece] = True
                a, b, _ = pieces[piece]
                here = b if here == a else a
                points.append(here)
                if here == start or ends(here):
                    break
                piece = next(i for _, i in beside[here] if i != piece)
            chains.append(Street((start, here), at[points], way))
    return chains


def reverse(way: Way) -> Way:
    """The same street, drawn the other way."""
    return replace(
        way,
        points=way.points[::-1],
        forward=way.backward,
        backward=way.forward,
        lanes_forward=way.lanes_backward,
        lanes_backward=way.lanes_forward,
        park_right=way.park_left,
        park_left=way.park_right,
    )


def _merged(
    chains: list[Street],
    signals: set[int],
    projection: Projection,
    dropped_m: float,
    dropped_pieces: int,
) -> Network:
    crossings = sorted({end for chain in chains for end in chain.ends})
    index = {point: i for i, point in enumerate(crossings)}
    at = np.zeros((len(crossings), 2))
    for chain in chains:
        at[index[chain.ends[0]]], at[index[chain.ends[1]]] = chain.line[0], chain.line[-1]
    group = _clusters(chains, index, at)
    count = int(group.max()) + 1
    size = np.bincount(group, minlength=count)
    x, y = (np.bincount(group, weights=at[:, k], minlength=count) / size for k in (0, 1))
    signalled = np.zeros(count, dtype=np.bool_)
    signalled[[group[index[s]] for s in signals if s in index]] = True
    streets = []
    for chain in chains:
        a, b = (int(group[index[end]]) for end in chain.ends)
        if a == b and length_m(chain.line) < 4 * MIN_PIECE_M:
            continue
        line = np.vstack(([x[a], y[a]], chain.line[1:-1], [x[b], y[b]]))
        streets.append(Street((a, b), shaped(line), chain.way))
    if not streets:
        raise ValueError(
            "city.osm: its streets are too short to drive on "
            f"(allowed: at least one of {MIN_PIECE_M:g} m)"
        )
    return Network(x, y, signalled, tuple(streets), projection, dropped_m / 1e3, dropped_pieces)


def _clusters(chains: list[Street], index: dict[int, int], at: FloatArray) -> np.ndarray:
    """Number of the merged crossing of each crossing: shortest connections first."""
    group = list(range(len(index)))
    members = [[i] for i in group]
    short = [(length_m(c.line), *c.ends) for c in chains if c.ends[0] != c.ends[1]]
    for length, a, b in sorted(short):
        if length >= MERGE_M:
            break
        one, other = group[index[a]], group[index[b]]
        if one == other:
            continue
        together = at[members[one] + members[other]]
        if length > 1.0 and np.hypot(*np.ptp(together, axis=0)) > CLUSTER_M:
            continue
        for i in members[other]:
            group[i] = one
        members[one] += members[other]
        members[other] = []
    return np.unique(group, return_inverse=True)[1]
