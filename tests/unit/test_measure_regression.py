"""A fifth slower is found, noise is not: over many simulated comparisons."""

import numpy as np
import pytest

from fleet_sim.measure.regression import Compared, compare, half_width

ALLOWED = 0.08
ROUNDS = 11
TRIALS = 150


def measured(rng: np.random.Generator, slower: float, noise: float, outliers: float) -> list[float]:
    """One session: its own bias of 2 %, noise, and rounds that a neighbour disturbed."""
    session = rng.normal(0, 0.02)
    values = np.exp(session + rng.normal(0, noise, ROUNDS)) * (1 + slower)
    disturbed = rng.random(ROUNDS) < outliers
    return list(np.where(disturbed, values * rng.uniform(1.2, 2.0, ROUNDS), values))


def share_slower(slower: float, noise: float, outliers: float) -> float:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(TRIALS):
        base = measured(rng, 0.0, noise, outliers)
        found += (
            compare(base, measured(rng, slower, noise, outliers), ALLOWED, rng).verdict == "slower"
        )
    return found / TRIALS


@pytest.mark.parametrize("outliers", [0.0, 0.1])
def test_noise_is_no_slowdown(outliers: float) -> None:
    assert share_slower(0.0, 0.04, outliers) <= 0.01


def test_wild_noise_claims_nothing() -> None:
    assert share_slower(0.0, 0.25, 0.2) <= 0.02


def test_a_fifth_slower_is_found() -> None:
    assert share_slower(0.20, 0.02, 0.0) >= 0.97


def test_a_fifth_slower_is_found_beside_a_neighbour() -> None:
    assert share_slower(0.20, 0.02, 0.1) >= 0.85


def test_what_cannot_be_excluded_is_undecided() -> None:
    rng = np.random.default_rng(1)
    base = [1.0, 1.01, 0.99, 1.0, 1.02]
    assert compare(base, [1.0, 1.5, 0.9, 1.3, 1.1], ALLOWED, rng).verdict == "undecided"
    assert compare(base, base, ALLOWED, rng).verdict == "same"
    faster = compare(base, [value / 1.5 for value in base], ALLOWED, rng)
    assert isinstance(faster, Compared)
    assert faster.verdict == "faster"
    assert faster.change == pytest.approx(1 / 1.5)
    assert half_width(base, rng) < 0.03 < half_width([1.0, 1.5, 0.9, 1.3, 1.1], rng)


@pytest.mark.parametrize("values", [[1.0] * 4, [1.0] * 4 + [0.0], [1.0] * 4 + [float("nan")]])
def test_too_few_or_wrong_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"new: .*allowed"):
        compare([1.0] * 5, values, ALLOWED, np.random.default_rng(0))
