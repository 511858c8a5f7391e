"""The state of an alarm by AWS's published rules, and the metric maths it may stand on."""

import pytest

from fleet_sim.cloud.local.gaps._alarm_rules import Rule, evaluate
from fleet_sim.cloud.local.gaps._metric_math import ExpressionError, check
from fleet_sim.cloud.local.gaps._metric_math import evaluate as maths


def points(text: str) -> list[float | None]:
    """As the CloudWatch User Guide writes them: 0 is not breaching, X is, - is missing."""
    return [{"0": 0.0, "X": 10.0, "-": None}[mark] for mark in text.split()]


def rule(missing: str, needed: int = 3, periods: int = 3) -> Rule:
    return Rule("GreaterThanThreshold", 5.0, periods, needed, missing)


MISSING = ("missing", "ignore", "breaching", "notBreaching")

# User Guide, "Configuring how alarms treat missing data": its table for 3 out of 3, and of the one
# for 2 out of 3 the rows that do not follow from the first. None retains the state.
THREE_OF_THREE = {
    "0 - X - X": ("OK",) * 4,
    "0 - - - -": ("OK",) * 4,
    "- - - - -": ("INSUFFICIENT_DATA", None, "ALARM", "OK"),
    "0 X X - X": ("ALARM",) * 4,
    "- - X - -": ("ALARM", None, "ALARM", "OK"),
}
TWO_OF_THREE = {
    "0 - X - X": ("ALARM",) * 4,
    "0 0 X - X": ("ALARM",) * 4,
    "0 - X - -": ("OK", "OK", "ALARM", "OK"),
    "- - - - 0": ("OK", "OK", "ALARM", "OK"),
}


@pytest.mark.parametrize("treatment", range(4))
@pytest.mark.parametrize("row", THREE_OF_THREE)
def test_three_of_three(row: str, treatment: int) -> None:
    assert evaluate(points(row), rule(MISSING[treatment])) == THREE_OF_THREE[row][treatment]


@pytest.mark.parametrize("treatment", range(4))
@pytest.mark.parametrize("row", TWO_OF_THREE)
def test_two_of_three(row: str, treatment: int) -> None:
    assert evaluate(points(row), rule(MISSING[treatment], 2)) == TWO_OF_THREE[row][treatment]


def test_the_newest_real_points_decide() -> None:
    assert evaluate(points("X X 0 0 0"), rule("missing")) == "OK"
    assert evaluate(points("0 0 X X X"), rule("missing")) == "ALARM"
    # One period is evaluated; the newest point, some periods old, still stands.
    assert evaluate(points("0 - X - -"), rule("notBreaching", 1, 1)) == "ALARM"
    assert evaluate(points("X - 0 - -"), rule("breaching", 1, 1)) == "OK"


def test_a_lone_breach_sets_nothing_off_before_its_time() -> None:
    assert evaluate(points("- - - - X"), rule("missing")) is None
    assert evaluate(points("- - - X -"), rule("missing")) is None
    assert evaluate(points("- - X - -"), rule("missing")) == "ALARM"


def test_arithmetic_exists_where_both_sides_do() -> None:
    series = {"online": {1: 80.0, 2: 30.0, 3: 0.0}, "lost": {1: 20.0, 2: 30.0, 3: 0.0, 4: 5.0}}
    share = maths("100 * online / (online + lost)", series, range(5))
    # 0 / 0 of period 3 is no data, and period 4 lacks one of the two.
    assert share == {1: 80.0, 2: 50.0}
    assert maths("lost - online", series, range(5)) == {1: -60.0, 2: 0.0, 3: 0.0}
    assert maths("-online ^ 2", series, range(5)) == {1: -6400.0, 2: -900.0, 3: 0.0}


def test_functions() -> None:
    series = {"a": {1: 1.0, 2: 2.0}, "b": {2: 4.0}}
    assert maths("SUM([a, b])", series, range(4)) == {1: 1.0, 2: 6.0}
    assert maths("SUM(METRICS())", series, range(4)) == {1: 1.0, 2: 6.0}
    assert maths("AVG([a, b])", series, range(4)) == {1: 1.0, 2: 3.0}
    assert maths("MAX([a, b])", series, range(4)) == {1: 1.0, 2: 4.0}
    assert maths("MIN([a, FILL(b, 0)])", series, range(1, 4)) == {1: 0.0, 2: 2.0, 3: 0.0}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("a +", "no metric maths"),
        ("ANOMALY_DETECTION_BAND(a)", "not understood"),
        ("a.b", "not understood"),
        ("__import__('os')", "not understood"),
        ("1 / 2", "a number"),
        ("1 / 0", "divided by zero"),
    ],
)
def test_what_is_not_understood_is_said(expression: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        check(expression)
