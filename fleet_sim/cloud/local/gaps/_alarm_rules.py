"""When a metric alarm is in which state: AWS's documented rules, without clock and store.

CloudWatch User Guide, "Alarm evaluation" and "Configuring how alarms treat missing data".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class Rule(NamedTuple):
    """An alarm's configuration, as far as its state depends on it."""

    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    missing: str
    """`missing`, `ignore`, `breaching` or `notBreaching`."""

    @property
    def evaluation_range(self) -> int:
        """How many periods back are looked at: AWS takes more than it evaluates. The number is
        not documented; the guide's examples have 5 for 3 periods."""
        return max(5, self.evaluation_periods + 2)


def evaluate(points: Sequence[float | None], rule: Rule) -> State | None:
    """The state that `points` (oldest first, one a period of the evaluation range, None where there
    is no data) put the alarm in; None retains the present one."""
    breaches = COMPARISONS[rule.comparison]
    judged = [None if point is None else breaches(point, rule.threshold) for point in points]
    real = [verdict for verdict in judged if verdict is not None]
    wanted, needed = rule.evaluation_periods, rule.datapoints_to_alarm
    if len(real) >= wanted:
        # Enough real data, some perhaps from farther back: how to treat what is missing is ignored.
        return "ALARM" if sum(real[-wanted:]) >= needed else "OK"
    if rule.missing in ("breaching", "notBreaching"):
        filled = [rule.missing == "breaching"] * (wanted - len(real))
        return "ALARM" if sum(real) + sum(filled) >= needed else "OK"
    if not real:
        return "INSUFFICIENT_DATA" if rule.missing == "missing" else None
    if sum(real) >= needed:
        return "ALARM"
    if not all(real):
        return "OK"
    # All that is there breaches, and it is too little. "Alarms always go into ALARM when the oldest
    # available breaching data point is at least as old as Datapoints to Alarm, and all other more
    # recent ones are breaching or missing"; until then an alarm is not set off too early.
    oldest = judged.index(True)
    if rule.missing == "missing" and len(judged) - oldest >= needed:
        return "ALARM"
    return None
