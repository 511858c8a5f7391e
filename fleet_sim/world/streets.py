"""Lanes, kerbside stalls and venues of a street network that was read from a map."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fleet_sim.models import gnss
from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.world.grid import DRIVEWAY_SHARE
from fleet_sim.world.network import Network
from fleet_sim.world.roads import LANE_WIDTH_M, MAX_NODES, Roads, kerb_lane_m
from fleet_sim.world.stalls import (
    LANE_TO_STALL_M,
    STALL_HALF_WIDTH_M,
    STALL_LENGTH_M,
    Stalls,
    lay_out,
)
from fleet_sim.world.traffic import LONGEST_CYCLE_S

TOGETHER_M = 60.0
OPEN_KINDS = frozenset({"motorway", "motorway_link", "trunk", "trunk_link"})
"""Wide enough to see the sky; all others count as street (assumption: buildings are not read)."""
ARTERIAL_KINDS = frozenset({*OPEN_KINDS, "primary", "primary_link", "secondary", "secondary_link"})
_CLEAR_M = STALL_HALF_WIDTH_M + LANE_WIDTH_M / 2 + 0.5
"""From a stall's centre line to the centre of a lane that is not its own."""
_COMPASS = "NESW"
_TABLE = 500_000
_VENUE_LATTICE_M = 15.0
_VENUE_FROM_STREET_M = (30.0, 90.0)


def lay_lanes(network: Network, rng: np.random.Generator) -> tuple[Roads, IntArray, BoolArray]:
    """Roads; the street (of `network.streets`) of each edge [E]; whether cars may park beside it.

    A two-way street's lanes are right of its middle, a one-way street's lie around it.
    `ValueError` for too many crossings.
    """
    x, y = [network.x], [network.y]
    rows: list[tuple[int, int, int, bool]] = []
    count = network.x.size
    for i, street in enumerate(network.streets):
        inner = street.line[1:-1]
        nodes = [street.ends[0], *range(count, count + len(inner)), street.ends[1]]
        count += len(inner)
        x.append(inner[:, 0])
        y.append(inner[:, 1])
        pairs = list(pairwise(nodes))
        if street.way.forward:
            rows += [(a, b, i, True) for a, b in pairs]
        if street.way.backward:
            rows += [(b, a, i, False) for a, b in reversed(pairs)]
    if count > MAX_NODES:
        raise ValueError(
            f"city.osm: {count} crossings and bends are too many (allowed: up to {MAX_NODES}; "
            "cut a smaller extract)"
        )
    node_x, node_y = np.concatenate(x), np.concatenate(y)
    tail, head, of_street, as_drawn = (np.array(column) for column in zip(*rows, strict=True))
    dx, dy = node_x[head] - node_x[tail], node_y[head] - node_y[tail]
    length = np.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    ways = [street.way for street in network.streets]
    both = np.array([way.forward and way.backward for way in ways])[of_street]
    lanes = np.where(
        as_drawn,
        np.array([way.lanes_forward for way in ways])[of_street],
        np.array([way.lanes_backward for way in ways])[of_street],
    )
    lane = kerb_lane_m(lanes, both)
    names = sorted({way.name for way in ways})
    number = {name: i for i, name in enumerate(names)}
    open_sky = np.array([way.kind in OPEN_KINDS for way in ways])[of_street]
    covered = np.array([way.covered for way in ways])[of_street]
    right = np.array([way.park_right for way in ways])[of_street]
    left = np.array([way.park_left for way in ways])[of_street]
    limit = np.array([way.limit_mps for way in ways])[of_street]
    signalled = np.zeros(count, dtype=np.bool_)
    signalled[: network.signalled.size] = network.signalled
    plan = _plans(node_x, node_y, signalled)
    bend = np.arange(count) >= network.x.size
    bearing = np.degrees(np.arctan2(ux, uy)) % 360.0
    roads = Roads(
        node_x=node_x,
        node_y=node_y,
        tail=tail,
        head=head,
        length=length,
        limit_mps=limit,
        lanes=lanes,
        lane_x=node_x[tail] + lane * uy,
        lane_y=node_y[tail] - lane * ux,
        ux=ux,
        uy=uy,
        bearing_deg=np.where(bearing >= 360.0, 0.0, bearing),
        street_of=np.array([number[way.name] for way in ways])[of_street],
        streets=tuple(names),
        arterial=np.array([way.kind in ARTERIAL_KINDS for way in ways])[of_street],
        reception=np.select([covered, open_sky], [gnss.COVERED, gnss.OPEN], gnss.STREET),
        out=_out(tail, count),
        signal=_signals(head, ux, uy, limit, plan),
        # Without a signal it is drawn, and not used.
        signal_offset_s=rng.uniform(0.0, LONGEST_CYCLE_S, count)[plan][head],
        bend=bend,
    )
    return roads, of_street, np.where(as_drawn, right, left)


def _out(tail: IntArray, nodes: int) -> IntArray:
    order = np.argsort(tail, kind="stable")
    rank = np.arange(tail.size) - np.searchsorted(tail[order], tail[order])
    out = np.full((nodes, int(rank.max()) + 1), -1)
    out[tail[order], rank] = order
    return out


def _signals(
    head: IntArray, ux: FloatArray, uy: FloatArray, limit: FloatArray, plan: IntArray
) -> Int8Array:
    """Approaches along the axis of a plan's fastest one have green together, the others in the
    cycle's other half."""
    signal = np.zeros(head.size, dtype=np.int8)
    for group in range(int(plan.max()) + 1):
        into = np.flatnonzero(plan[head] == group)
        if into.size:
            main = into[limit[into].argmax()]
            along = np.abs(ux[into] * ux[main] + uy[into] * uy[main])
            signal[into] = np.where(along >= np.sqrt(0.5), 1, 2)
    return signal


def _plans(x: FloatArray, y: FloatArray, signalled: BoolArray) -> IntArray:
    """[N] number of the signal plan of each crossing, -1 without signals; crossings within
    `TOGETHER_M` share one, as two carriageways' crossings do."""
    plan = np.full(x.size, -1)
    at = np.flatnonzero(signalled)
    if at.size:
        near = cKDTree(np.stack((x[at], y[at]), axis=1)).query_pairs(
            TOGETHER_M, output_type="ndarray"
        )
        graph = csr_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(at.size, at.size))
        plan[at] = connected_components(graph, directed=False)[1]
    return plan


def lay_stalls(
    roads: Roads, of_street: IntArray, legal: BoolArray, rng: np.random.Generator
) -> Stalls:
    """Stalls wherever they fit along legal kerbs, less those that a driveway takes.

    Clear of crossings, of bends, of other streets' lanes and of each other.
    """
    edges, offsets = [], []
    corner_m, lane_m = roads.corner_m, roads.kerb_lane_m
    for i in np.flatnonzero(legal).tolist():
        start, end = (
            _margin_m(roads, i, int(roads.tail[i]), corner_m, lane_m),
            _margin_m(roads, i, int(roads.head[i]), corner_m, lane_m),
        )
        slots = int((roads.length[i] - start - end) / STALL_LENGTH_M)
        if slots < 1:
            continue
        spare = roads.length[i] - start - end - slots * STALL_LENGTH_M
        edges.append(np.full(slots, i))
        offsets.append(start + spare / 2 + (np.arange(slots) + 0.5) * STALL_LENGTH_M)
    edge: IntArray = np.concatenate(edges) if edges else np.empty(0, dtype=np.int64)
    offset: FloatArray = np.concatenate(offsets) if offsets else np.empty(0)
    keep = rng.random(edge.size) >= DRIVEWAY_SHARE
    edge, offset = edge[keep], offset[keep]
    x, y = roads.point(edge, offset, LANE_TO_STALL_M)
    keep = _off_the_lanes(roads, of_street, edge, x, y)
    edge, offset, x, y = edge[keep], offset[keep], x[keep], y[keep]
    keep = _apart(edge, x, y)
    edge, offset, x, y = edge[keep], offset[keep], x[keep], y[keep]
    return lay_out(roads, _ids(roads, edge, x, y), edge, offset, rng)


def _margin_m(
    roads: Roads, edge: int, node: int, corner_m: FloatArray, lane_m: FloatArray
) -> float:
    """Kerb without stalls at an edge's end `node`: a crossing's corner, or as much as a bend may
    take from the inner kerb."""
    if not roads.bend[node]:
        return float(corner_m[node])
    inner, there = 0.0, roads.tail[edge] + roads.head[edge] - node
    for other in (*np.flatnonzero(roads.tail == node), *np.flatnonzero(roads.head == node)):
        if roads.tail[other] + roads.head[other] - node == there:
            continue  # the same piece, or the other lane of it
        cosine = roads.ux[edge] * roads.ux[other] + roads.uy[edge] * roads.uy[other]
        half = np.arccos(np.clip(abs(cosine), 0.0, 1.0)) / 2
        inner = max(inner, float(np.tan(half)))
    return 0.5 + (float(lane_m[edge]) + LANE_TO_STALL_M + STALL_HALF_WIDTH_M) * inner


def _off_the_lanes(
    roads: Roads, of_street: IntArray, edge: IntArray, x: FloatArray, y: FloatArray
) -> BoolArray:
    """Which points no lane of another piece of street passes through."""
    clear = np.ones(edge.size, dtype=np.bool_)
    for part in _parts(edge.size, roads.n_edges):
        along, across = _beside(roads, x[part], y[part])
        other = (roads.tail != roads.tail[edge[part]][:, None]) | (
            roads.head != roads.head[edge[part]][:, None]
        )
        other &= (roads.tail != roads.head[edge[part]][:, None]) | (
            roads.head != roads.tail[edge[part]][:, None]
        )
        within = (along > -STALL_LENGTH_M / 2) & (along < roads.length + STALL_LENGTH_M / 2)
        # The other lanes of its direction are left of the one that is measured from.
        within &= (across < _CLEAR_M) & (across > -_CLEAR_M - LANE_WIDTH_M * (roads.lanes - 1))
        clear[part] = ~(other & within).any(axis=1)
    return clear


def _beside(roads: Roads, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far along each edge, and how far right of its rightmost lane, points are, [k, E]."""
    dx, dy = x[:, None] - roads.lane_x, y[:, None] - roads.lane_y
    return dx * roads.ux + dy * roads.uy, dx * roads.uy - dy * roads.ux


def _parts(n: int, edges: int) -> Iterator[slice]:
    """Slices of n points that keep a table of them by edges small."""
    size = max(1, _TABLE // edges)
    return (slice(i, i + size) for i in range(0, n, size))


def _apart(edge: IntArray, x: FloatArray, y: FloatArray) -> BoolArray:
    """Which stalls to keep so that those of different edges are not in each other's way."""
    keep = np.ones(edge.size, dtype=np.bool_)
    if edge.size:
        pairs = cKDTree(np.stack((x, y), axis=1)).query_pairs(STALL_LENGTH_M * 0.9)
        for a, b in sorted(pairs):
            if edge[a] != edge[b] and keep[a]:
                keep[b] = False
    return keep


def _ids(roads: Roads, edge: IntArray, x: FloatArray, y: FloatArray) -> tuple[str, ...]:
    """`W012-0034`: compass direction of travel, number of the street, position that way."""
    direction = ((roads.bearing_deg[edge] + 45.0) // 90.0).astype(np.int64) % 4
    street = roads.street_of[edge]
    forth = np.select([direction == 0, direction == 1, direction == 2], [y, x, -y], -x)
    order = np.lexsort((forth, direction, street))
    ids = [""] * edge.size
    last, position = (-1, -1), 0
    for i in order.tolist():
        line = (int(street[i]), int(direction[i]))
        position = position + 1 if line == last else 1
        last = line
        ids[i] = f"{_COMPASS[line[1]]}{line[0] + 1:03d}-{position:04d}"
    return tuple(ids)


def place_venue(roads: Roads, x: float, y: float) -> tuple[float, float]:
    """The point nearest to (x, y) that is off the streets and still beside one, where there is
    such a point; else the middle of the nearest edge."""
    low_x, high_x = float(roads.node_x.min()), float(roads.node_x.max())
    low_y, high_y = float(roads.node_y.min()), float(roads.node_y.max())
    columns = np.arange(low_x, high_x + 1.0, _VENUE_LATTICE_M)
    rows = np.arange(low_y, high_y + 1.0, _VENUE_LATTICE_M)
    at_x, at_y = (a.ravel() for a in np.meshgrid(columns, rows))
    order = np.argsort(np.hypot(at_x - x, at_y - y), kind="stable")
    for part in _parts(order.size, roads.n_edges):
        px, py = at_x[order[part]], at_y[order[part]]
        along, across = _beside(roads, px, py)
        past = np.maximum(np.maximum(-along, along - roads.length), 0.0)
        nearest = np.hypot(past, across).min(axis=1)
        low, high = _VENUE_FROM_STREET_M
        fits = np.flatnonzero((nearest >= low) & (nearest <= high))
        if fits.size:
            return float(px[fits[0]]), float(py[fits[0]])
    middle_x, middle_y = roads.middle()
    nearest_edge = int(np.hypot(middle_x - x, middle_y - y).argmin())
    return float(middle_x[nearest_edge]), float(middle_y[nearest_edge])
