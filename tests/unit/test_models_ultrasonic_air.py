"""Sound in air against published figures."""

import numpy as np
import pytest

from fleet_sim.models.ultrasonic_air import (
    Air,
    absorption_db_per_m,
    speed_of_sound_mps,
    uncompensated_scale,
)


@pytest.mark.parametrize(
    ("khz", "celsius", "db_per_m"), [(48, 0, 0.56), (48, 20, 1.60), (58, 0, 0.72), (58, 20, 1.92)]
)
def test_absorption_is_iso_9613_1(khz: float, celsius: float, db_per_m: float) -> None:
    assert absorption_db_per_m(khz * 1e3, Air(celsius, 50.0)) == pytest.approx(db_per_m, abs=0.006)


def test_absorption_of_audible_sound_is_the_standards_table() -> None:
    """ISO 9613-2, table 2 (from part 1): 10 °C, 70 %: 9.7 dB/km at 2 kHz, 117 at 8 kHz."""
    air = Air(10.0, 70.0)
    assert 1e3 * absorption_db_per_m(2e3, air) == pytest.approx(9.7, rel=0.02)
    assert 1e3 * absorption_db_per_m(8e3, air) == pytest.approx(117.0, rel=0.02)


def test_sound_is_faster_in_warm_air() -> None:
    assert speed_of_sound_mps(np.array([0.0, 20.0])) == pytest.approx([331.4, 343.3], abs=0.1)


@pytest.mark.parametrize(("celsius", "percent"), [(-20, 7.6), (0, 3.6), (20, 0), (40, -3.25)])
def test_who_takes_the_air_for_20_degrees_reads_too_far_in_the_cold(
    celsius: float, percent: float
) -> None:
    assert 100 * (uncompensated_scale(celsius) - 1) == pytest.approx(percent, abs=0.05)


def test_impossible_weather_is_refused() -> None:
    with pytest.raises(ValueError, match=r"air.temperature_c: 80 \(allowed: -50..60\)"):
        Air(80)
    with pytest.raises(ValueError, match=r"air.humidity_pct: 0 \(allowed: 1..100\)"):
        Air(20.0, 0)
