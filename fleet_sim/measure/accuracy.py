"""How right the parking map is: what the API says of each spot against the world's truth."""

import msgspec
import numpy as np
from numpy.typing import NDArray

FREE, OCCUPIED, UNKNOWN = 0, 1, 2
"""Codes of `state`. The API's words are `STATES[code]`."""

STATES = ("free", "occupied", "unknown")

CALIBRATION_BINS = 10


class ClassScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer (`free` or `occupied`) as a detector. Null: there is nothing to divide by."""

    precision: float | None
    """Of the spots called so, the share that is."""
    recall: float | None
    """Of the stalls that are so, the share called so; `unknown` counts as missed."""
    f1: float | None


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The map at one moment."""

    spots: int
    truth_occupied: int
    confusion: dict[str, int]
    """Counts by truth and answer: `free_free`, `free_occupied`, `free_unknown`, `occupied_…`."""
    accuracy: float | None
    """Share of right answers among the known spots; null when none is known."""
    coverage: float
    """Share of spots that are known."""
    free: ClassScore
    occupied: ClassScore
    brier: float
    """Mean squared difference of `p_occupied` and truth over all spots (Brier, 1950): 0 is perfect,
    0.25 is what `p = 0.5` everywhere gets."""
    calibration_error: float
    """Expected calibration error of `p_occupied`, 10 bins of equal width (Naeini et al., 2015)."""
    staleness_s: float | None
    """Median age of the newest observation of the spots that were ever seen."""

    def metrics(self) -> dict[str, dict[str, float]]:
        """`occupancy_accuracy: {"value": 0.93}` … for thresholds; undefined ones are left out."""
        values = {
            "occupancy_accuracy": self.accuracy,
            "occupancy_coverage": self.coverage,
            "occupancy_brier": self.brier,
            "occupancy_calibration_error": self.calibration_error,
            "occupancy_staleness_s": self.staleness_s,
        }
        for state, score in (("free", self.free), ("occupied", self.occupied)):
            values[f"occupancy_precision{{state:{state}}}"] = score.precision
            values[f"occupancy_recall{{state:{state}}}"] = score.recall
            values[f"occupancy_f1{{state:{state}}}"] = score.f1
        return {name: {"value": value} for name, value in values.items() if value is not None}


def accuracy(
    truth: NDArray[np.bool_],
    state: NDArray[np.int8],
    p_occupied: NDArray[np.float64],
    age_s: NDArray[np.float64],
) -> Accuracy:
    """Compare all spots of a city, arrays `[spots]`.

    `truth`: the stall is occupied. `state`: `FREE`, `OCCUPIED` or `UNKNOWN`. `p_occupied`: 0-1.
    `age_s`: since the newest observation; NaN when the spot was never seen. A stall that the API
    does not list at all belongs in here as `UNKNOWN` with p 0.5. `ValueError` when there are no
    spots, the lengths differ, or a value is out of range.
    """
    n = len(truth)
    if not n or not n == len(state) == len(p_occupied) == len(age_s):
        lengths = (n, len(state), len(p_occupied), len(age_s))
        raise ValueError(f"accuracy: lengths {lengths} are not allowed (allowed: equal, not 0)")
    if not np.isin(state, (FREE, OCCUPIED, UNKNOWN)).all():
        raise ValueError("accuracy: state has other values than 0, 1, 2")
    if not ((p_occupied >= 0) & (p_occupied <= 1)).all():
        raise ValueError("accuracy: p_occupied has values outside 0..1")
    table = np.zeros((2, 3), np.int64)
    np.add.at(table, (truth.astype(np.int64), state.astype(np.int64)), 1)
    known = int(table[:, :2].sum())
    right = int(table[FREE, FREE] + table[OCCUPIED, OCCUPIED])
    seen = age_s[~np.isnan(age_s)]
    return Accuracy(
        spots=n,
        truth_occupied=int(truth.sum()),
        confusion={
            f"{STATES[t]}_{STATES[s]}": int(table[t, s]) for t in range(2) for s in range(3)
        },
        accuracy=_ratio(right, known),
        coverage=known / n,
        free=_score(table, FREE),
        occupied=_score(table, OCCUPIED),
        brier=float(np.mean((p_occupied - truth) ** 2)),
        calibration_error=_calibration_error(truth, p_occupied),
        staleness_s=float(np.median(seen)) if len(seen) else None,
    )


class MapScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A map over all the moments at which it was compared."""

    counts: float
    """`1 - Σ |estimated - true| / Σ true` of the occupied stalls of each street segment and side;
    the estimate is the sum of `p_occupied`, their mean."""
    whole_counts: float
    """The same with estimates rounded to whole cars, about their median: what errs least so."""
    occupancy: float
    """Share of all stalls that are as `p_occupied > 0.5` says."""
    brier: float
    calibration_error: float
    answered: float
    """Share of stalls called free or occupied."""
    right: float | None
    """Of those, the share that is so; null when none is called."""


class Comparison:
    """Sums a map's errors over the moments at which it is compared."""

    def __init__(self, segment: NDArray[np.int64]) -> None:
        """`segment` [spots]: the street segment and side of each."""
        self._segment = segment
        self._p: list[NDArray[np.float64]] = []
        self._state: list[NDArray[np.int8]] = []
        self._truth: list[NDArray[np.bool_]] = []
        self._miscount = self._whole_miscount = self._true = 0.0

    def add(
        self, p: NDArray[np.float64], state: NDArray[np.int8], truth: NDArray[np.bool_]
    ) -> None:
        """One moment, arrays [spots]."""
        self._p.append(p)
        self._state.append(state)
        self._truth.append(truth)
        told = np.bincount(self._segment, p)
        true = np.bincount(self._segment, truth.astype(np.float64))
        self._miscount += float(np.abs(told - true).sum())
        self._whole_miscount += float(np.abs(np.rint(told) - true).sum())
        self._true += float(true.sum())

    def score(self) -> MapScore:
        """`ValueError` when nothing was compared, or nothing was ever occupied."""
        if not self._true:
            raise ValueError("comparison: no moment with an occupied stall (allowed: at least one)")
        p, truth = np.concatenate(self._p), np.concatenate(self._truth)
        whole = accuracy(truth, np.concatenate(self._state), p, np.zeros(p.size))
        return MapScore(
            counts=1 - self._miscount / self._true,
            whole_counts=1 - self._whole_miscount / self._true,
            occupancy=float(np.mean((p > 0.5) == truth)),
            brier=whole.brier,
            calibration_error=whole.calibration_error,
            answered=whole.coverage,
            right=whole.accuracy,
        )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _score(table: NDArray[np.int64], label: int) -> ClassScore:
    hit, called, there = table[label, label], table[:, label].sum(), table[label].sum()
    return ClassScore(
        _ratio(int(hit), int(called)),
        _ratio(int(hit), int(there)),
        _ratio(2 * int(hit), int(called + there)),
    )


def _calibration_error(truth: NDArray[np.bool_], p: NDArray[np.float64]) -> float:
    of = np.minimum((p * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    # |mean p - share occupied| weighted by the bin's share of spots is |sum p - sum truth| / n.
    gap = np.bincount(of, p - truth, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(p))
