"""Ground truth: which stall is taken, since when and by whom."""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int32Array, IntArray

NOBODY, BACKGROUND, EVENT = -1, -2, -3
"""`by` of a change besides a vehicle's index: freed, an ordinary car, an event's car."""


class Truth:
    """Occupancy of all stalls now, and every change since the run began."""

    def __init__(self, occupied: BoolArray, holder: Int32Array) -> None:
        self.initial: BoolArray = occupied.copy()
        self.occupied: BoolArray = occupied.copy()
        self.holder: Int32Array = holder.copy()
        """[S] a vehicle's index, `BACKGROUND`, `EVENT` or `NOBODY`."""
        self._n = 0
        self._t_s = np.empty(1024)
        self._stall = np.empty(1024, dtype=np.int32)
        self._by = np.empty(1024, dtype=np.int32)

    def record(self, t_s: float, stalls: IntArray, by: IntArray) -> None:
        """Append changes at `t_s`, not before the newest; `by` `NOBODY`: freed."""
        end = self._n + stalls.size
        if end > self._t_s.size:
            grow = max(end, 2 * self._t_s.size)
            self._t_s = np.resize(self._t_s, grow)
            self._stall = np.resize(self._stall, grow)
            self._by = np.resize(self._by, grow)
        self._t_s[self._n : end] = t_s
        self._stall[self._n : end] = stalls
        self._by[self._n : end] = by
        self._n = end
        self.occupied[stalls] = by != NOBODY
        self.holder[stalls] = by

    @property
    def t_s(self) -> FloatArray:
        """Simulated times of all changes, ascending, [changes]."""
        return self._t_s[: self._n]

    @property
    def stall(self) -> Int32Array:
        return self._stall[: self._n]

    @property
    def by(self) -> Int32Array:
        return self._by[: self._n]

    @property
    def now_occupied(self) -> BoolArray:
        """[changes] whether the stall was taken (else freed) by the change."""
        return np.asarray(self.by != NOBODY)

    def occupied_at(self, t_s: float) -> BoolArray:
        """Occupancy [S] after all changes up to and including `t_s`."""
        until = int(np.searchsorted(self.t_s, t_s, side="right"))
        occupied = self.initial.copy()
        # Of repeated indices the last assignment stands, which is the newest change.
        occupied[self.stall[:until]] = self.now_occupied[:until]
        return occupied
