"""Where the output of Lambda functions goes.

AWS: every execution environment writes to a log stream of its own, named in its environment and
its context, and each invocation is framed by START, END and REPORT lines.

Stock MiniStack: makes a log stream for every invocation (a function invoked 200 times a second
leaves 700,000 streams an hour, all in memory), and the stream's name is not the one the function
was told.

Closed by: the stream of the environment that served the invocation. Beyond `MAX_EVENTS` a stream
forgets its oldest events, which AWS would not; a run of hours would not fit in memory otherwise.
"""

from __future__ import annotations

import time
from typing import Any

from fleet_sim.cloud.local.gaps import _seam, lambda_latency

MAX_EVENTS = 10_000


def apply() -> None:
    service, logs = _seam.service("lambda_svc"), _seam.service("cloudwatch_logs")
    _seam.expect(service, "_probe_peak_memory_mb")
    _seam.expect(logs, "_append_log_events", "_create_log_group", "_create_log_stream",
                 "_fanout_to_subscription_filters", "_log_groups")  # fmt: skip
    _seam.expect_parameters(service._emit_lambda_logs, "func", "request_id", "log_text", "error",
                            "duration_ms", "log_source")  # fmt: skip
    stock_emit = service._emit_lambda_logs

    def emit(
        function: dict[str, Any],
        request_id: str,
        text: str,
        error: bool,
        duration_ms: int,
        *,
        log_source: str | None = None,
    ) -> None:
        name = lambda_latency.log_stream()
        if name is None:
            # Not one of our environments: another language, or no code at all.
            stock_emit(function, request_id, text, error, duration_ms, log_source=log_source)
            return
        config = function.get("config") or function
        used_mb = service._probe_peak_memory_mb(function)
        lines = [
            f"START RequestId: {request_id} Version: {config.get('Version', '$LATEST')}",
            *text.splitlines(),
            f"END RequestId: {request_id}",
            f"REPORT RequestId: {request_id}\tDuration: {duration_ms} ms\t"
            f"Billed Duration: {duration_ms} ms\tMemory Size: {config.get('MemorySize', 128)} MB\t"
            f"Max Memory Used: {used_mb} MB",
        ]
        group = _group(config)
        now_ms = int(time.time() * 1000)
        stream = _stream(logs, group, name)
        logs._append_log_events(
            stream,
            [{"timestamp": now_ms, "message": line, "ingestionTime": now_ms} for line in lines],
        )
        surplus = len(stream["events"]) - MAX_EVENTS
        if surplus > MAX_EVENTS // 10:
            del stream["events"][:surplus]
        logs._fanout_to_subscription_filters(
            group, name, [{"timestamp": now_ms, "message": line} for line in lines]
        )

    service._emit_lambda_logs = emit


def _group(config: dict[str, Any]) -> str:
    chosen = (config.get("LoggingConfig") or {}).get("LogGroup")
    return str(chosen or f"/aws/lambda/{config.get('FunctionName', 'unknown')}")


def _stream(logs: Any, group: str, name: str) -> Any:
    """The stream's record. The runtime makes the group and the stream when they are not there."""
    if logs._log_groups.get(group) is None:
        logs._create_log_group({"logGroupName": group})
    if name not in logs._log_groups[group]["streams"]:
        logs._create_log_stream({"logGroupName": group, "logStreamName": name})
    return logs._log_groups[group]["streams"][name]
