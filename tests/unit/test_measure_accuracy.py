import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.measure.accuracy import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    Accuracy,
    Comparison,
    accuracy,
)

NAN = float("nan")


def compare(rows: list[tuple[bool, int, float, float]]) -> Accuracy:
    truth, state, p, age = zip(*rows, strict=True)
    return accuracy(np.array(truth), np.array(state, np.int8), np.array(p), np.array(age))


def test_a_small_city_by_hand() -> None:
    result = compare(
        [
            (True, OCCUPIED, 0.9, 10.0),
            (True, OCCUPIED, 0.8, 20.0),
            (True, FREE, 0.2, 60.0),
            (False, FREE, 0.1, 30.0),
            (False, UNKNOWN, 0.5, NAN),
        ]
    )
    assert result.confusion == {
        "free_free": 1,
        "free_occupied": 0,
        "free_unknown": 1,
        "occupied_free": 1,
        "occupied_occupied": 2,
        "occupied_unknown": 0,
    }
    assert result.accuracy == 3 / 4
    assert result.coverage == 4 / 5
    assert (result.free.precision, result.free.recall, result.free.f1) == (1 / 2, 1 / 2, 1 / 2)
    assert (result.occupied.precision, result.occupied.recall) == (1.0, 2 / 3)
    assert result.occupied.f1 == pytest.approx(0.8)
    assert result.brier == pytest.approx((0.01 + 0.04 + 0.64 + 0.01 + 0.25) / 5)
    # Bins .9, .8, .2, .1, .5 hold one spot each.
    assert result.calibration_error == pytest.approx((0.1 + 0.2 + 0.8 + 0.1 + 0.5) / 5)
    assert result.staleness_s == 25.0
    metrics = result.metrics()
    assert metrics["occupancy_accuracy"] == {"value": 0.75}
    assert metrics["occupancy_recall{state:free}"] == {"value": 0.5}


def test_errors_of_one_bin_cancel_and_those_of_two_do_not() -> None:
    same = compare([(True, OCCUPIED, 0.55, 0.0), (False, FREE, 0.45 + 0.1, 0.0)])
    assert same.calibration_error == pytest.approx(0.05)
    apart = compare([(True, OCCUPIED, 0.75, 0.0), (False, FREE, 0.25, 0.0)])
    assert apart.calibration_error == pytest.approx(0.25)


def test_nothing_known_is_undefined_and_not_zero() -> None:
    result = compare([(True, UNKNOWN, 0.5, NAN), (False, UNKNOWN, 0.5, NAN)])
    assert (result.accuracy, result.coverage, result.staleness_s) == (None, 0.0, None)
    assert result.free.precision is None
    assert result.free.recall == 0.0
    assert result.brier == 0.25
    assert "occupancy_accuracy" not in result.metrics()
    assert result.metrics()["occupancy_coverage"] == {"value": 0.0}


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 2), st.floats(0, 1), st.floats(0, 1e6)),
        min_size=1,
    )
)
def test_shares_are_shares(rows: list[tuple[bool, int, float, float]]) -> None:
    result = compare(rows)
    assert sum(result.confusion.values()) == result.spots == len(rows)
    shares = [stats["value"] for name, stats in result.metrics().items() if "stale" not in name]
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize(
    ("truth", "state", "p", "problem"),
    [
        ([], [], [], "lengths"),
        ([True], [0, 1], [0.5], "lengths"),
        ([True], [3], [0.5], "state"),
        ([True], [1], [1.5], "p_occupied"),
        ([True], [1], [NAN], "p_occupied"),
    ],
)
def test_bad_input_is_named(
    truth: list[bool], state: list[int], p: list[float], problem: str
) -> None:
    arrays = np.array(truth, np.bool_), np.array(state, np.int8), np.array(p)
    with pytest.raises(ValueError, match=problem):
        accuracy(*arrays, np.zeros(len(truth)))


class TestComparison:
    def test_counts_are_by_segment_and_over_all_moments(self) -> None:
        compared = Comparison(np.array([0, 0, 1, 1]))
        truth = np.array([True, True, False, True])
        states = np.array([OCCUPIED, OCCUPIED, UNKNOWN, FREE], np.int8)
        compared.add(np.array([0.9, 0.6, 0.4, 0.2]), states, truth)
        compared.add(np.array([1.0, 1.0, 0.0, 1.0]), states, truth)
        score = compared.score()
        # |1.5 - 2| + |0.6 - 1| of 3 + 3 occupied ones; the second moment is exact.
        assert score.counts == pytest.approx(1 - 0.9 / 6)
        # Of whole cars: |2 - 2| (1.5 is rounded to even) and |1 - 1|.
        assert score.whole_counts == 1.0
        assert score.occupancy == pytest.approx(7 / 8)
        assert score.answered == pytest.approx(6 / 8)
        assert score.right == pytest.approx(4 / 6)

    def test_errors_within_a_segment_cancel_in_counts_only(self) -> None:
        compared = Comparison(np.array([0, 0]))
        compared.add(
            np.array([0.0, 1.0]), np.array([FREE, OCCUPIED], np.int8), np.array([True, False])
        )
        assert compared.score().counts == 1.0
        assert compared.score().occupancy == 0.0

    def test_nothing_to_compare_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no moment"):
            Comparison(np.array([0])).score()
