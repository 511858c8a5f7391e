"""The map during a run: its digits, its counts, and what of it is refused."""

import numpy as np
import pytest

from fleet_sim.measure.maphistory import digits, from_json, joined, tally


def test_a_digit_is_truth_and_answer() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 2])
    answer = np.array([0, 1, 2, 0, 1, 2, 2])
    assert digits(truth, answer) == "0123458"


def test_counts_leave_out_spots_without_a_truth() -> None:
    found = tally("0123458867")
    assert found._asdict() == {
        "spots": 6,
        "occupied": 3,
        "api_occupied": 2,
        "wrong": 2,
        "unknown": 2,
    }
    assert found.accuracy == 0.5
    assert found.coverage == pytest.approx(4 / 6)
    assert np.isnan(tally("888").accuracy)


def test_shards_parts_are_joined_by_stall() -> None:
    parts = [(np.array([0, 1]), "04"), (np.array([4]), "3")]
    assert joined(parts, 6) == "048838"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"every_s":10,"shots":[{"t_s":1,"states":"04"}]}',
            r"shots\[0\] has 2 spots .*allowed: 3",
        ),
        ('{"every_s":10,"shots":[{"t_s":1,"states":"049"}]}', "matching regex"),
        ('{"every_s":10}', "missing required field `shots`"),
    ],
)
def test_a_history_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"map_history.json: .*{says}"):
        from_json(text, 3)
