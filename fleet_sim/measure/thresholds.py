"""Thresholds in k6's syntax: `"latency_ms{stage:visible}": ["p(95)<2000"]`.

Grammar: a metric is `name` or `name{tag:value,tag2:value2}`; a condition is an aggregate, a
comparison and a number. See `AGGREGATES` and `COMPARISONS`.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from fleet_sim.measure.histogram import Stats, percentile_key

AGGREGATES = ("avg", "mean", "min", "max", "med", "count", "rate", "value")
"""Besides `p(N)` with 0 < N <= 100. `avg` is `mean` and `med` is `p(50)`, as in k6."""

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}

_ALIASES = {"avg": "mean", "med": "p50"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_TAG = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*:\s*([^\s{}:,][^{}:,]*?)\s*(?=[,}])")
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_]+")
_PERCENTILE = re.compile(r"\(\s*(\d+(?:\.\d+)?)\s*\)")
_COMPARISON = re.compile("|".join(COMPARISONS))
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")

_METRIC_FORMS = "name or name{tag:value,tag2:value}"
_CONDITION_FORMS = f"p(N) or {'|'.join(AGGREGATES)}, then < <= > >= == !=, then a number"


class Condition(NamedTuple):
    """`key` is what a metric's statistics call the aggregate: `p95`, `mean`, `count` …"""

    key: str
    comparison: str
    limit: float


class ThresholdResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition on one metric, and whether it held."""

    metric: str
    """As the scenario has it: `latency_ms{stage:visible}`."""
    condition: str
    """As the scenario has it: `p(95)<2000`."""
    observed: float | None
    """What was measured, in the metric's unit; null when `missing`."""
    passed: bool
    missing: bool
    """The metric, or this aggregate of it, was not measured: the threshold fails."""
    message: str
    """One line for people."""


def canonical_metric(text: str) -> str:
    """The metric with its tags sorted and no blanks: how two spellings are compared.

    `ValueError` names the text, the position (from 1) and what is allowed.
    """
    name, tags = parse_metric(text)
    if not tags:
        return name
    return f"{name}{{{','.join(f'{k}:{v}' for k, v in sorted(tags.items()))}}}"


def parse_metric(text: str) -> tuple[str, dict[str, str]]:
    """Name and tags; `ValueError` as `canonical_metric`."""
    head = _NAME.match(text)
    if not head:
        raise _error("metric", text, 0, "a name is expected", _METRIC_FORMS)
    at = head.end()
    if at == len(text):
        return text, {}
    if text[at] != "{":
        raise _error("metric", text, at, "'{' or the end is expected", _METRIC_FORMS)
    tags: dict[str, str] = {}
    while True:
        tag = _TAG.match(text, at + 1)
        if not tag:
            raise _error("metric", text, at + 1, "tag:value is expected", _METRIC_FORMS)
        if tag[1] in tags:
            raise _error(
                "metric", text, tag.start(1), f"tag {tag[1]!r} is there twice", _METRIC_FORMS
            )
        tags[tag[1]] = tag[2]
        at = tag.end()
        if text[at] == "}":
            break
    if at + 1 != len(text):
        raise _error("metric", text, at + 1, "the end is expected", _METRIC_FORMS)
    return head[0], tags


def parse_condition(text: str) -> Condition:
    """Parse `p(95)<500`; `ValueError` names the text, the position (from 1) and what is allowed."""

    def take(pattern: re.Pattern[str], at: int, expected: str) -> tuple[re.Match[str], int]:
        found = pattern.match(text, at)
        if not found:
            raise _error("threshold", text, at, f"{expected} is expected", _CONDITION_FORMS)
        space = _SPACE.match(text, found.end())
        assert space is not None  # the pattern matches the empty string
        return found, space.end()

    _, start = take(_SPACE, 0, "")
    word, at = take(_WORD, start, "an aggregate")
    if word[0] == "p":
        number, at = take(_PERCENTILE, at, "(N)")
        percentile = float(number[1])
        if not 0 < percentile <= 100:
            raise _error(
                "threshold", text, number.start(1), "0 < N <= 100 is expected", _CONDITION_FORMS
            )
        key = percentile_key(percentile)
    elif word[0] in AGGREGATES:
        key = _ALIASES.get(word[0], word[0])
    else:
        raise _error("threshold", text, start, "an aggregate is expected", _CONDITION_FORMS)
    comparison, at = take(_COMPARISON, at, "a comparison")
    limit, at = take(_NUMBER, at, "a number")
    if at != len(text):
        raise _error("threshold", text, at, "the end is expected", _CONDITION_FORMS)
    return Condition(key, comparison[0], float(limit[0]))


def check_threshold(metric: str, expression: str) -> None:
    """`ValueError` when either part of a threshold does not parse."""
    canonical_metric(metric)
    parse_condition(expression)


def percentiles_needed(thresholds: Mapping[str, Sequence[str]]) -> dict[str, set[float]]:
    """Percentiles that the conditions ask for, by canonical metric."""
    needed: dict[str, set[float]] = {}
    for metric, expressions in thresholds.items():
        for expression in expressions:
            key = parse_condition(expression).key
            if key.startswith("p"):
                needed.setdefault(canonical_metric(metric), set()).add(float(key[1:]))
    return needed


def evaluate(
    thresholds: Mapping[str, Sequence[str]], metrics: Mapping[str, Stats]
) -> list[ThresholdResult]:
    """Each condition of each threshold, in the scenario's order.

    A metric that was not measured, an aggregate that it has not, and NaN all fail.
    """
    known = {canonical_metric(name): stats for name, stats in metrics.items()}
    results = []
    for metric, expressions in thresholds.items():
        stats = known.get(canonical_metric(metric))
        for expression in expressions:
            results.append(_evaluate_one(metric, expression, stats))
    return results


def _evaluate_one(metric: str, expression: str, stats: Stats | None) -> ThresholdResult:
    condition = parse_condition(expression)
    name = f"{metric}: {expression}"
    if stats is None:
        message = f"{name}: this run measured no such metric"
        return ThresholdResult(metric, expression, None, False, True, message)
    observed = stats.get(condition.key)
    if observed is None or math.isnan(observed):
        has = ", ".join(key for key, value in stats.items() if not math.isnan(value))
        message = f"{name}: the metric has no {condition.key} (it has: {has or 'nothing'})"
        return ThresholdResult(metric, expression, None, False, True, message)
    passed = COMPARISONS[condition.comparison](observed, condition.limit)
    message = f"{name}: {condition.key} is {observed:.6g}"
    return ThresholdResult(metric, expression, float(observed), passed, False, message)


def _error(what: str, text: str, at: int, problem: str, allowed: str) -> ValueError:
    return ValueError(f"{what} {text!r}, position {at + 1}: {problem} (allowed: {allowed})")
