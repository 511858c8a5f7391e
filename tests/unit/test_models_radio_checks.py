"""Small samples of `validation/radio.py`, and its measurements against what they must catch."""

import numpy as np
import pytest

from fleet_sim.models import RADIOS
from fleet_sim.validation import _radio_links as links
from fleet_sim.validation import _radio_sessions as sessions
from fleet_sim.validation import radio
from fleet_sim.validation.check import Check
from fleet_sim.vehicle import Backoff, Session

CHECKS = {check.id: check for check in radio.CHECKS}


def test_every_check_of_connectivity_is_there() -> None:
    assert [check.id for check in radio.CHECKS] == [f"radio.{i}" for i in range(1, 10)]


@pytest.mark.parametrize(
    ("check", "scale"),
    [
        (CHECKS["radio.2"], 0.15),
        (CHECKS["radio.3"], 0.1),
        (CHECKS["radio.4"], 0.05),
        (CHECKS["radio.5"], 0.05),
        (CHECKS["radio.6"], 0.1),
    ],
    ids=lambda value: value.id if isinstance(value, Check) else None,
)
def test_a_small_sample_passes(check: Check, scale: float) -> None:
    outcome = check.measure(scale)
    assert outcome.passed, outcome.measured


def test_exponential_outages_would_fail() -> None:
    lengths = links.outages_standing(RADIOS["lte_simple"], 4000, 100.0, 1)
    cv, p_value = radio.variation(lengths)
    assert cv < 1.2
    cv, p_value = radio.variation(np.random.default_rng(1).exponential(4.0, 2000))
    assert p_value > 0.001


def test_no_jitter_is_no_better_than_no_jitter() -> None:
    plain = sessions.attempts_s(500, Backoff(jitter="none"), 30.0, 1)
    assert radio.peak_per_s(plain, 30.0) == 500
    assert sorted(set(plain)) == [1.0, 3.0, 7.0, 15.0, 31.0]


class _Forgetful(Session):
    """Drops what is unacknowledged when it comes back."""

    def accepted(
        self, now_s: float, *, session_present: bool, receive_maximum: int = 65_535
    ) -> None:
        self._inflight.clear()
        super().accepted(now_s, session_present=session_present, receive_maximum=receive_maximum)


class _Hasty(Session):
    """Sends what it stored, the last one first."""

    def accepted(
        self, now_s: float, *, session_present: bool, receive_maximum: int = 65_535
    ) -> None:
        super().accepted(now_s, session_present=session_present, receive_maximum=receive_maximum)
        self._store.reverse()


def test_a_session_that_forgets_or_reorders_is_found_out() -> None:
    args = (RADIOS["rural"], 12, 900.0, 7)
    sound = sessions.drive_sessions(*args)
    assert (sound.lost, sound.disordered) == (0, 0)
    assert sound.cuts > 20
    assert sessions.drive_sessions(*args, _Forgetful).lost > 0
    assert sessions.drive_sessions(*args, _Hasty).disordered > 0


def test_the_same_places_are_bad_on_every_pass() -> None:
    same, other = radio.repeat_correlation(RADIOS["rural"], 2000, 300.0)
    assert same > 0.25  # few passes: the rest is chance
    assert abs(other) < 0.1
