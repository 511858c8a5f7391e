"""Where cars park, learnt from passes: the legal kerb where nobody has mapped it.

A legal metre fills and empties; a driveway, a hydrant or a corner hardly ever has a car, and the
kerb of a no-parking side never. So the share of passes that met something near tells them apart,
once enough of them have gone by (weighted occupancy: Coric and Gruteser, 2013). How often a metre
is taken differs from place to place (a beta-binomial each for legal and illegal kerb), passes
that follow each other meet the same cars, and legal kerb comes in runs: a Markov chain along it,
whose posterior is found forward and backward. Fixes blur it by some metres: a single driveway
between stalls is too short to be told.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

LEGAL_BETA, ILLEGAL_BETA = (0.9, 1.0), (0.2, 2.0)
"""Of the share of passes that meet something near: legal kerb from never to nearly always, as cars
stay for hours; illegal kerb hardly ever, but fixes blur cars into it. About what four hours in a
generated city gave (seed 1)."""
ENOUGH_PASSES = 8.0
"""More of them within some hours meet the same cars again and add nothing (assumption)."""
WEIGHT = 0.4
"""Of a metre's evidence: one look is worth 2.5 m of kerb."""
BEGINS, ENDS = 0.03, 0.06
"""Chance a metre that legal kerb begins, and that it ends: runs of 17 m, a third of all kerb."""
AT_CROSSING = 0.1
"""Chance that an edge's first metre is legal."""
MIN_PASSES = 5.0
"""A metre with fewer is unknown."""


class Pass(NamedTuple):
    """What one pass met beside each metre of kerb: [m]."""

    cell: IntArray
    """Which metre, by the fixes."""
    near: FloatArray
    """Share of the metre beside something near, 0-1."""
    passed: FloatArray
    """Share of the metre that was passed, 0-1."""


class Learned(NamedTuple):
    """What passes say of each metre of kerb, [cells]."""

    legal: FloatArray
    """Probability that cars may park there, 0-1."""
    passes: FloatArray

    @property
    def known(self) -> BoolArray:
        return self.passes >= MIN_PASSES

    @property
    def called(self) -> BoolArray:
        """Where cars park; False where too few passes were."""
        return self.known & (self.legal > 0.5)


def learn(passes: list[Pass], first: IntArray, cells: int) -> Learned:
    """Estimate from passes of `cells` metres of kerb; `first` [edges]: the first one of each edge,
    whose metres follow each other. `ValueError` for a cell that is none."""
    near, count = np.zeros(cells), np.zeros(cells)
    for item in passes:
        if item.cell.size and not 0 <= item.cell.min() <= item.cell.max() < cells:
            raise ValueError(
                f"learn: a pass has cells {item.cell.min()} to {item.cell.max()} "
                f"(allowed: 0 to {cells - 1})"
            )
        np.add.at(near, item.cell, item.near)
        np.add.at(count, item.cell, item.passed)
    share = np.minimum(1.0, ENOUGH_PASSES / np.maximum(count, 1e-9))
    hits, looks = near * share, count * share
    evidence = WEIGHT * (_marginal(hits, looks, LEGAL_BETA) - _marginal(hits, looks, ILLEGAL_BETA))
    return Learned(_runs(evidence, first), count)


def _marginal(hits: FloatArray, looks: FloatArray, beta: tuple[float, float]) -> FloatArray:
    """Log-probability of so many hits (beta-binomial, without the count of orders)."""
    return np.asarray(betaln(hits + beta[0], looks - hits + beta[1]) - betaln(*beta))


def _runs(evidence: FloatArray, first: IntArray) -> FloatArray:
    """Posterior of a chain of legal and illegal metres, each edge by itself."""
    n = evidence.size
    starts = np.zeros(n + 1, dtype=np.bool_)
    starts[first[first < n]] = True
    odds = np.exp(np.clip(evidence, -30.0, 30.0)).tolist()
    expected, seen = [0.0] * n, [0.0] * n
    p = 0.0
    for i in range(n):
        expected[i] = q = AT_CROSSING if starts[i] else p * (1 - ENDS) + (1 - p) * BEGINS
        p = seen[i] = q * odds[i] / (q * odds[i] + 1 - q)
    found = np.array(seen)
    for i in range(n - 2, -1, -1):
        if starts[i + 1]:
            continue
        legal, illegal = found[i + 1] / expected[i + 1], (1 - found[i + 1]) / (1 - expected[i + 1])
        found[i] *= (1 - ENDS) * legal + ENDS * illegal
    return found


class KerbScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A learnt kerb against the truth, metre by metre. Null: there is nothing to divide by."""

    metres: int
    known: float
    """Share of all metres with enough passes; the rest is of those."""
    legal: float | None
    """Share that is legal in truth."""
    precision: float | None
    """Of the metres called legal, the share that is."""
    recall: float | None
    """Of the legal metres, the share called so."""
    accuracy: float | None
    """Share of metres called what they are."""


def kerb_score(learned: Learned, truth: BoolArray) -> KerbScore:
    """`truth` [cells]: the metre belongs to a stall."""
    known, called = learned.known, learned.called
    n, hit = int(known.sum()), int((called & truth).sum())
    there, said = int((truth & known).sum()), int(called.sum())
    return KerbScore(
        metres=truth.size,
        known=n / truth.size if truth.size else math.nan,
        legal=there / n if n else None,
        precision=hit / said if said else None,
        recall=hit / there if there else None,
        accuracy=float((called == truth)[known].mean()) if n else None,
    )
