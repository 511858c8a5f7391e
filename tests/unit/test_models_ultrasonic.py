"""The ranging sensor's noise, its blind ends and its footprint."""

import numpy as np
import pytest

from fleet_sim.models.ultrasonic import (
    NO_ECHO_CM,
    QUIET_MPS,
    RELIABLE_SNR_DB,
    ULTRASONIC,
    ULTRASONICS,
    UltrasonicPreset,
    detection_probability,
    footprint_half_m,
    measure_cm,
    noise_db,
    snr_db,
    ultrasonic,
)
from fleet_sim.models.ultrasonic_air import Air, absorption_db_per_m
from fleet_sim.models.ultrasonic_surface import (
    CAR_SPREAD_DB,
    FLANK_RADIUS_M,
    body_strength_db,
    patch_draws,
    patch_of,
    spread_loss_db,
)

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


@pytest.mark.parametrize(("incidence", "missed"), [(0, 0.02), (12, 0.02), (17.5, 0.26), (25, 0.5)])
def test_dropout_grows_from_2_percent_to_half_where_a_flank_is_oblique(
    incidence: float, missed: float
) -> None:
    reading = measure_cm(
        np.full(N, 1.5), np.random.default_rng(7), incidence_deg=np.full(N, float(incidence))
    )
    assert (reading == NO_ECHO_CM).mean() == pytest.approx(missed, abs=0.01)


@pytest.mark.parametrize("name", ULTRASONICS)
def test_a_flat_target_at_the_maximum_range_is_3_to_1_above_the_noise_at_20_degrees(
    name: str,
) -> None:
    preset = ultrasonic(name)
    assert snr_db(np.array([preset.max_m]), 0.0, preset, Air(20.0)) == pytest.approx(
        RELIABLE_SNR_DB
    )


def test_doubling_the_range_costs_6_db_and_the_airs_share() -> None:
    air = Air(0.0)
    near, far = snr_db(np.array([1.0, 2.0]), 0.0, ULTRASONIC, air)
    assert near - far == pytest.approx(6.02 + 2 * absorption_db_per_m(48e3, air), abs=0.01)


def test_a_weak_target_is_lost_in_the_distance_and_in_humid_heat_sooner() -> None:
    at = np.array([1.2, 4.9])
    air = Air(20.0)
    flat = detection_probability(at, air=air)
    pole = detection_probability(at, target_db=-15.0, air=air)
    assert flat == pytest.approx([0.98, 0.948], abs=0.005)
    assert pole[0] > 0.95
    assert pole[1] < 0.02
    hot = detection_probability(at, target_db=-3.0, air=Air(28.0))
    cold = detection_probability(at, target_db=-3.0, air=Air(0.0))
    assert cold[1] - hot[1] > 0.3


@pytest.mark.parametrize(("name", "bias"), [("parknet", 1.0555), ("hrxl_48k", 1.0)])
def test_only_a_sensor_without_a_thermometer_reads_too_far_in_the_cold(
    name: str, bias: float
) -> None:
    reading = measure_cm(
        np.full(N, 2.0), np.random.default_rng(8), ultrasonic(name), air=Air(-10.0)
    )
    assert np.median(reading[reading > 0]) == pytest.approx(200 * bias, abs=0.6)


def test_presets_say_where_their_figures_come_from() -> None:
    assert all(preset.source and preset.name == name for name, preset in ULTRASONICS.items())


def test_unknown_presets_and_impossible_figures_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"ultrasonic: 'sr04'.*allowed: hrxl_48k, parking_58k, parknet"
    ):
        ultrasonic("sr04")
    with pytest.raises(ValueError, match=r"ultrasonic 'x': dropout -0.1 \(allowed: 0..1\)"):
        UltrasonicPreset("x", "none", dropout=-0.1)
    with pytest.raises(ValueError, match=r"ultrasonic 'x': max_m 0.2 \(allowed: 0.4..20\)"):
        UltrasonicPreset("x", "none", max_m=0.2)


def test_shape_and_type_are_kept() -> None:
    reading = measure_cm(np.full((3, ULTRASONIC.rate_hz), 1.0), np.random.default_rng(6))
    assert reading.shape == (3, 20)
    assert reading.dtype == np.int16


def test_noise_grows_by_35_db_a_decade_of_speed_above_the_sensors_own() -> None:
    at_rest, quiet, tenfold = noise_db(np.array([0.0, QUIET_MPS, 10 * QUIET_MPS]))
    assert at_rest == 0.0
    assert quiet == pytest.approx(3.01, abs=0.01)
    assert tenfold == pytest.approx(35.0, abs=0.01)


def test_a_flank_within_parking_aids_reach_is_reliable_up_to_their_55_km_h() -> None:
    reach = np.array([1.5])
    level = snr_db(reach, -spread_loss_db(reach, FLANK_RADIUS_M)) - noise_db(55 / 3.6)
    assert RELIABLE_SNR_DB < level[0] < RELIABLE_SNR_DB + 2.0


def test_dropout_that_belongs_to_the_surface_strikes_the_same_places_each_time() -> None:
    answers = np.random.default_rng(1).random(N)
    first, second = (
        measure_cm(np.full(N, 1.0), np.random.default_rng(seed), answers=answers) == NO_ECHO_CM
        for seed in (2, 3)
    )
    assert (first == second).mean() > 0.98
    assert first[answers < 0.02].mean() > 0.98
    assert first[answers >= 0.02].mean() < 0.005


def test_patches_answer_at_random_but_always_alike() -> None:
    body = np.full(N, 12345)
    along = np.arange(N) * 0.5 + 0.25 - 3.0
    sensor = np.full(N, 0.9)
    answers, strength_db = patch_draws(patch_of(body, along), sensor)
    again = patch_draws(patch_of(body, along + 0.2), sensor)
    assert (again[0] == answers).all()
    assert (again[1] == strength_db).all()
    power = 10 ** (strength_db / 10)
    assert answers.mean() == pytest.approx(0.5, abs=0.01)
    assert power.mean() == pytest.approx(1.0, abs=0.02)
    # Exponential: its standard deviation is its mean.
    assert power.std() == pytest.approx(1.0, abs=0.03)
    for other in (
        patch_draws(patch_of(body, along), sensor + 1e-4),
        patch_draws(patch_of(body + 1, along), sensor),
        patch_draws(patch_of(body, along + 0.5), sensor),
    ):
        assert abs(np.corrcoef(answers, other[0])[0, 1]) < 0.02
        assert abs(np.corrcoef(answers, other[1])[0, 1]) < 0.02
    assert abs(np.corrcoef(answers, power)[0, 1]) < 0.02


def test_cars_differ_in_strength_and_keep_theirs() -> None:
    bodies = np.random.default_rng(1).standard_normal(N).view(np.int64)
    strength = body_strength_db(bodies)
    assert strength.mean() == pytest.approx(0.0, abs=0.1)
    assert strength.std() == pytest.approx(CAR_SPREAD_DB, rel=0.02)
    assert (body_strength_db(bodies[::-1]) == strength[::-1]).all()
