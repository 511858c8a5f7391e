"""Runs a Python Lambda function in its own process: the runtime's half of `lambda_latency`.

Reads one JSON line to initialise, then one a invocation, from stdin; answers each with one JSON
line on what was stdout. Everything the function prints goes to stderr, where a marker line ends
the output of each invocation. This file is copied beside the function's code: it imports nothing
of ours.
"""

import importlib
import json
import logging
import os
import sys
import sysconfig
import time
import traceback
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from typing import Any

MARKER = "\x1e"
# What AWS's Python runtimes bring along; anything else must be in the function's package.
RUNTIME_PACKAGES = frozenset(
    (
        *("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six"),
        *("snapshot_restore_py", "urllib3"),
    )
)


class BundledPackages:
    """Finds the runtime's own packages, and only those, where this interpreter has them."""

    def __init__(self, path: list[str]) -> None:
        self._path = path

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if path is None and name in RUNTIME_PACKAGES:
            return PathFinder.find_spec(name, self._path)
        return None


class RequestIdFormatter(logging.Formatter):
    """AWS's format: [LEVEL], time, request id, message."""

    request_id = ""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = f"[{record.levelname}]\t{moment}.{int(record.msecs):03d}Z\t{self.request_id}\t"
        text += record.getMessage()
        return text + "\n" + self.formatException(record.exc_info) if record.exc_info else text


class Context:
    """The context object a handler receives."""

    identity = None
    client_context = None

    def __init__(self, init: dict[str, Any], invocation: dict[str, Any]) -> None:
        name = init.get("function_name", "")
        self.function_name = name
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.memory_limit_in_mb = str(init.get("memory", 128))
        self.invoked_function_arn = invocation.get("invoked_function_arn") or init.get("arn", "")
        self.aws_request_id = invocation.get("request_id", "")
        self.log_group_name = f"/aws/lambda/{name}"
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self._deadline_s = time.monotonic() + invocation.get("timeout_ms", 3000) / 1000

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline_s - time.monotonic()) * 1000))


def isolate(init: dict[str, Any]) -> None:
    """The function sees the standard library, its own code, its layers and AWS's packages."""
    standard = sysconfig.get_paths()["stdlib"]
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    ours: list[str] = []
    host: list[str] = []
    for entry in sys.path[1:]:
        inside = entry.startswith(standard) and "-packages" not in entry
        (ours if inside or entry.endswith(archive) else host).append(entry)
    layers = []
    for layer in filter(None, os.environ.get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep)):
        layers.append(os.path.join(layer, "python"))
        library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        layers.append(os.path.join(layer, "python", library))
    sys.path[:] = [init["code_dir"], *filter(os.path.isdir, layers), *ours]
    finders: list[Any] = [BuiltinImporter, FrozenImporter, PathFinder, BundledPackages(host)]
    sys.meta_path[:] = finders


def main() -> None:
    # The answers' own channel: prints, also those of child processes, go to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", buffering=1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    init = json.loads(sys.stdin.readline())
    os.environ.update(init.get("env") or {})
    isolate(init)
    formatter = RequestIdFormatter()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    install_depth = globals().get("_ms_install_invoke_depth")
    if install_depth is not None:
        install_depth()
    try:
        module = importlib.import_module(init["module"])
        function = getattr(module, init["handler"])
    except BaseException as exc:  # noqa: BLE001 - also an exit: the caller reports it
        traceback.print_exc()
        answer(status="error", error=f"Unable to import module '{init['module']}': {exc}")
        return
    answer(status="ready", cold=True)
    for line in sys.stdin:
        message = json.loads(line)
        invocation = message.get("ctx") or {}
        set_environment(invocation)
        formatter.request_id = invocation.get("request_id", "")
        answer(**invoke(function, message["event"], Context(init, invocation)))
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(2, f"{MARKER}{formatter.request_id}\n".encode())


def set_environment(invocation: dict[str, Any]) -> None:
    """The variables that change with each invocation."""
    variables = {"_X_AMZN_TRACE_ID": invocation.get("trace_id")}
    variables.update(invocation.get("variables") or {})
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value)


def invoke(function: Any, event: Any, context: Context) -> dict[str, Any]:
    try:
        result = function(event, context)
    except Exception as exc:  # noqa: BLE001 - the function's error, to be reported
        frames = traceback.extract_tb(exc.__traceback__)[1:]
        return {
            "status": "error",
            "error": str(exc),
            "error_type": type(exc).__name__,
            "stack": traceback.format_list(frames),
            "trace": f"[ERROR] {type(exc).__name__}: {exc}\n"
            + "".join(traceback.format_tb(exc.__traceback__)),
        }
    try:
        json.dumps(result)
    except (TypeError, ValueError) as exc:
        text = f"Unable to marshal response: {exc}"
        return {"status": "error", "error": text, "error_type": "Runtime.MarshalError"}
    return {"status": "ok", "result": result}


if __name__ == "__main__":
    main()
