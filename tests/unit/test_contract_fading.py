"""What is left of a belief by now: the function that processor and API share."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.contract.fading import FORGOTTEN, as_of, faded, held, remaining
from fleet_sim.contract.tables import RELAX_S, USUAL, SpotBelief

SEEN = 1_780_000_000_000
MINUTE = 60_000.0


def belief(p: float, state: str, **more: float) -> SpotBelief:
    return SpotBelief("r", state, p, 3, SEEN, **more)  # type: ignore[arg-type]


def test_a_belief_decays_to_what_is_usual() -> None:
    free = belief(0.05, "free")
    assert as_of(free, SEEN) == free
    later = as_of(free, SEEN + RELAX_S * 1000)
    assert later.p_occupied == pytest.approx(USUAL - (USUAL - 0.05) / math.e, abs=1e-4)
    assert as_of(free, SEEN + 1000 * MINUTE).p_occupied == USUAL
    assert (later.observations, later.last_seen_ms) == (3, SEEN)
    assert faded(0.05, RELAX_S * 1000) == pytest.approx(later.p_occupied, abs=1e-4)


def test_a_stall_fades_as_its_own_turnover_says() -> None:
    quick = belief(0.05, "free", usual=0.9, relax_s=600.0)
    assert as_of(quick, SEEN + 30 * MINUTE).p_occupied == pytest.approx(0.9, abs=0.05)
    assert as_of(quick, SEEN + 7 * MINUTE).state == "unknown"
    assert as_of(belief(0.05, "free"), SEEN + 7 * MINUTE).state == "free"


def test_free_and_occupied_end_as_unknown() -> None:
    for sure in (belief(0.98, "occupied"), belief(0.03, "free")):
        states = [as_of(sure, SEEN + minutes * MINUTE).state for minutes in range(0, 240, 5)]
        change = states.index("unknown")
        assert set(states[:change]) == {sure.state}
        assert set(states[change:]) == {"unknown"}
        assert remaining(change * 5 * MINUTE) > FORGOTTEN - 0.1


def test_a_weak_belief_keeps_the_call_it_came_with() -> None:
    assert as_of(belief(0.63, "occupied"), SEEN + MINUTE).state == "occupied"
    assert as_of(belief(0.63, "unknown"), SEEN + MINUTE).state == "unknown"
    # What fades past a bound calls nothing: only a look does.
    assert held("unknown", 0.72, 0.9) == "unknown"
    assert held("unknown", 0.72) == "occupied"


def test_a_scenario_has_a_clock_of_its_own() -> None:
    ahead = belief(0.03, "free", ahead_ms=-3_600_000)
    assert as_of(ahead, SEEN + 3_600_000) == ahead
    assert as_of(ahead, SEEN + 3_600_000 + 45 * MINUTE).p_occupied > 0.4


def test_what_was_never_seen_and_what_comes_from_the_future_stay() -> None:
    assert as_of(SpotBelief(), SEEN) == SpotBelief()
    sure = belief(0.98, "occupied")
    assert as_of(sure, SEEN - 1e9) == sure


@given(st.floats(0, 1), st.floats(0, 1e8), st.floats(0, 1e8))
def test_fading_twice_is_fading_once(p: float, first: float, second: float) -> None:
    assert faded(faded(p, first), second) == pytest.approx(faded(p, first + second), abs=1e-9)
