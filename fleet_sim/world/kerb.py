"""Who stands in which stall and how (the only place where a stall changes hands), and what else
stands along the kerb."""

from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int32Array, IntArray
from fleet_sim.world.stalls import CELL_M, LANE_TO_STALL_M, STALL_HALF_WIDTH_M, Stalls
from fleet_sim.world.truth import NOBODY, Truth

CAR_HALF_WIDTH_M = 0.9
"""Of a vehicle of the fleet: its sensor is so far right of its middle."""
CAR_SHARE = np.array([0.08, 0.77, 0.15])
CAR_LENGTH_M, CAR_LENGTH_SIGMA_M = np.array([3.6, 4.55, 5.4]), np.array([0.2, 0.25, 0.3])
"""Small cars, the middle, vans and pick-ups: shares and lengths (assumption; mean 4.6 m)."""
MIN_CAR_M, MAX_CAR_M = 2.7, 6.3
_HALF_WIDTH_SIGMA_M = 0.05
_ALONG_SIGMA_M, _ACROSS_SIGMA_M, _YAW_SIGMA_DEG = 0.5, 0.15, 1.5
"""How drivers park: off a stall's middle, off its centre line, askew (assumption)."""

TEMPTING_SHARE, ILLEGAL_SHARE = 0.24, 0.12
"""Of driveways, hydrants, bus stops and corners beside stalls, those in which cars ever stand, and
those in which one does at a time (assumption)."""
BINS_PER_M = 1 / 80
"""Of kerb with stalls: bins at the edge of the carriageway (assumption)."""
_CORNER_ROOM_M, _CORNER_CLEAR_M = 7.0, 6.0
_BIN_HALF_M, _BIN_DEPTH_M = 0.3, 0.6
CAR_DB, BIN_DB, BACKGROUND_DB = 0.0, -6.0, -8.0
"""Target strength relative to a large flat target: cars, bins, and poles, trees and hedges behind
the kerb (assumption)."""


def draw_length_m(k: int, rng: np.random.Generator) -> FloatArray:
    """Lengths of `k` cars that park, m."""
    kind = rng.choice(3, k, p=CAR_SHARE)
    drawn = CAR_LENGTH_M[kind] + CAR_LENGTH_SIGMA_M[kind] * rng.standard_normal(k)
    return np.asarray(np.clip(drawn, MIN_CAR_M, MAX_CAR_M))


@dataclass(frozen=True, slots=True)
class Things:
    """T things in the parking lane that stand in no stall: [T]. They stay but for cars: see
    `illegal`."""

    edge: IntArray
    centre: FloatArray
    """Along the edge, m."""
    half: FloatArray
    side: FloatArray
    """Of the near side from the lane's centre, m."""
    yaw_deg: FloatArray
    target_db: FloatArray
    is_car: BoolArray
    standing: BoolArray
    """Whether it is there now."""
    cell: Int32Array
    """[cells] the nearest thing within 4 m of the cell's middle, -1 for none."""

    @property
    def n(self) -> int:
        return int(self.edge.size)

    @classmethod
    def draw(cls, stalls: Stalls, rng: np.random.Generator) -> "Things":
        """Cars in driveways, at hydrants and in corners beside stalls; bins among stalls."""
        edge, gap_from, gap_to = _gaps(stalls)
        there = rng.random(edge.size) < TEMPTING_SHARE
        edge, gap_from, gap_to = edge[there], gap_from[there], gap_to[there]
        length = np.minimum(draw_length_m(edge.size, rng), gap_to - gap_from - 0.2)
        # They take any place in the gap, but not a neighbour's.
        at = gap_from + length / 2 + rng.random(edge.size) * (gap_to - gap_from - length)
        across = np.clip(rng.normal(0.0, _ACROSS_SIGMA_M, edge.size), -0.3, 0.25)
        side = LANE_TO_STALL_M - CAR_HALF_WIDTH_M + across
        bins = rng.poisson(BINS_PER_M * stalls.length)
        bin_edge = np.repeat(stalls.edge, bins)
        bin_at = np.repeat(stalls.offset, bins) + rng.uniform(-0.5, 0.5, bin_edge.size) * np.repeat(
            stalls.length, bins
        )
        cars, k = edge.size, bin_edge.size
        kerb_m = LANE_TO_STALL_M + STALL_HALF_WIDTH_M
        all_edges, centre = np.append(edge, bin_edge), np.append(at, bin_at)
        return cls(
            edge=all_edges,
            centre=centre,
            half=np.append(length / 2, np.full(k, _BIN_HALF_M)),
            side=np.append(side, np.full(k, kerb_m - _BIN_DEPTH_M)),
            yaw_deg=np.append(rng.normal(0.0, _YAW_SIGMA_DEG, cars), np.zeros(k)),
            target_db=np.repeat([CAR_DB, BIN_DB], [cars, k]),
            is_car=np.repeat([True, False], [cars, k]),
            standing=np.append(
                rng.random(cars) < ILLEGAL_SHARE / TEMPTING_SHARE, np.ones(k, dtype=np.bool_)
            ),
            cell=_cells(stalls, all_edges, centre),
        )


def _gaps(stalls: Stalls) -> tuple[IntArray, FloatArray, FloatArray]:
    """Edge, beginning and end of each place beside stalls that a car fits in and none may use.

    A longer run without stalls counts once a car's length. Beyond an edge's first and last stall
    it is a corner, as far as 6 m from the crossing's middle.
    """
    if not stalls.n:
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)
    begin, end = stalls.offset - stalls.length / 2, stalls.offset + stalls.length / 2
    used = np.flatnonzero(np.diff(stalls.first))
    head, tail = stalls.first[used], stalls.first[used + 1] - 1
    cells = np.diff(np.append(stalls.cell_first, stalls.cell_stall.size))[used]
    same = np.flatnonzero(stalls.edge[1:] == stalls.edge[:-1])
    edge = np.concatenate((stalls.edge[same], used, used))
    low = np.concatenate(
        (end[same], np.maximum(begin[head] - _CORNER_ROOM_M, _CORNER_CLEAR_M), end[tail])
    )
    last = cells * CELL_M - _CORNER_CLEAR_M
    high = np.concatenate(
        (begin[same + 1], begin[head], np.minimum(end[tail] + _CORNER_ROOM_M, last))
    )
    places = np.maximum((high - low) / MAX_CAR_M, 0.0).astype(np.int64)
    nth = np.arange(int(places.sum())) - np.repeat(np.cumsum(places) - places, places)
    room = np.repeat((high - low) / np.maximum(places, 1), places)
    begins = np.repeat(low, places) + nth * room
    return np.repeat(edge, places), begins, begins + room


def _cells(stalls: Stalls, edge: IntArray, centre: FloatArray) -> Int32Array:
    """The nearest thing within 4 m of each cell's middle: no thing is seen from farther away."""
    found = np.full(stalls.cell_stall.size, -1, dtype=np.int32)
    away = np.full(found.size, np.inf)
    cells = np.diff(np.append(stalls.cell_first, found.size))
    for shift in range(-4, 5):
        cell = np.floor(centre / CELL_M).astype(np.int64) + shift
        inside = np.flatnonzero((cell >= 0) & (cell < cells[edge]))
        at = stalls.cell_first[edge[inside]] + cell[inside]
        far = np.abs((cell[inside] + 0.5) * CELL_M - centre[inside])
        np.minimum.at(away, at, far)
        won = far <= away[at]
        found[at[won]] = inside[won]
    return found


class Kerb:
    """Cars in stalls. Keeps one state back, for a sensor that reports the last second.

    `truth` has the occupancy; `centre`, `half`, `side`, `yaw_deg` [2, S] (row 0 now, row 1 before
    the last change): the car's centre along the edge, half its length, how far its near side is
    from the lane's centre, m, and how askew it stands. `changed_s` [S] is the time of the last
    change. `things` stand in no stall.
    """

    def __init__(self, stalls: Stalls, rng: np.random.Generator) -> None:
        self.stalls = stalls
        self._rng = rng
        self.things = Things.draw(stalls, rng.spawn(1)[0])
        n = stalls.n
        self.truth = Truth(np.zeros(n, dtype=np.bool_), np.full(n, NOBODY, dtype=np.int32))
        self.was_occupied: BoolArray = np.zeros(n, dtype=np.bool_)
        self.changed_s: FloatArray = np.full(n, -np.inf)
        self.centre: FloatArray = np.zeros((2, n))
        self.half: FloatArray = np.zeros((2, n))
        self.side: FloatArray = np.full((2, n), np.inf)
        self.yaw_deg: FloatArray = np.zeros((2, n))

    def fill(self, stalls: IntArray, by: IntArray, length_m: FloatArray | None = None) -> None:
        """Who stands there when the run begins: no change of the timeline."""
        self._check_free(stalls)
        self.truth.initial[stalls] = True
        self.truth.occupied[stalls] = True
        self.truth.holder[stalls] = by
        self._place(stalls, length_m)

    def take(
        self, t_s: float, stalls: IntArray, by: IntArray, length_m: FloatArray | None = None
    ) -> None:
        """Cars park in free `stalls`. `RuntimeError` when one is taken: the caller's bug."""
        self._check_free(stalls)
        self._keep_last(t_s, stalls)
        self._place(stalls, length_m)
        self.truth.record(t_s, stalls, by)

    def free(self, t_s: float, stalls: IntArray) -> None:
        """The cars in `stalls` leave."""
        if not self.truth.occupied[stalls].all():
            raise RuntimeError(f"free at {t_s} s: a stall of {stalls.tolist()} is free already")
        self._keep_last(t_s, stalls)
        self.truth.record(t_s, stalls, np.full(stalls.size, NOBODY))

    def _check_free(self, stalls: IntArray) -> None:
        if self.truth.occupied[stalls].any() or np.unique(stalls).size != stalls.size:
            raise RuntimeError(f"two cars for one stall among {stalls.tolist()}")

    def _keep_last(self, t_s: float, stalls: IntArray) -> None:
        self.was_occupied[stalls] = self.truth.occupied[stalls]
        self.changed_s[stalls] = t_s
        for rows in (self.centre, self.half, self.side, self.yaw_deg):
            rows[1, stalls] = rows[0, stalls]

    def _place(self, stalls: IntArray, length_m: FloatArray | None) -> None:
        k = stalls.size
        if length_m is None:
            length_m = draw_length_m(k, self._rng)
        slack = np.maximum(self.stalls.length[stalls] - length_m, 0.0) / 2
        shift = np.clip(self._rng.normal(0.0, _ALONG_SIGMA_M, k), -slack, slack)
        across = np.clip(self._rng.normal(0.0, _ACROSS_SIGMA_M, k), -0.3, 0.25)
        half_width = CAR_HALF_WIDTH_M + np.clip(
            self._rng.normal(0.0, _HALF_WIDTH_SIGMA_M, k), -0.1, 0.1
        )
        self.centre[0, stalls] = self.stalls.offset[stalls] + shift
        self.half[0, stalls] = length_m / 2
        self.side[0, stalls] = self.stalls.lane_offset[stalls] - half_width + across
        self.yaw_deg[0, stalls] = _YAW_SIGMA_DEG * self._rng.standard_normal(k)
