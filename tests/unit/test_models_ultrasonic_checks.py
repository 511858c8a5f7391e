"""Small samples of the sensor's validation, and its detector and map by hand."""

import numpy as np
import pytest

from fleet_sim.models.gnss import STREET
from fleet_sim.validation import _parking_map as parking
from fleet_sim.validation import ultrasonic, ultrasonic_parking
from fleet_sim.validation._detectors import Dips, Looks, find_dips, judge, judge_share
from fleet_sim.validation._drive_by import KMH, OCCUPANCY, Passes, Street, drive
from fleet_sim.validation._matching import Matcher, carry


def passes(near: str, spacing_m: float, error_m: float = 0.0) -> Passes:
    """One pass along edge 0; `#`: a car at 1.2 m, `+`: something at 3 m, `.`: no echo."""
    cm = np.array([[{"#": 120, "+": 300, ".": 0}[c] for c in near]], dtype=np.int16)
    s = spacing_m * np.arange(len(near), dtype=np.float64)[None]
    return Passes(
        np.zeros(1, dtype=np.int64), spacing_m, s, cm, np.full(s.shape, error_m), np.ones(1)
    )


def test_a_dip_is_near_and_wide_enough() -> None:
    found = find_dips(passes("..######..#####...++++++++..#######", 0.42 + 1e-6, error_m=2.0))
    assert found.width_m == pytest.approx([6 * 0.42, 7 * 0.42], abs=1e-4)
    assert found.centre_m == pytest.approx([4.5 * 0.42 + 2, 31 * 0.42 + 2], abs=1e-4)
    assert find_dips(passes("..###.###..", 0.5)).row.size == 0
    assert find_dips(passes("..###.###..", 0.5), bridge=1).width_m == pytest.approx([3.5])
    assert find_dips(passes("..###..###..", 0.5), bridge=1).row.size == 0
    assert find_dips(passes("..###..###..", 0.5), bridge=2).width_m == pytest.approx([4.0])


def test_a_stall_is_taken_when_a_dip_covers_it_for_the_threshold() -> None:
    street = Street((2, 2), 0.0, 1)
    stalls = street.city.stalls
    last = int(stalls.first[1])
    follows = np.isclose(np.diff(stalls.offset[:last]), stalls.length[0])
    first = int(np.flatnonzero(follows)[0])
    border = float(stalls.offset[first] + stalls.length[first] / 2)
    run = passes("....", 1.0)

    def taken(centre: float, width: float) -> list[int]:
        one = np.zeros(1, dtype=np.int64)
        looks = judge(street, run, Dips(one, np.array([centre]), np.array([width])))
        assert looks.stall.tolist() == list(range(last))
        return np.flatnonzero(looks.occupied).tolist()

    assert taken(stalls.offset[first], 4.8) == [first]
    assert taken(border, 5.2) == [first, first + 1]
    assert taken(border - 0.2, 5.2) == [first]
    assert taken(border, 5.0) == []


def test_sound_in_air_and_bias_in_the_cold() -> None:
    assert ultrasonic.air(1.0).passed
    assert ultrasonic.cold_bias(0.1).passed


def test_a_car_looks_as_long_as_it_is_plus_the_footprint_at_any_speed() -> None:
    outcome = ultrasonic.apparent_length(0.1)
    assert outcome.passed, outcome.measured


@pytest.fixture(scope="module")
def street() -> Street:
    return Street((8, 8), OCCUPANCY, 3)


def test_what_a_single_pass_gets_wrong(street: Street) -> None:
    """Full sample in `make validate`. Ranges: twice the scatter between cities of this size."""
    dip, share = ("fix", "dip"), ("fix", "share")
    alone = ultrasonic_parking._errors([street], 30, None, (dip, ("fix", "bridged"), share))
    fixed = ultrasonic_parking._errors(
        [street], 30, STREET, (dip, ("matched", "dip"), ("matched", "share"))
    )
    matched = fixed["matched", "dip"]
    assert 0.06 < alone[dip] < 0.13
    assert alone[dip] > alone["fix", "bridged"] + 0.03 > alone[share] + 0.03
    assert alone[share] < 0.01
    assert alone[dip] + 0.02 < matched < fixed[dip] - 0.06
    assert fixed["matched", "share"] < matched - 0.04


@pytest.mark.parametrize("reception", [None, STREET])
def test_faster_is_worse(street: Street, reception: int | None) -> None:
    kind = ("fix", "dip")
    slow, fast = (
        ultrasonic_parking._errors([street], kmh, reception, (kind,))[kind] for kmh in (20, 50)
    )
    assert fast > slow + 0.04


def test_the_share_of_near_samples_counts_what_is_over_a_stalls_middle(street: Street) -> None:
    stalls = street.city.stalls
    middle = float(stalls.offset[0])
    s = middle + np.array([[-3.0, -2.3, -1.5, -0.5, 0.5, 1.5, 2.3, 3.0]])

    def judged(cm: list[int], shift: float = 0.0) -> tuple[bool, int]:
        run = Passes(
            np.zeros(1, dtype=np.int64),
            1.0,
            s - shift,
            np.array([cm], dtype=np.int16),
            np.full(s.shape, shift),
            np.ones(1),
        )
        looks = judge_share(street, run)
        at = np.flatnonzero(looks.stall == 0)
        assert at.size == 1
        return bool(looks.occupied[at[0]]), int(looks.grade[at[0]])

    # Half the core reaches 2.345 m to either side: the first and the last sample do not count.
    assert judged([120] * 8) == (True, 5)
    assert judged([120, 0, 0, 0, 0, 0, 0, 120]) == (False, 0)
    assert judged([0, 120, 0, 120, 0, 120, 0, 0]) == (True, 2)
    assert judged([0, 300, 0, 120, 300, 120, 0, 0], shift=2.0) == (False, 2)


def test_matching_along_the_track_finds_a_constant_shift(street: Street) -> None:
    run = drive(street, street.edges, 30 * KMH, reception=None)
    for shift in (-3.0, 0.0, 3.0):
        matched = Matcher(street)(run._replace(error_m=np.full(run.s.shape, shift)))
        assert np.median(np.abs(matched.error_m[:, 0])) < 0.8
    assert carry(run)._replace(s=run.s).error_m == pytest.approx(np.zeros(run.s.shape))


def test_the_plain_map_is_bayes_and_forgets() -> None:
    believed = parking.BayesMap(
        2, 0.6, parking.Likelihood(np.array([0.1, 0.9]), np.array([0.8, 0.2]))
    )
    seen = np.array([True, False])
    look = Looks(np.array([0, 1]), seen, np.zeros(2, dtype=np.int64), seen.astype(np.int64))
    believed.look(look)
    assert believed.p == pytest.approx([0.54 / (0.54 + 0.08), 0.06 / (0.06 + 0.32)])
    assert believed.last.tolist() == [1.0, 0.0]
    believed.wait(1e9)
    assert believed.p == pytest.approx([0.6, 0.6])


def test_more_sensors_make_a_better_map_with_honest_probabilities() -> None:
    kind = ("matched", "share")
    worth = ultrasonic_parking._learn((kind,))[kind]
    few, many = (
        parking.run(Street((4, 4), 0.7, 5), 0.7, share, 0.5, worth) for share in (0.01, 0.06)
    )
    assert many.brier(many.p) < few.brier(few.p) - 0.02
    assert many.brier(many.p) < min(many.brier(many.last), many.brier(0.7))
    assert many.calibration_error < 0.1
