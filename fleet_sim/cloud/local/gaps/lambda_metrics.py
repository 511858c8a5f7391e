"""The metrics of Lambda functions.

AWS: every invocation, whoever makes it, counts in `AWS/Lambda` under the dimension `FunctionName`:
`Invocations`, `Errors` (0 too), `Duration`; a refused one in `Throttles`; one of a stream's event
source mapping tells in `IteratorAge` how old its last record was. Lambda sends them once a minute.

Stock MiniStack: counts direct invocations only, so that a function which fails on every batch of
its stream has no errors; counts an asynchronous one when it is accepted, and never its error.

Closed by: counting where every executor passes. A minute's values are one statistic set, so the
percentiles of `Duration` are not available.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from fleet_sim.cloud.local.gaps import _seam, alarms

_EVICT_EVERY_S = 600.0
_THROTTLED_MS = 0.0
"""The duration with which MiniStack's one account of a throttle comes."""


class Recorder:
    """Adds values to the current minute's statistic set of each metric."""

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        self._lock = threading.Lock()
        self._evicted_s = 0.0

    def add(self, name: str, function: str, value: float, unit: str) -> None:
        dimensions = {"FunctionName": function}
        minute_s = alarms.minute_s()
        start = time.time() // minute_s * minute_s
        key = ("AWS/Lambda", name, self._cloudwatch._dims_key(dimensions))
        with self._lock:
            points = self._cloudwatch._metric_bucket(key)
            if not points or points[-1]["Timestamp"] != start:
                empty = {"SampleCount": 0, "Sum": 0.0, "Minimum": value, "Maximum": value}
                points.append({"Timestamp": start, "Value": 0.0, "Unit": unit,
                               "Dimensions": dimensions, "_stat": empty})  # fmt: skip
            found = points[-1]["_stat"]
            points[-1]["_stat"] = {
                "SampleCount": found["SampleCount"] + 1,
                "Sum": found["Sum"] + value,
                "Minimum": min(found["Minimum"], value),
                "Maximum": max(found["Maximum"], value),
            }
            points[-1]["Value"] = points[-1]["_stat"]["Sum"] / points[-1]["_stat"]["SampleCount"]

    def evicting(self, stock: Callable[[], None]) -> Callable[[], None]:
        """MiniStack copies every metric on every request, which loses what is added meanwhile."""

        def evict() -> None:
            if time.monotonic() - self._evicted_s < _EVICT_EVERY_S:
                return
            self._evicted_s = time.monotonic()
            with self._lock:
                stock()

        return evict


def apply() -> None:
    service, cloudwatch = _seam.service("lambda_svc"), _seam.service("cloudwatch")
    _seam.expect(cloudwatch, "_dims_key", "_evict_old_metrics", "_metric_bucket")
    _seam.expect_parameters(
        service._execute_function_dispatch, "func", "config", "event", "request_id", "started"
    )
    _seam.expect_parameters(
        service._emit_lambda_metrics, "function_name", "duration_ms", "error", "throttle"
    )
    recorder = Recorder(cloudwatch)
    stock_dispatch = service._execute_function_dispatch
    cloudwatch._evict_old_metrics = recorder.evicting(cloudwatch._evict_old_metrics)

    def dispatch(
        function: dict[str, Any], config: dict[str, Any], event: Any, request_id: str, began: float
    ) -> Any:
        name = config.get("FunctionName", "unknown")
        age_ms = _iterator_age_ms(event, time.time())
        start = time.perf_counter()
        result = stock_dispatch(function, config, event, request_id, began)
        took_ms = (time.perf_counter() - start) * 1e3
        failed = bool(result.get("error")) if isinstance(result, dict) else False
        recorder.add("Invocations", name, 1, "Count")
        recorder.add("Errors", name, float(failed), "Count")
        recorder.add("Duration", name, took_ms, "Milliseconds")
        if age_ms is not None:
            recorder.add("IteratorAge", name, age_ms, "Milliseconds")
        return result

    def emit(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        # A throttle is told twice of a direct invocation: where it was refused, and by the caller.
        if throttle and duration_ms == _THROTTLED_MS:
            recorder.add("Throttles", function_name, 1, "Count")

    service._execute_function_dispatch, service._emit_lambda_metrics = dispatch, emit


def _iterator_age_ms(event: Any, now_s: float) -> float | None:
    """Between a stream's receiving the last record and the function's being sent it."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not records or not isinstance(records, list) or not isinstance(records[-1], dict):
        return None
    arrival = (records[-1].get("kinesis") or {}).get("approximateArrivalTimestamp")
    return None if arrival is None else max(0.0, (now_s - float(arrival)) * 1e3)
