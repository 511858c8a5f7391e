"""Draw a grid of streets with kerbside stalls.

North-south streets are avenues (`7th Ave`), east-west ones carry trees' names (`Oak St`). Every
fourth street is an arterial (two lanes a direction, 50 km/h), halfway between them are collectors
(40 km/h), the others are local (30 km/h). Arterials have signals where they meet each other and
collectors. In the centre blocks are shorter, streets other than arterials are one-way in turns, and
houses are high.
"""

from typing import NamedTuple

import numpy as np

from fleet_sim.models import gnss
from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.world import districts
from fleet_sim.world.roads import MAX_NODES, Roads, kerb_lane_m
from fleet_sim.world.stalls import STALL_LENGTH_M, Stalls, lay_out

MIN_BLOCK_M, MAX_BLOCK_M = 40.0, 1000.0
DRIVEWAY_SHARE = 0.12
"""Of stall positions on a legal side that a driveway or hydrant takes (assumption)."""
BUS_STOP_STALLS = 3
"""Stall positions that a bus stop takes, before every other crossing of an arterial (assumption:
20 m)."""
ARTERIAL_EVERY, ARTERIAL_AT, COLLECTOR_AT = 4, 2, 0
ARTERIAL_MPS, COLLECTOR_MPS, LOCAL_MPS = 50 / 3.6, 40 / 3.6, 30 / 3.6
_SHORTER, _LONGER = 0.8, 0.45
"""Blocks are this short in the middle of a city with a centre, and that much longer at its edge,
relative to each other (assumption)."""

_TREES = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Linden", "Maple", "Oak", "Pine", "Walnut")
_NORTH, _EAST, _SOUTH, _WEST = range(4)
_LETTERS = "NESW"


class Box(NamedTuple):
    """The centre: streets `west` to `east` (avenues) and `south` to `north`, whose own streets are
    its two-way border. Empty without room for a street inside."""

    west: int
    east: int
    south: int
    north: int

    @property
    def empty(self) -> bool:
        return self.east - self.west < 2 or self.north - self.south < 2


class Grid(NamedTuple):
    """A drawn city: `character` [E] is the district (`districts`) of each edge."""

    roads: Roads
    stalls: Stalls
    character: IntArray
    x: FloatArray
    """[columns + 1] of the avenues, metres east of the middle."""
    y: FloatArray
    """[rows + 1]"""


class _Edges(NamedTuple):
    """Of each directed edge, [E]."""

    column: IntArray
    """Of its tail; `row` likewise."""
    row: IntArray
    direction: IntArray
    line: IntArray
    """Number of its avenue or street."""
    one_way: BoolArray
    inside: BoolArray
    """Within the centre or on its border."""

    @property
    def vertical(self) -> BoolArray:
        return np.asarray(self.direction % 2 == 0)


def generate(spec: GeneratedCity, rng: np.random.Generator) -> Grid:
    """Roads and stalls of `blocks` columns × rows; `ValueError` names what does not fit."""
    cols, rows = spec.blocks
    block_m = float(spec.block_length_m)
    if not MIN_BLOCK_M <= block_m <= MAX_BLOCK_M:
        raise ValueError(
            f"city.generate.block_length: {block_m:g} m is out of range "
            f"(allowed: {MIN_BLOCK_M:g}..{MAX_BLOCK_M:g} m)"
        )
    if (cols + 1) * (rows + 1) > MAX_NODES:
        raise ValueError(
            f"city.generate.blocks: {cols} x {rows} blocks have {(cols + 1) * (rows + 1)} "
            f"crossings (allowed: up to {MAX_NODES})"
        )
    box = _centre(cols, rows, float(spec.centre))
    edges = _edges(cols, rows, box, spec.one_way)
    x, y = (_places(n, block_m, not box.empty) for n in (cols, rows))
    roads, character = _roads(edges, x, y, box, rng)
    if spec.tunnel:
        _cover(roads, edges, rng)
    legal = (rng.random(roads.n_edges) < float(spec.legal_kerb)) & (roads.reception != gnss.COVERED)
    return Grid(roads, _stalls(roads, edges, legal, cols, rows, rng), character, x, y)


def _centre(cols: int, rows: int, share: float) -> Box:
    west, south = round(cols * (1 - share) / 2), round(rows * (1 - share) / 2)
    return Box(west, cols - west, south, rows - south)


def _places(blocks: int, block_m: float, has_centre: bool) -> FloatArray:
    """Where the streets are across one axis, around 0; `block_m` apart on average."""
    away = np.abs((np.arange(blocks) + 0.5) / blocks * 2 - 1)
    length = _SHORTER + _LONGER * away if has_centre else np.ones(blocks)
    length = np.clip(length / length.mean() * block_m, MIN_BLOCK_M, MAX_BLOCK_M)
    at = np.concatenate(([0.0], np.cumsum(length)))
    return np.asarray(at - at[-1] / 2)


def _edges(cols: int, rows: int, box: Box, one_way: bool) -> _Edges:
    column, row = np.meshgrid(np.arange(cols + 1), np.arange(rows + 1), indexing="ij")
    at = np.stack((column.ravel(), row.ravel()), axis=1)
    parts, directions = [], []
    for direction, keep in (
        (_NORTH, at[:, 1] < rows),
        (_EAST, at[:, 0] < cols),
        (_SOUTH, at[:, 1] > 0),
        (_WEST, at[:, 0] > 0),
    ):
        parts.append(at[keep])
        directions.append(np.full(int(keep.sum()), direction))
    tail, way = np.concatenate(parts), np.concatenate(directions)
    vertical = way % 2 == 0
    line = np.where(vertical, tail[:, 0], tail[:, 1])
    # Number of the block along the street, whichever way the edge goes.
    block = np.where(vertical, tail[:, 1] - (way == _SOUTH), tail[:, 0] - (way == _WEST))
    across = np.where(vertical, [[box.west], [box.east]], [[box.south], [box.north]])
    along = np.where(vertical, [[box.south], [box.north]], [[box.west], [box.east]])
    within = (along[0] <= block) & (block < along[1]) & (not box.empty)
    inside = within & (across[0] <= line) & (line <= across[1])
    single = within & (across[0] < line) & (line < across[1]) & ~_is(line, ARTERIAL_AT) & one_way
    # In turns, so that each one-way street has one beside it that goes the other way: whoever is in
    # the centre gets to its two-way border, and from there everywhere.
    turn = np.cumsum(~_is(np.arange(max(cols, rows) + 1), ARTERIAL_AT))[line] % 2 == 0
    keep = ~single | (turn == ((way == _NORTH) | (way == _EAST)))
    return _Edges(
        *(a[keep] for a in (tail[:, 0], tail[:, 1], way, line, single, inside)),
    )


def _is(line: IntArray, at: int) -> BoolArray:
    return np.asarray(line % ARTERIAL_EVERY == at)


def _roads(
    edges: _Edges, x: FloatArray, y: FloatArray, box: Box, rng: np.random.Generator
) -> tuple[Roads, IntArray]:
    cols, rows = x.size - 1, y.size - 1
    direction, vertical, line = edges.direction, edges.vertical, edges.line
    ux = np.array([0.0, 1.0, 0.0, -1.0])[direction]
    uy = np.array([1.0, 0.0, -1.0, 0.0])[direction]
    node = np.arange((cols + 1) * (rows + 1))
    node_x, node_y = x[node % (cols + 1)], y[node // (cols + 1)]
    tail = edges.column + edges.row * (cols + 1)
    head = tail + np.array([cols + 1, 1, -(cols + 1), -1])[direction]
    arterial = _is(line, ARTERIAL_AT)
    lanes = np.where(arterial | edges.one_way, 2, 1)
    right = kerb_lane_m(lanes, ~edges.one_way)
    limit = np.select([arterial, _is(line, COLLECTOR_AT)], [ARTERIAL_MPS, COLLECTOR_MPS], LOCAL_MPS)
    character = np.full(tail.size, districts.MIXED)
    if not box.empty:
        character = districts.characters(
            (node_x[tail] + node_x[head]) / (x[-1] - x[0]),
            (node_y[tail] + node_y[head]) / (y[-1] - y[0]),
            edges.inside,
            int(rng.integers(4)),
        )
    # Outer streets have buildings on one side only.
    outer = (line == 0) | (line == np.where(vertical, cols, rows))
    signal, offset_s = _signals(edges, head, cols, rows, rng)
    roads = Roads(
        node_x=node_x,
        node_y=node_y,
        tail=tail,
        head=head,
        length=np.hypot(node_x[head] - node_x[tail], node_y[head] - node_y[tail]),
        limit_mps=limit,
        lanes=lanes,
        lane_x=node_x[tail] + right * uy,
        lane_y=node_y[tail] - right * ux,
        ux=ux,
        uy=uy,
        bearing_deg=np.array([0.0, 90.0, 180.0, 270.0])[direction],
        street_of=np.where(vertical, line, cols + 1 + line),
        streets=tuple(_avenue(i) for i in range(cols + 1))
        + tuple(_street(j) for j in range(rows + 1)),
        arterial=arterial,
        reception=np.where(outer, gnss.OPEN, districts.RECEPTION[character]),
        out=_out(tail, node.size),
        signal=signal,
        signal_offset_s=offset_s,
        bend=np.zeros(node.size, dtype=np.bool_),
    )
    return roads, character


def _signals(
    edges: _Edges, head: IntArray, cols: int, rows: int, rng: np.random.Generator
) -> tuple[Int8Array, FloatArray]:
    column, row = head % (cols + 1), head // (cols + 1)
    main = _is(column, ARTERIAL_AT), _is(row, ARTERIAL_AT)
    second = _is(column, COLLECTOR_AT), _is(row, COLLECTOR_AT)
    lit = (main[0] & (main[1] | second[1])) | (main[1] & second[0])
    signal = np.where(lit, np.where(edges.vertical, 1, 2), 0).astype(np.int8)
    per_node = rng.uniform(0.0, 60.0, (cols + 1) * (rows + 1))
    return signal, per_node[head]


def _cover(roads: Roads, edges: _Edges, rng: np.random.Generator) -> None:
    """One block of an arterial outside the centre becomes a tunnel, both ways; not in the outermost
    blocks, where a small city has nothing else."""
    n = roads.node_x.size
    steps = np.bincount(roads.head, minlength=n)
    inner = (steps[roads.head] == 4) & (steps[roads.tail] == 4)
    chosen = np.flatnonzero(roads.arterial & ~edges.inside & inner)
    if chosen.size:
        a = int(rng.choice(chosen))
        pair = (roads.tail == roads.tail[a]) & (roads.head == roads.head[a])
        pair |= (roads.tail == roads.head[a]) & (roads.head == roads.tail[a])
        roads.reception[pair] = gnss.COVERED


def _out(tail: IntArray, nodes: int) -> IntArray:
    out = np.full((nodes, 4), -1)
    order = np.argsort(tail, kind="stable")
    rank = np.arange(tail.size) - np.searchsorted(tail[order], tail[order])
    out[tail[order], rank] = order
    return out


def _stalls(
    roads: Roads,
    edges: _Edges,
    legal: BoolArray,
    cols: int,
    rows: int,
    rng: np.random.Generator,
) -> Stalls:
    corner = roads.corner_m
    room = roads.length - corner[roads.tail] - corner[roads.head]
    slots = np.maximum(room / STALL_LENGTH_M, 0.0).astype(np.int64)
    most = int(slots.max())
    taken = rng.random((roads.n_edges, most)) < DRIVEWAY_SHARE
    nth = np.arange(most)
    block = np.where(edges.vertical, edges.row, edges.column)
    stop = roads.arterial & (block % 2 == 0)
    taken |= (stop & legal)[:, None] & (nth >= slots[:, None] - BUS_STOP_STALLS)
    edge, slot = np.nonzero(legal[:, None] & ~taken & (nth < slots[:, None]))
    begin = corner[roads.tail] + (room - slots * STALL_LENGTH_M) / 2
    offset: FloatArray = np.asarray(begin[edge] + (slot + 0.5) * STALL_LENGTH_M, dtype=np.float64)
    return lay_out(roads, _ids(edges, cols, rows, most, edge, slot), edge, offset, rng)


def _ids(
    edges: _Edges, cols: int, rows: int, slots: int, edge: IntArray, slot: IntArray
) -> tuple[str, ...]:
    """`W12-034`: direction of travel, number of the street, position along it from its start."""
    direction = edges.direction
    block = np.select(
        [direction == _NORTH, direction == _EAST, direction == _SOUTH],
        [edges.row, edges.column, rows - edges.row],
        cols - edges.column,
    )
    position = block[edge] * slots + slot + 1
    return tuple(
        f"{_LETTERS[d]}{n:02d}-{p:03d}"
        for d, n, p in zip(
            direction[edge].tolist(),
            (edges.line[edge] + 1).tolist(),
            position.tolist(),
            strict=True,
        )
    )


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _avenue(i: int) -> str:
    return f"{_ordinal(i + 1)} Ave"


def _street(j: int) -> str:
    return f"{_TREES[j]} St" if j < len(_TREES) else f"{_ordinal(j + 1)} St"
