"""The deployed processor's map against the truth of a small city: `fleet-sim bench parking`."""

import pytest

from fleet_sim.engine.bench.kerb import learn_kerb, places
from fleet_sim.engine.bench.parking import (
    FIXES,
    MAP,
    PERFECT,
    UNMATCHED,
    Case,
    Result,
    drive,
    scenario_of,
)
from fleet_sim.engine.bench.parking_page import kerbs, page, parts, rows
from fleet_sim.world import World


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


def test_what_a_vehicle_has_just_passed_is_right_and_ages(driven: Result) -> None:
    assert driven.at_pass.occupancy > 0.95
    assert driven.at_pass.counts > 0.95
    assert driven.at_pass.occupancy > driven.scores[MAP].occupancy + 0.03
    assert 60 < driven.median_age_s < driven.late_age_s


def test_passes_tell_where_cars_may_park() -> None:
    result = learn_kerb(Case(penetration=0.24, hours=0.2, seed=4))
    score = result.score
    assert result.passes_per_h > 20
    assert score.precision is not None
    assert score.precision > 0.8
    assert score.recall is not None
    assert score.recall > 0.6
    (head, row) = kerbs([result])
    assert dict(zip(head, row, strict=True))["precision"] == f"{100 * score.precision:.1f} %"


def test_every_metre_of_kerb_is_a_place_and_stalls_are_the_legal_ones() -> None:
    city = World(scenario_of(Case(seed=4), 1)).city
    registry, legal = places(city)
    assert len(registry.spots) == legal.size == city.stalls.cell_stall.size
    assert legal.sum() == pytest.approx(city.stalls.length.sum(), rel=0.02)


def test_matching_is_what_makes_it_right(driven: Result) -> None:
    assert driven.scores[MAP].brier < driven.scores[UNMATCHED].brier
    assert driven.scores[MAP].brier < driven.scores[FIXES].brier - 0.02
    assert driven.scores[PERFECT].brier < driven.scores[MAP].brier


def test_the_page_says_what_was_driven(driven: Result) -> None:
    head, row = rows([driven])
    assert dict(zip(head, row, strict=True))["passes/h"] == f"{driven.passes_per_h:.1f}"
    assert driven.passes_per_h > 10
    text = page([driven], [])
    assert all(" | ".join(line) in text for line in (row, *parts(driven)))
