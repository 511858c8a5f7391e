"""Draw a grid of two-way streets with kerbside stalls.

North-south streets are avenues (`7th Ave`), east-west ones carry trees' names (`Oak St`). Every
fourth street is an arterial with 50 km/h, the others have 30 km/h; where two arterials cross
there is a signal.
"""

import numpy as np

from fleet_sim.models import gnss
from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.world.roads import MAX_NODES, Roads
from fleet_sim.world.stalls import STALL_LENGTH_M, Stalls, lay_out

MIN_BLOCK_M, MAX_BLOCK_M = 40.0, 1000.0
LANE_M = 1.75
"""From the street's centre line to the lane's."""
CORNER_M = 14.0
"""No stall nearer to a crossing's centre: half the cross street (6 m) and 8 m of clearance."""
DRIVEWAY_SHARE = 0.12
"""Of stall positions on a legal side that a driveway or hydrant takes (assumption)."""
ARTERIAL_EVERY, ARTERIAL_AT = 4, 2
ARTERIAL_MPS, LOCAL_MPS = 50 / 3.6, 30 / 3.6

_TREES = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Linden", "Maple", "Oak", "Pine", "Walnut")
_NORTH, _EAST, _SOUTH, _WEST = range(4)
_LETTERS = "NESW"


def generate(
    blocks: tuple[int, int], block_m: float, legal_kerb: float, rng: np.random.Generator
) -> tuple[Roads, Stalls]:
    """Roads and stalls of `blocks` columns × rows; `ValueError` names what does not fit."""
    cols, rows = blocks
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
    tail_ij, direction = _edges(cols, rows)
    roads = _roads(cols, rows, block_m, tail_ij, direction, rng)
    slots = int((block_m - 2 * CORNER_M) / STALL_LENGTH_M)
    margin = (block_m - slots * STALL_LENGTH_M) / 2
    legal = rng.random(roads.n_edges) < legal_kerb
    taken = rng.random((roads.n_edges, slots)) < DRIVEWAY_SHARE
    edge, slot = np.nonzero(legal[:, None] & ~taken)
    offset: FloatArray = np.asarray(margin + (slot + 0.5) * STALL_LENGTH_M, dtype=np.float64)
    ids = _ids(cols, rows, slots, tail_ij, direction, edge, slot)
    return roads, lay_out(roads, ids, edge, offset, rng)


def _edges(cols: int, rows: int) -> tuple[IntArray, IntArray]:
    """Column and row of each edge's tail [E, 2], and its direction [E]."""
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
    return np.concatenate(parts), np.concatenate(directions)


def _roads(
    cols: int,
    rows: int,
    block_m: float,
    at: IntArray,
    direction: IntArray,
    rng: np.random.Generator,
) -> Roads:
    ux = np.array([0.0, 1.0, 0.0, -1.0])[direction]
    uy = np.array([1.0, 0.0, -1.0, 0.0])[direction]
    node = np.arange((cols + 1) * (rows + 1))
    node_x: FloatArray = np.asarray((node % (cols + 1) - cols / 2) * block_m, dtype=np.float64)
    node_y: FloatArray = np.asarray((node // (cols + 1) - rows / 2) * block_m, dtype=np.float64)
    tail = at[:, 0] + at[:, 1] * (cols + 1)
    step = np.array([cols + 1, 1, -(cols + 1), -1])[direction]
    head = tail + step
    vertical = direction % 2 == 0
    line = np.where(vertical, at[:, 0], at[:, 1])
    arterial = line % ARTERIAL_EVERY == ARTERIAL_AT
    last = np.where(vertical, cols, rows)
    # Outer streets have buildings on one side only.
    reception = np.where((line == 0) | (line == last), gnss.OPEN, gnss.STREET)
    signal, offset_s = _signals(cols, rows, head, vertical, rng)
    return Roads(
        node_x=node_x,
        node_y=node_y,
        tail=tail,
        head=head,
        length=np.full(tail.size, block_m),
        limit_mps=np.where(arterial, ARTERIAL_MPS, LOCAL_MPS),
        lane_x=node_x[tail] + LANE_M * uy,
        lane_y=node_y[tail] - LANE_M * ux,
        ux=ux,
        uy=uy,
        bearing_deg=np.array([0.0, 90.0, 180.0, 270.0])[direction],
        street_of=np.where(vertical, line, cols + 1 + line),
        streets=tuple(_avenue(i) for i in range(cols + 1))
        + tuple(_street(j) for j in range(rows + 1)),
        arterial=arterial,
        reception=reception,
        out=_out(tail, node.size),
        signal=signal,
        signal_offset_s=offset_s,
        bend=np.zeros(node.size, dtype=np.bool_),
    )


def _signals(
    cols: int, rows: int, head: IntArray, vertical: BoolArray, rng: np.random.Generator
) -> tuple[Int8Array, FloatArray]:
    column, row = head % (cols + 1), head // (cols + 1)
    crossing = (column % ARTERIAL_EVERY == ARTERIAL_AT) & (row % ARTERIAL_EVERY == ARTERIAL_AT)
    signal = np.where(crossing, np.where(vertical, 1, 2), 0).astype(np.int8)
    per_node = rng.uniform(0.0, 60.0, (cols + 1) * (rows + 1))
    return signal, per_node[head]


def _out(tail: IntArray, nodes: int) -> IntArray:
    out = np.full((nodes, 4), -1)
    order = np.argsort(tail, kind="stable")
    rank = np.arange(tail.size) - np.searchsorted(tail[order], tail[order])
    out[tail[order], rank] = order
    return out


def _ids(
    cols: int,
    rows: int,
    slots: int,
    at: IntArray,
    direction: IntArray,
    edge: IntArray,
    slot: IntArray,
) -> tuple[str, ...]:
    """`W12-034`: direction of travel, number of the street, position along it from its start."""
    block = np.select(
        [direction == _NORTH, direction == _EAST, direction == _SOUTH],
        [at[:, 1], at[:, 0], rows - at[:, 1]],
        cols - at[:, 0],
    )
    line = np.where(direction % 2 == 0, at[:, 0], at[:, 1]) + 1
    position = block[edge] * slots + slot + 1
    return tuple(
        f"{_LETTERS[d]}{n:02d}-{p:03d}"
        for d, n, p in zip(
            direction[edge].tolist(), line[edge].tolist(), position.tolist(), strict=True
        )
    )


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _avenue(i: int) -> str:
    return f"{_ordinal(i + 1)} Ave"


def _street(j: int) -> str:
    return f"{_TREES[j]} St" if j < len(_TREES) else f"{_ordinal(j + 1)} St"
