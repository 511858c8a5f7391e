"""Where along its street a pass was: the odometer, and the registry of stalls."""

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.validation._drive_by import DIP_DEPTH_CM, Passes, Street


def carry(passes: Passes) -> Passes:
    """Places by odometer: one along-track offset a pass, the mean of its fixes' errors.

    The odometer is exact over a block, so the fixes' scatter averages out and their bias stays.
    """
    mean = passes.error_m.mean(axis=1, keepdims=True)
    return passes._replace(error_m=np.broadcast_to(mean, passes.error_m.shape).copy())


LAG_M, LAG_STEP_M = 14.0, 0.25
_PRIOR_SIGMA_M = 3.0
"""Of the along-track error that the odometer's mean over a block leaves, class street."""
_PRIOR_TAKEN, _PRIOR_GAP = 0.7, 0.12
"""What a matcher expects before it looked: stalls taken, and cars where no stall is."""
_INDEPENDENT_M = 2.5
"""Neighbouring samples see the same car: about half a car is one independent look."""


class Matcher:
    """Map matching along the track: shifts a pass to where its echoes fit the stalls best.

    Maximum a posteriori over the lag. The registry says where stalls and gaps are, not which are
    taken: of the truth nothing is used but what a vehicle reports.
    """

    def __init__(self, street: Street) -> None:
        stalls, self._roads = street.city.stalls, street.city.roads
        self._grid: FloatArray = np.arange(
            -LAG_M, self._roads.length.max() + LAG_M, LAG_STEP_M, dtype=np.float64
        )
        expected = np.full((self._roads.n_edges, self._grid.size), _PRIOR_GAP)
        for stall in range(stalls.n):
            away = np.abs(self._grid - stalls.offset[stall])
            inside = away < stalls.length[stall] / 2
            # A car's flank is over the middle of its stall nearly always, over its ends at times.
            cover = np.interp(away[inside], [1.8, 2.6, 3.35], [0.95, 0.6, 0.2])
            expected[stalls.edge[stall], inside] = _PRIOR_TAKEN * cover
        self._yes, self._no = np.log(expected), np.log(1.0 - expected)

    def __call__(self, passes: Passes) -> Passes:
        near = (passes.cm > 0) & (passes.cm < DIP_DEPTH_CM)
        reported = passes.s + passes.error_m
        inside = passes.s < self._roads.length[passes.edge, None]
        lags: FloatArray = np.arange(-LAG_M, LAG_M + LAG_STEP_M / 2, LAG_STEP_M, dtype=np.float64)
        score = np.empty((passes.edge.size, lags.size))
        row = np.broadcast_to(passes.edge[:, None], reported.shape)
        for j, lag in enumerate(lags):
            cell = np.rint((reported - lag - self._grid[0]) / LAG_STEP_M).astype(np.int64)
            cell = np.clip(cell, 0, self._grid.size - 1)
            fit = np.where(near, self._yes[row, cell], self._no[row, cell])
            score[:, j] = (fit * inside).sum(axis=1) * passes.spacing_m / _INDEPENDENT_M
        score -= lags**2 / (2 * _PRIOR_SIGMA_M**2)
        best = lags[score.argmax(axis=1)]
        return passes._replace(error_m=passes.error_m - best[:, None])
