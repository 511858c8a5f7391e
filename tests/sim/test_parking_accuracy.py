"""The deployed processor's map against the truth of a small city: `fleet-sim bench parking`."""

import pytest

from fleet_sim.engine.parking import FIXES, MAP, PERFECT, UNMATCHED, Case, Result, drive
from fleet_sim.engine.parking_page import page, parts, rows


@pytest.fixture(scope="module")
def driven() -> Result:
    """A quarter of an hour with a vehicle past each kerb every two minutes."""
    return drive(Case(penetration=0.24, hours=1 / 12, warm_up_h=1 / 6, seed=4), ablate=True)


def test_the_map_is_right_of_what_it_calls(driven: Result) -> None:
    score = driven.scores[MAP]
    assert score.answered > 0.75
    assert score.right is not None
    assert score.right > 0.88
    assert score.calibration_error < 0.06


def test_matching_is_what_makes_it_right(driven: Result) -> None:
    assert driven.scores[MAP].brier < driven.scores[UNMATCHED].brier
    assert driven.scores[MAP].brier < driven.scores[FIXES].brier - 0.02
    assert driven.scores[PERFECT].brier < driven.scores[MAP].brier


def test_the_page_says_what_was_driven(driven: Result) -> None:
    head, row = rows([driven])
    assert dict(zip(head, row, strict=True))["passes/h"] == f"{driven.passes_per_h:.1f}"
    assert driven.passes_per_h > 10
    text = page([driven])
    assert all(" | ".join(line) in text for line in (row, *parts(driven)))
