"""Is run B different from run A, or is it noise? Block bootstrap in time.

Messages of one second share their queue, their broker and their outage, so that resampling single
messages makes intervals many times too narrow. Blocks of whole seconds are drawn instead (Künsch,
"The jackknife and the bootstrap for general stationary observations", Ann. Stat. 17, 1989; blocks
do not overlap: Carlstein, Ann. Stat. 14, 1986), within each phase, because a surge is no sample of
a calm. An interval says what another drawing of the same run's seconds could have given. It does
not say what another machine, or tomorrow's cloud, would.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.grid import quantiles_ms

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEAST_BLOCKS = 8
"""With fewer there is no interval: a bootstrap of a handful of blocks is not one."""
LEAST_OF_A_PHASE = 4
"""Where a phase has fewer blocks, all phases are drawn from together: that is wider, never too
narrow."""
ROUNDS = 1000

PERCENTILES = (50.0, 95.0, 99.0)

Judgement = Literal["worse", "better", "same", "unknown"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both runs."""

    name: str
    """`latency_ms{stage:acknowledged}`"""
    aggregate: str
    """`p95`, `share`, `rate`, `value`"""
    unit: str
    a: float | None
    b: float | None
    """None: not measured."""
    difference: float | None
    """`b - a`"""
    low: float | None
    high: float | None
    """Interval of the difference; None where there are too few blocks, or no record in time."""
    judgement: Judgement
    """`same`: the interval holds 0, no difference was shown. `unknown`: there is no interval."""


class Sampled(NamedTuple):
    """One run, resampled: which blocks make up each round."""

    weights: FloatArray
    """`[rounds, slots]`: how often a slot was drawn. Row 0 is the run as it was."""
    blocks: int


def blocks_of(slots: int, strata: Sequence[int], length: int) -> list[IntArray]:
    """`strata` [slots]: the phase of each slot. Each block is `length` slots of one phase; a rest
    shorter than half a block joins the block before it.

    Answers `[slots]`-index arrays.
    """
    found = []
    phases = np.asarray(strata)
    begins = [0, *(np.flatnonzero(np.diff(phases)) + 1).tolist(), slots]
    for begin, end in pairwise(begins):
        starts = list(range(begin, end, length))
        if len(starts) > 1 and 2 * (end - starts[-1]) < length:
            starts.pop()
        found += [
            np.arange(at, until)
            for at, until in zip(starts, [*starts[1:], end], strict=True)
            if until > at
        ]
    return found


def resample(
    slots: int,
    strata: Sequence[int],
    length: int,
    rng: np.random.Generator,
    rounds: int = ROUNDS,
) -> Sampled:
    """Draw blocks with replacement, each phase from its own."""
    blocks = blocks_of(slots, strata, length)
    phases = np.asarray(strata)
    if min(Counter(int(phases[block[0]]) for block in blocks).values()) < LEAST_OF_A_PHASE:
        phases = np.zeros(slots, np.int64)
        blocks = blocks_of(slots, phases.tolist(), length)
    weights = np.zeros((rounds + 1, slots))
    weights[0] = 1
    for phase in dict.fromkeys(phases[block[0]] for block in blocks):
        mine = [block for block in blocks if phases[block[0]] == phase]
        drawn = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=rounds)
        for k, block in enumerate(mine):
            weights[1:, block] = drawn[:, k, None]
    return Sampled(weights, len(blocks))


def quantile_rounds(sampled: Sampled, counts: IntArray, percentiles: Sequence[float]) -> FloatArray:
    """`[rounds + 1, percentiles]` in ms from a stage's `[slots, bins]`; row 0 is the run itself."""
    used = np.flatnonzero(counts.any(axis=0))
    if not len(used):
        return np.full((len(sampled.weights), len(percentiles)), np.nan)
    first, last = int(used[0]), int(used[-1]) + 1
    drawn = sampled.weights @ counts[:, first:last].astype(np.float64)
    return quantiles_ms(drawn, np.asarray(percentiles) / 100, first)


def ratio_rounds(sampled: Sampled, over: FloatArray, under: FloatArray) -> FloatArray:
    """`[rounds + 1]`: sum of `over` by sum of `under`, arrays [slots]; NaN where that is 0."""
    top, bottom = sampled.weights @ over, sampled.weights @ under
    out = np.full(len(top), np.nan)
    found: FloatArray = np.divide(top, bottom, out=out, where=bottom > 0)
    return found


def row(
    name: str,
    aggregate: str,
    unit: str,
    a: FloatArray,
    b: FloatArray,
    *,
    lower_is_better: bool,
    enough: bool,
    confidence: float = 0.95,
) -> Row:
    """`a` and `b`: [rounds + 1] of each run; row 0 are the runs themselves. The interval is the
    bootstrap's percentile interval of the differences, whose rounds are independent."""
    one, two = _known(a[0]), _known(b[0])
    difference = two - one if one is not None and two is not None else None
    low = high = None
    judgement: Judgement = "unknown"
    if difference is not None and enough:
        differences = (b - a)[1:]
        tail = (1 - confidence) / 2
        low, high = (float(q) for q in np.nanquantile(differences, [tail, 1 - tail]))
        judgement = "same"
        if low > 0 or high < 0:
            judgement = "worse" if (low > 0) == lower_is_better else "better"
    return Row(
        name=name,
        aggregate=aggregate,
        unit=unit,
        a=one,
        b=two,
        difference=difference,
        low=low,
        high=high,
        judgement=judgement,
    )


def single(name: str, unit: str, a: float | None, b: float | None) -> Row:
    """A figure that each run has once: the difference, and no interval."""
    both = a is not None and b is not None
    return Row(
        name=name,
        aggregate="value",
        unit=unit,
        a=a,
        b=b,
        difference=b - a if both and a is not None and b is not None else None,
        low=None,
        high=None,
        judgement="unknown",
    )


class Condition(NamedTuple):
    """One `--fail-on`."""

    text: str
    metric: str
    """Empty: any."""
    aggregate: str
    percent: float
    """How much worse it may get, in percent of A."""


def parse_condition(text: str) -> Condition:
    """`worse` (anything), `METRIC`, `METRIC.AGGREGATE`, each with `>N%` or without.

    `ValueError` says what is allowed.
    """
    allowed = (
        "allowed: worse, METRIC or METRIC.AGGREGATE, with >N% or without, as"
        " 'latency_ms{stage:acknowledged}.p95>10%'"
    )
    name, more, change = text.strip().partition(">")
    percent = 0.0
    if more:
        try:
            percent = float(change.strip().removesuffix("%"))
        except ValueError:
            raise ValueError(f"{text!r}: {change.strip()!r} is not N% ({allowed})") from None
        if not change.strip().endswith("%") or not 0 <= percent < np.inf:
            raise ValueError(f"{text!r}: {change.strip()!r} is not N% ({allowed})")
    name = name.strip()
    if not name:
        raise ValueError(f"{text!r}: no metric ({allowed})")
    if name == "worse":
        return Condition(text, "", "", percent)
    # `p99.9` has a dot of its own: the aggregate begins at the first one after the tags.
    tags, brace, rest = name.rpartition("}")
    bare, _, aggregate = rest.partition(".")
    return Condition(text, f"{tags}{brace}{bare}", aggregate, percent)


def broken(condition: Condition, rows: Sequence[Row]) -> list[Row]:
    """Rows that are shown to be worse by more than the condition allows: their whole interval is.

    `ValueError` when no row is what the condition is about, or none of these has an interval:
    nothing was found out then, and that is no success.
    """
    about = [
        row
        for row in rows
        if condition.metric in ("", row.name) and condition.aggregate in ("", row.aggregate)
    ]
    if not about:
        known = ", ".join(dict.fromkeys(row.name for row in rows))
        raise ValueError(f"--fail-on {condition.text!r}: no such figure (there are: {known})")
    if all(row.judgement == "unknown" for row in about):
        raise ValueError(
            f"--fail-on {condition.text!r}: no interval, so nothing can be said"
            f" (a run needs {LEAST_BLOCKS} blocks; try longer runs or a shorter --block)"
        )
    return [row for row in about if row.judgement == "worse" and _beyond(row, condition.percent)]


def _beyond(row: Row, percent: float) -> bool:
    """Whether even the end of the interval that is nearer to 0 lies beyond the allowance."""
    if row.low is None or row.high is None or row.a is None:
        return False
    return min(abs(row.low), abs(row.high)) > abs(row.a) * percent / 100


def strata_of(phases: Sequence[tuple[float, float]], slots: int, slot_s: float) -> list[int]:
    """Phase of each slot by its middle; what comes after the last phase belongs to it."""
    middles = (np.arange(slots) + 0.5) * slot_s
    starts = np.array([start for start, _ in phases] or [0.0])
    found: list[int] = np.maximum(np.searchsorted(starts, middles, side="right") - 1, 0).tolist()
    return found


def judged(rows: Sequence[Row]) -> Mapping[Judgement, int]:
    """How many rows came out how."""
    counts: dict[Judgement, int] = {"worse": 0, "better": 0, "same": 0, "unknown": 0}
    for each in rows:
        counts[each.judgement] += 1
    return counts


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
