"""Beliefs: the fold's indifference to order, fading, hysteresis."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.contract.tables import USUAL, Observation
from telemetry_processor import spots
from telemetry_processor.spots import SpotState


def look(ts: int, llr: float = 2.0, vin: str = "V", seq: int | None = None) -> Observation:
    return Observation(ts, vin, ts if seq is None else seq, llr)


def merged(state: SpotState, *looks: Observation, run: str = "r") -> SpotState:
    return spots.merge(state, ((run, item) for item in looks)) or state


EMPTY = SpotState("r", ())


class TestBelief:
    def test_nothing_seen_is_unknown(self) -> None:
        belief = spots.belief(EMPTY)
        assert (belief.state, belief.p_occupied, belief.observations) == ("unknown", 0.5, 0)

    def test_one_look_decides_and_two_are_surer(self) -> None:
        one = spots.belief(merged(EMPTY, look(1)))
        two = spots.belief(merged(EMPTY, look(1), look(2)))
        assert one.state == two.state == "occupied"
        assert two.p_occupied > one.p_occupied > 0.85
        assert two.last_seen_ms == 2

    def test_contrary_looks_turn_a_confirmed_belief(self) -> None:
        state = merged(EMPTY, *(look(ts) for ts in range(1, 9)))
        assert spots.belief(state).p_occupied < 0.995  # bounded, or it could not be turned
        turned = merged(state, *(look(ts, -2.0) for ts in range(9, 13)))
        assert spots.belief(turned).state == "free"

    def test_hysteresis_holds_a_state_through_a_weak_contradiction(self) -> None:
        state = merged(EMPTY, look(1, 2.0), look(2, -2.5))
        assert spots.belief(state).p_occupied == pytest.approx(0.53, abs=0.01)
        assert spots.belief(state).state == "unknown"
        state = merged(EMPTY, look(1, 2.0), look(2, -2.1))
        assert spots.belief(state).state == "occupied"  # p = 0.63: above 0.6, below 0.7
        below = spots.belief(merged(EMPTY, look(1, -0.1)))
        assert below.p_occupied == pytest.approx(0.63, abs=0.01)
        assert below.state == "unknown"  # the same p, with nothing before it

    def test_old_looks_fade_towards_the_usual_occupancy(self) -> None:
        day = 86_400_000
        for sign in (2.0, -2.0):
            faded = spots.belief(merged(EMPTY, look(1, sign), look(1 + day, 0.0)))
            assert faded.p_occupied == pytest.approx(USUAL, abs=1e-4)
        fresh = spots.belief(merged(EMPTY, look(1, -2.0), look(2, 0.0)))
        assert fresh.p_occupied == pytest.approx(
            1 / (1 + math.exp(2.0) * (1 - USUAL) / USUAL), abs=1e-3
        )

    def test_a_call_ends_before_the_next_look_when_it_has_faded(self) -> None:
        weak = look(60 * 60_000, 0.3)
        kept = spots.belief(merged(EMPTY, look(1, -2.5), look(60_000, 0.3)))
        assert kept.state == "free"
        assert spots.belief(merged(EMPTY, look(1, -2.5), weak)).state == "unknown"

    def test_a_repeated_look_changes_nothing(self) -> None:
        state = merged(EMPTY, look(1), look(2))
        assert spots.merge(state, [("r", look(2)), ("r", look(1))]) is None

    def test_a_newer_run_begins_anew_and_an_older_one_is_ignored(self) -> None:
        state = merged(EMPTY, look(1), look(2), run="run-b")
        assert spots.merge(state, [("run-a", look(3))]) is None
        anew = merged(state, look(1, -2.0), run="run-c")
        assert anew == SpotState("run-c", (look(1, -2.0),))

    @settings(deadline=None)
    @given(
        st.lists(
            st.builds(
                look,
                st.integers(0, 40).map(lambda n: n * 10_000),
                st.sampled_from([-1.992, 1.992, 0.4]),
                st.sampled_from(["A", "B"]),
            ),
            min_size=1,
            max_size=30,
            unique_by=lambda item: (item.vin, item.seq),
        ),
        st.randoms(use_true_random=False),
        st.lists(st.integers(1, 5), min_size=1),
    )
    def test_any_order_and_any_cut_end_the_same(self, looks, random, cuts) -> None:  # type: ignore[no-untyped-def]
        once = merged(EMPTY, *looks)
        state = EMPTY
        left = looks + [random.choice(looks) for _ in range(5)]
        random.shuffle(left)
        for size in itertools.cycle(cuts):
            batch, left = left[:size], left[size:]
            state = merged(state, *batch)
            if not left:
                break
        assert state == once
        assert spots.belief(state) == spots.belief(once)
        assert len(state.recent) == min(len(looks), spots.RECENT)
