"""Legal kerb from passes: a made-up street of which everything is known."""

import numpy as np
import pytest

from fleet_sim.measure.kerb import Learned, Pass, kerb_score, learn

CELLS = 100
LEGAL = np.zeros(CELLS, dtype=np.bool_)
LEGAL[9:36] = LEGAL[48:80] = True
ONE_EDGE = np.array([0])


def passes(n: int, taken: float = 0.6, blur: int = 2, seed: int = 1) -> list[Pass]:
    """Each pass meets another draw of cars of 5 m, and lies `blur` m off at most."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        near = np.zeros(CELLS)
        for at in (*range(10, 35, 6), *range(49, 79, 6)):
            if rng.random() < taken:
                near[at : at + 5] = 1.0
        near = np.roll(near, int(rng.integers(-blur, blur + 1)))
        made.append(Pass(np.arange(CELLS), near, np.ones(CELLS)))
    return made


def test_rows_are_found_and_the_corner_between_them() -> None:
    learned = learn(passes(20), ONE_EDGE, CELLS)
    score = kerb_score(learned, LEGAL)
    assert score.known == 1.0
    assert score.precision is not None
    assert score.precision > 0.9
    assert score.recall is not None
    assert score.recall > 0.93
    assert not learned.called[:6].any()
    assert not learned.called[40:44].any()


def test_a_stall_that_was_never_taken_belongs_to_its_row() -> None:
    made = passes(12)
    for item in made:
        item.near[20:28] = 0.0
    alone = [item._replace(near=np.where(np.arange(CELLS) == 60, 1.0, 0.0)) for item in made]
    with_row = learn(made, ONE_EDGE, CELLS).legal[24]
    without = learn(alone, ONE_EDGE, CELLS).legal[24]
    assert with_row > 5 * without


def test_few_passes_say_nothing() -> None:
    learned = learn(passes(4), ONE_EDGE, CELLS)
    assert not learned.known.any()
    assert not learned.called.any()
    score = kerb_score(learned, LEGAL)
    assert (score.known, score.legal, score.precision, score.recall) == (0.0, None, None, None)


def test_an_edge_tells_its_neighbour_nothing() -> None:
    full = [item._replace(near=np.where(np.arange(CELLS) < 50, 1.0, 0.0)) for item in passes(6)]
    thin = [item._replace(passed=np.where(np.arange(CELLS) < 50, 1.0, 0.0)) for item in full]
    whole = learn(thin, ONE_EDGE, CELLS).legal
    cut = learn(thin, np.array([0, 50]), CELLS).legal
    assert whole[50] > 0.9 * whole[49] > 0.5
    assert cut[50] < 0.2
    assert cut[20] == pytest.approx(whole[20], abs=0.01)
    behind = [Pass(CELLS - 1 - item.cell, item.near, item.passed) for item in thin]
    assert learn(behind, ONE_EDGE, CELLS).legal[49] > 0.5
    assert learn(behind, np.array([0, 50]), CELLS).legal[49] < 0.4


def test_scores_by_hand() -> None:
    learned = Learned(np.array([0.9, 0.9, 0.1, 0.2, 0.9]), np.array([9.0, 9, 9, 9, 2]))
    score = kerb_score(learned, np.array([True, False, True, False, True]))
    assert (score.metres, score.known, score.legal) == (5, 0.8, 0.5)
    assert (score.precision, score.recall, score.accuracy) == (0.5, 0.5, 0.5)


def test_a_metre_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cells 0 to 99 \(allowed: 0 to 49"):
        learn(passes(1), ONE_EDGE, 50)
