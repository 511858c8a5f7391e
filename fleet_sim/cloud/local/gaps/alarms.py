"""CloudWatch alarms: when they are evaluated, on what, and when they go back.

AWS: an alarm is evaluated again and again, whether data come or not: once a minute, or every ten
seconds when its period is shorter than a minute. Its metric is the one with exactly its dimensions,
or the result of metric maths over several. Data are cut into periods; what state follows from the
newest of them, and from those without data, `_alarm_rules` says. Each change of state runs the
actions of the new state.

Stock MiniStack: evaluates on PutMetricData and PutMetricAlarm only, so an alarm whose data end
stays as it is, one on another service's metric never fires, and none returns to OK by itself; mixes
all dimensions of a metric; takes the last periods as one; ignores DatapointsToAlarm and
TreatMissingData; refuses metric maths in templates and drops it in PutMetricAlarm.

Closed by: a task that evaluates each alarm when a period of its has ended. `MINUTE_VARIABLE` says
how many seconds a minute of metrics lasts here: tests do not want to wait for real ones.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fleet_sim.cloud.local.gaps import _seam
from fleet_sim.cloud.local.gaps._alarm_rules import COMPARISONS, Rule, State
from fleet_sim.cloud.local.gaps._alarm_rules import evaluate as judge
from fleet_sim.cloud.local.gaps._metric_math import ExpressionError, Series, check
from fleet_sim.cloud.local.gaps._metric_math import evaluate as evaluate_expression

MINUTE_VARIABLE = "FLEET_SIM_LOCAL_METRIC_MINUTE_S"
SETTLING_S = 0.25
"""After its end a period is left this long for what was measured in it to arrive."""
_OLD_POINTS = 200
"""So many older points in a row end the search of a metric's newest: they come nearly in order."""
_TICK_S = 0.25
log = logging.getLogger("fleet_sim.local.alarms")


def minute_s() -> float:
    """How long a minute of metrics lasts here."""
    return float(os.environ.get(MINUTE_VARIABLE) or 60)


class Evaluator:
    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        self._scope = _seam.core("responses").request_scope
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[tuple[str, str, str], tuple[int, int]] = {}

    def wake(self) -> None:
        """Begins to evaluate, if it has not; from any thread."""
        loop: asyncio.AbstractEventLoop | None = _seam.application()._MAIN_LOOP
        if loop is not None:
            loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            now = time.time()
            for key, alarm in list(self._cloudwatch._alarms._data.items()):
                try:
                    self._look(key, alarm, now)
                except Exception:
                    log.exception("alarm %s could not be evaluated", key[2])
            await asyncio.sleep(_TICK_S)

    def _look(self, key: tuple[str, str, str], alarm: dict[str, Any], now: float) -> None:
        """Evaluates an alarm unless its newest whole period was looked at already."""
        period_s = self._period_s(alarm)
        newest = int((now - SETTLING_S) // period_s) - 1
        seen = (newest, id(alarm))  # one that is put again is another record
        if self._seen.get(key) == seen:
            return
        self._seen[key] = seen
        with self._scope(key[0], key[1]):
            self._evaluate(alarm, newest, period_s)

    def _evaluate(self, alarm: dict[str, Any], newest: int, period_s: float) -> None:
        rule = _rule(alarm)
        periods = range(newest - rule.evaluation_range + 1, newest + 1)
        series = self._series(alarm, periods, period_s)
        points = [series.get(period) for period in periods]
        state = judge(points, rule)
        if state is None or state == alarm["StateValue"]:
            return
        old, reason = alarm["StateValue"], _reason(points, rule, state)
        now_s = int(time.time())
        alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=now_s)
        alarm["StateTransitionedTimestamp"] = now_s
        self._cloudwatch._record_history(alarm["AlarmName"], old, state, reason)
        self._cloudwatch._dispatch_alarm_actions(alarm, old, state, reason)
        self._cloudwatch._evaluate_parent_alarms(alarm)

    def _series(self, alarm: dict[str, Any], periods: range, period_s: float) -> Series:
        queries = alarm.get("Metrics")
        if not queries:
            stat = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
            return self._metric(alarm, stat, alarm.get("Unit"), periods, period_s)
        found: dict[str, Series] = {}
        wanted: Series = {}
        # Those with data first: an expression may stand before what it is made of.
        for query in sorted(queries, key=lambda query: "Expression" in query):
            if "Expression" in query:
                result = evaluate_expression(query["Expression"], found, periods)
            else:
                stat = query["MetricStat"]
                result = self._metric(
                    stat["Metric"], stat["Stat"], stat.get("Unit"), periods, period_s
                )
                found[query["Id"]] = result
            if _returned(query):
                wanted = result
        return wanted

    def _metric(
        self, metric: dict[str, Any], stat: str, unit: str | None, periods: range, period_s: float
    ) -> Series:
        service = self._cloudwatch
        dimensions = service._dims_key(service._dims_from_list(metric.get("Dimensions") or []))
        stored = service._metrics.get((metric["Namespace"], metric["MetricName"], dimensions)) or ()
        by_period: dict[int, list[dict[str, Any]]] = defaultdict(list)
        old = 0
        for point in reversed(stored):
            period = int(point["Timestamp"] // period_s)
            old = old + 1 if period < periods[0] else 0
            if old > _OLD_POINTS:
                break
            if period in periods and unit in (None, point["Unit"]):
                by_period[period].append(point)
        series = {}
        for period, points in by_period.items():
            value = service._stat_value(service._calc_stats(points), stat, points)
            if value is not None:
                series[period] = float(value)
        return series

    @staticmethod
    def _period_s(alarm: dict[str, Any]) -> float:
        periods = [query["MetricStat"]["Period"] for query in alarm.get("Metrics") or ()
                   if "MetricStat" in query] or [alarm.get("Period") or 60]  # fmt: skip
        return max(int(period) for period in periods) * minute_s() / 60


def _rule(alarm: dict[str, Any]) -> Rule:
    periods = int(alarm["EvaluationPeriods"])
    return Rule(
        alarm["ComparisonOperator"],
        float(alarm["Threshold"]),
        periods,
        int(alarm.get("DatapointsToAlarm") or periods),
        alarm.get("TreatMissingData") or "missing",
    )


def _reason(points: Sequence[float | None], rule: Rule, state: State) -> str:
    real = [point for point in points if point is not None][-rule.evaluation_periods :]
    if not real and state == "INSUFFICIENT_DATA":
        return f"Insufficient Data: {len(points)} datapoints were unknown."
    if not real:
        return (
            f"Threshold Crossed: no datapoints were received for {len(points)} periods, and "
            f"missing ones are treated as {rule.missing}."
        )
    breaching = sum(COMPARISONS[rule.comparison](point, rule.threshold) for point in real)
    listed = ", ".join(f"{point:g}" for point in real)
    return (
        f"Threshold Crossed: {breaching} of the newest {len(real)} datapoints [{listed}] are "
        f"{rule.comparison} {rule.threshold:g} ({rule.datapoints_to_alarm} of "
        f"{rule.evaluation_periods} make an alarm)."
    )


def _returned(query: dict[str, Any]) -> bool:
    return str(query.get("ReturnData", True)).lower() == "true"


def _problem(configured: dict[str, Any]) -> str | None:
    """Why AWS (or this evaluator) refuses an alarm, or None."""
    comparison = configured.get("ComparisonOperator")
    if comparison not in COMPARISONS:
        return f"ComparisonOperator {comparison!r} is not evaluated by the local AWS"
    queries = configured.get("Metrics") or []
    if queries and (configured.get("MetricName") or configured.get("Namespace")):
        return "Metrics must not be given together with MetricName and Namespace"
    if queries and sum(map(_returned, queries)) != 1:
        return "exactly one of Metrics must have ReturnData true"
    for query in queries:
        try:
            if "Expression" in query:
                check(query["Expression"])
        except ExpressionError as error:
            return str(error)
    return None


def with_metrics(alarm: dict[str, Any], queries: list[dict[str, Any]]) -> None:
    """Makes a stored alarm one of metric maths."""
    for name in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Unit"):
        alarm.pop(name, None)
    alarm["Dimensions"] = []
    alarm["Metrics"] = [_query(query) for query in queries]


def _query(query: dict[str, Any]) -> dict[str, Any]:
    """A template may have left numbers and booleans as text."""
    stored = {**query, "ReturnData": _returned(query)}
    if "MetricStat" in query:
        stat = query["MetricStat"]
        stored["MetricStat"] = {**stat, "Period": int(stat["Period"])}
    return stored


def apply() -> None:
    cloudwatch = _seam.service("cloudwatch")
    provisioners = _seam.service("cloudformation.provisioners")
    _seam.expect(
        cloudwatch, "_alarms", "_calc_stats", "_dims_from_list", "_dims_key",
        "_dispatch_alarm_actions", "_error", "_evaluate_all_alarms", "_evaluate_parent_alarms",
        "_metrics", "_record_history", "_stat_value",
    )  # fmt: skip
    _seam.expect(_seam.application(), "_MAIN_LOOP")
    _seam.expect_parameters(cloudwatch._evaluate_alarm, "alarm")
    _seam.expect_parameters(
        cloudwatch._put_metric_alarm, "params", "cbor_data", "is_cbor", "is_json"
    )
    _seam.expect_parameters(provisioners._cw_metric_alarm_record, "name", "props")
    evaluator = Evaluator(cloudwatch)
    stock_put, stock_record = cloudwatch._put_metric_alarm, provisioners._cw_metric_alarm_record

    def put(params: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        if not (is_cbor or is_json):
            return stock_put(params, data, is_cbor, is_json)
        if problem := _problem(data):
            return cloudwatch._error("ValidationError", problem, 400, is_json, is_cbor)
        response = stock_put(params, data, is_cbor, is_json)
        if data.get("Metrics") and response[0] == 200:
            with_metrics(cloudwatch._alarms[data["AlarmName"]], data["Metrics"])
        return response

    def record(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        if problem := _problem(properties):
            raise ValueError(problem)
        queries = properties.get("Metrics")
        if not queries:
            known: dict[str, Any] = stock_record(name, properties)
            return known
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm: dict[str, Any] = stock_record(name, rest | {"MetricName": "-", "Namespace": "-"})
        with_metrics(alarm, queries)
        return alarm

    cloudwatch._put_metric_alarm, provisioners._cw_metric_alarm_record = put, record
    # MiniStack evaluates an alarm that was put: here that is when the task must run.
    cloudwatch._evaluate_alarm = lambda alarm: evaluator.wake()
    cloudwatch._evaluate_all_alarms = lambda: None
