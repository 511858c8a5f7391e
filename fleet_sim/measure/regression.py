"""Is it slower than before? Repeated measurements against repeated measurements.

Each value is a ratio: what something took to what a fixed calibration took right beside it. The
verdict rests on a bootstrap interval (percentile method) of the ratio of the two medians, and not
on a single number: noise widens the interval, and then nothing is claimed.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Of the interval: how sure a slowdown has to be."""
DRAWS = 4_000
FEWEST = 5
"""Measurements on either side, below which nothing is said."""
RELEVANT = 0.20
"""A slowdown that one wants to hear of: what may not be excluded is told as undecided."""

Verdict = Literal["slower", "faster", "same", "undecided", "not judged"]


class Compared(NamedTuple):
    """`change` 1.2: a fifth slower than the baseline."""

    change: float
    low: float
    high: float
    spread: float
    """Of the new values: half the width between quartiles, as a share of the median."""
    verdict: Verdict


def compare(
    base: Sequence[float], now: Sequence[float], allowed: float | None, rng: np.random.Generator
) -> Compared:
    """`allowed`: slowdown that passes, as it may come from another machine or compiler: 0.08. None
    is told and not judged.

    `slower`: even the lower end of the interval is beyond it. `undecided`: not so, but the upper
    end is beyond `RELEVANT` too. `ValueError` for too few values, or one that is not above 0.
    """
    before, after = _logs(base, "baseline"), _logs(now, "new")
    change = float(np.median(after) - np.median(before))
    draws = _medians(after, rng) - _medians(before, rng)
    tail = (1 - LEVEL) / 2
    low, high = (float(np.exp(np.quantile(draws, q))) for q in (tail, 1 - tail))
    verdict: Verdict
    if allowed is None:
        verdict = "not judged"
    elif low > 1 + allowed:
        verdict = "slower"
    elif high < 1 / (1 + allowed):
        verdict = "faster"
    else:
        verdict = "undecided" if high > 1 + max(RELEVANT, allowed) else "same"
    return Compared(float(np.exp(change)), low, high, spread(now), verdict)


def spread(values: Sequence[float]) -> float:
    """Half the width between quartiles, as a share of the median."""
    first, median, third = np.quantile(np.asarray(values, np.float64), (0.25, 0.5, 0.75))
    return float((third - first) / 2 / median)


def half_width(values: Sequence[float], rng: np.random.Generator) -> float:
    """Of the median's own interval, as a share: whether more measurements are worth it."""
    draws = _medians(_logs(values, "new"), rng)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return float(np.exp((high - low) / 2) - 1)


def _logs(values: Sequence[float], which: str) -> NDArray[np.float64]:
    found = np.asarray(values, np.float64)
    if found.size < FEWEST:
        raise ValueError(f"{which}: {found.size} values (allowed: at least {FEWEST})")
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError(f"{which}: {found.tolist()} (allowed: finite values above 0)")
    return np.log(found)


def _medians(logs: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    drawn = logs[rng.integers(0, logs.size, (DRAWS, logs.size))]
    medians: NDArray[np.float64] = np.median(drawn, axis=1)
    return medians
