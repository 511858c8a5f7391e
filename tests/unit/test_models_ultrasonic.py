"""The ranging sensor's noise, its blind ends and its footprint."""

import numpy as np
import pytest

from fleet_sim.models.ultrasonic import NO_ECHO_CM, ULTRASONIC, footprint_half_m, measure_cm

N = 40_000


def test_noise_is_5_mm_and_half_a_percent() -> None:
    reading = measure_cm(np.full(N, 4.0), np.random.default_rng(1))
    near = reading[(reading > 380) & (reading < 420)]
    # 5 mm + 0.5 % of 4 m, and rounding to whole centimetres (variance 1/12).
    assert near.std() == pytest.approx(np.hypot(2.5, np.sqrt(1 / 12)), rel=0.05)
    assert near.mean() == pytest.approx(400, abs=0.1)


def test_two_percent_of_echoes_are_missed_and_half_a_percent_are_stray() -> None:
    reading = measure_cm(np.full(N, 1.0), np.random.default_rng(2))
    assert (reading == NO_ECHO_CM).mean() == pytest.approx(0.02, abs=0.003)
    assert (reading > 110).mean() == pytest.approx(0.005 * 3.9 / 4.7, abs=0.0015)


def test_nothing_in_the_beam_reads_zero_but_for_cross_talk() -> None:
    reading = measure_cm(np.full(N, np.inf), np.random.default_rng(3))
    assert (reading != NO_ECHO_CM).mean() == pytest.approx(0.005, abs=0.0015)
    stray = reading[reading != NO_ECHO_CM]
    assert stray.min() >= 30
    assert stray.max() <= 500


def test_blind_zone_reads_as_minimum_and_beyond_the_range_is_no_echo() -> None:
    close = measure_cm(np.full(2000, 0.1), np.random.default_rng(4))
    assert np.median(close[close > 0]) == 30
    assert close[close > 0].min() == 30
    beyond = measure_cm(np.full(2000, 5.01), np.random.default_rng(5))
    assert (beyond == NO_ECHO_CM).mean() > 0.98


def test_footprint_at_2_m_is_107_cm() -> None:
    assert 2 * footprint_half_m(np.array([2.0]))[0] == pytest.approx(1.07, abs=0.005)


def test_shape_and_type_are_kept() -> None:
    reading = measure_cm(np.full((3, ULTRASONIC.rate_hz), 1.0), np.random.default_rng(6))
    assert reading.shape == (3, 20)
    assert reading.dtype == np.int16
