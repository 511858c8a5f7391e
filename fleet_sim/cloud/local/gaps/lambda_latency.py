"""Running Python Lambda functions.

AWS: an execution environment serves one invocation after the other; an exception in the handler is
reported with its class as `errorType` and leaves the environment warm. The runtime brings boto3
and what it needs; every other package must be in the function's archive or a layer. The root
logger has a handler that names the request.

Stock MiniStack: waits 50 ms after an invocation that printed nothing (for output that might still
come), kills the process on an exception (the next invocation starts cold, 0.8 s), calls every
error `Runtime.HandlerError`, and lets functions import whatever the launcher's environment has.

Closed by: our own bootstrap, which marks the end of each invocation's output, survives exceptions,
names them, and hides the launcher's packages. Timeouts and exits end the process, as on AWS.
Functions in other languages are left to MiniStack.
"""

from __future__ import annotations

import json
import os
import queue
import select
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps import _lambda_bootstrap, _seam

_INIT_FAILED = "Worker init failed: "
_LOG_WAIT_S = 10.0
"""How long the output of a finished invocation may take to arrive. It is already in a pipe; the
thread that reads it may have to wait for a processor."""


class Died(RuntimeError):  # noqa: N818 - what happened to the process, not an error class of ours
    """The function's process ended during an invocation."""


def worker_class(runtime: Any) -> type[Any]:
    """The worker, made from MiniStack's (which can only be imported once configured)."""

    class PythonWorker(runtime.Worker):  # type: ignore[misc]  # untyped base
        _proc: Any
        _stream = ""

        def invoke(
            self,
            event: Any,
            request_id: str,
            *,
            trace_id: str | None = None,
            depth: Any = None,
            durable: dict[str, str] | None = None,
            invoked_function_arn: str | None = None,
        ) -> dict[str, Any]:
            """Runs one invocation; the errors it returns are in AWS's vocabulary."""
            timeout_s = float(self.config.get("Timeout", 3))
            variables = dict.fromkeys(runtime.DURABLE_ENV_VARS) | (durable or {})
            variables[runtime.INVOKE_DEPTH_ENV] = depth
            if not self._stream:
                day = time.strftime("%Y/%m/%d", time.gmtime())
                version = self.config.get("Version", "$LATEST")
                self._stream = f"{day}/[{version}]{uuid.uuid4().hex}"
            variables["AWS_LAMBDA_LOG_STREAM_NAME"] = _last.log_stream = self._stream
            line = msgspec.json.encode(
                {
                    "event": event,
                    "ctx": {
                        "request_id": request_id,
                        "invoked_function_arn": invoked_function_arn,
                        "timeout_ms": int(timeout_s * 1000),
                        "trace_id": trace_id,
                        "variables": variables,
                    },
                }
            )
            with self._lock:
                cold = self._proc is None or self._proc.poll() is not None
                if cold:
                    try:
                        self._spawn()
                    except RuntimeError as exc:
                        text = str(exc).removeprefix(_INIT_FAILED)
                        return self._failure("Runtime.ImportModuleError", text, request_id)
                    self._cold = False
                try:
                    answer = self._exchange(line, time.monotonic() + timeout_s)
                except TimeoutError:
                    self._end()
                    text = f"Task timed out after {timeout_s:.2f} seconds"
                    return self._failure("Sandbox.Timedout", text, request_id)
                except Died:
                    code = self._proc.wait()
                    self._end()
                    text = f"RequestId: {request_id} Error: Runtime exited with error: "
                    text += f"signal {-code}" if code < 0 else f"exit status {code}"
                    return self._failure("Runtime.ExitError", text, request_id)
                answer["log"] = self._output_of(request_id)
            answer["cold_start"] = cold
            if answer["status"] == "error":
                _last.error = {
                    "errorMessage": answer["error"],
                    "errorType": answer["error_type"],
                    "requestId": request_id,
                    "stackTrace": answer.get("stack", []),
                }
            return answer

        def _failure(self, kind: str, text: str, request_id: str) -> dict[str, Any]:
            _last.error = {"errorMessage": text, "errorType": kind, "requestId": request_id}
            return {"status": "error", "error": text, "log": self._drain_stderr()}

        def _exchange(self, line: bytes, deadline_s: float) -> dict[str, Any]:
            """Sends an invocation and reads its answer. Raises TimeoutError or `Died`."""
            process = self._proc
            try:
                process.stdin.buffer.write(line + b"\n")
                process.stdin.buffer.flush()
            except BrokenPipeError as exc:
                raise Died from exc
            descriptor = process.stdout.fileno()
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            received: list[bytes] = []
            while not received or not received[-1].endswith(b"\n"):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not poll.poll(left_s * 1000):
                    raise TimeoutError
                chunk = os.read(descriptor, 1 << 20)
                if not chunk:
                    raise Died
                received.append(chunk)
            answer: dict[str, Any] = json.loads(b"".join(received))
            return answer

        def _output_of(self, request_id: str) -> str:
            """What the function printed, up to the marker that ends the invocation."""
            marker = f"{_lambda_bootstrap.MARKER}{request_id}"
            lines: list[str] = []
            try:
                while True:
                    line = self._stderr_queue.get(timeout=_LOG_WAIT_S)
                    if line.endswith(marker):
                        lines += filter(None, [line.removesuffix(marker)])
                        break
                    lines.append(line)
            except queue.Empty:
                lines.append("(the end of the output is missing)")
            return "\n".join(lines)

        def _end(self) -> None:
            process, self._proc, self._stream = self._proc, None, ""
            process.kill()
            process.wait()

    return PythonWorker


class _Last(threading.local):
    """What MiniStack's callers do not pass on about this thread's last invocation."""

    error: dict[str, Any] | None = None
    log_stream: str | None = None


_last = _Last()


def log_stream() -> str | None:
    """The log stream of the environment that served this thread's last invocation, if ours did."""
    return _last.log_stream


def apply() -> None:
    runtime = _seam.core("lambda_runtime")
    service = _seam.service("lambda_svc")
    _seam.expect(runtime, "DURABLE_ENV_VARS", "INVOKE_DEPTH_BOOTSTRAP", "INVOKE_DEPTH_ENV",
                 "_PYTHON_WORKER_SCRIPT")  # fmt: skip
    _seam.expect(runtime.Worker, "_drain_stderr", "_read_stderr", "_spawn")
    _seam.expect_parameters(runtime.Worker.invoke, "self", "event", "request_id", "trace_id",
                            "depth", "durable", "invoked_function_arn")  # fmt: skip
    _seam.expect_parameters(runtime._worker_class_for, "config")
    _seam.expect_parameters(service._execute_function_warm, "func", "event", "request_id")
    python_worker = worker_class(runtime)
    stock_class_for, stock_warm = runtime._worker_class_for, service._execute_function_warm

    def class_for(config: dict[str, Any]) -> Any:
        if str(config.get("Runtime", "python3.12")).startswith("python"):
            return python_worker
        return stock_class_for(config)

    def warm(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        _last.error = _last.log_stream = None
        result: dict[str, Any] = stock_warm(function, event, request_id)
        return result | {"body": _last.error} if result.get("error") and _last.error else result

    runtime._worker_class_for = class_for
    service._execute_function_warm = warm
    bootstrap = Path(_lambda_bootstrap.__file__).read_text(encoding="utf-8")
    runtime._PYTHON_WORKER_SCRIPT = f"{runtime.INVOKE_DEPTH_BOOTSTRAP}\n{bootstrap}"
