"""Starts, finds and stops the local AWS's process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from fleet_sim.cloud.local._processes import start_token, terminate_group
from fleet_sim.cloud.local._types import Endpoints, LocalAwsError

ENDPOINTS_FILE = "endpoints.json"
LOG_FILE = "local-aws.log"
TMP_DIR = "tmp"
_LOG_TAIL_BYTES = 4096


class Running(msgspec.Struct, frozen=True):
    """What `endpoints.json` holds: the endpoints, and enough to know the process again."""

    endpoints: Endpoints
    start_token: str
    keep_running: bool


class LocalAws:
    """A local AWS in a child process.

    As a context manager it starts on entry and stops on exit. With `keep_running` the process
    outlives this one and is found again with `attach`; without, it ends with this process however
    this process ends. `on_log` receives the launcher's progress, one line a call; the child's own
    log is `state_dir/local-aws.log`. State lives in memory: every start is an empty account.

    `enforce_iam` makes the APIs and the MQTT broker enforce IAM and IoT policies.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        keep_running: bool = False,
        enforce_iam: bool = False,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self._state_dir = Path(state_dir).resolve()
        self._keep_running = keep_running
        self._enforce_iam = enforce_iam
        self._on_log = on_log
        self._child: subprocess.Popen[bytes] | None = None
        self._endpoints: Endpoints | None = None

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints of the started local AWS. Raises `LocalAwsError` before `start`."""
        if self._endpoints is None:
            raise LocalAwsError("the local AWS is not started")
        return self._endpoints

    def start(self, timeout_s: float = 120) -> Endpoints:
        """Starts the child and returns once every API and the MQTT listener accept connections.

        Raises `LocalAwsError` with the end of the child's log when it exits or is not ready within
        `timeout_s`, and when one is already running on this `state_dir`.
        """
        if self._child is not None or _read_running(self._state_dir) is not None:
            raise LocalAwsError(f"a local AWS is already running on {self._state_dir}")
        self._state_dir.mkdir(parents=True, exist_ok=True)
        (self._state_dir / ENDPOINTS_FILE).unlink(missing_ok=True)
        shutil.rmtree(self._state_dir / TMP_DIR, ignore_errors=True)
        (self._state_dir / TMP_DIR).mkdir()
        self._say(f"starting the local AWS in {self._state_dir}")
        began = time.monotonic()
        self._child = self._spawn()
        try:
            running = self._wait_ready(self._child, began + timeout_s, timeout_s)
        except BaseException:
            self.stop()
            raise
        self._endpoints = running.endpoints
        took_s = time.monotonic() - began
        self._say(f"local AWS ready in {took_s:.1f} s at {running.endpoints.gateway_url}")
        return running.endpoints

    def stop(self, timeout_s: float = 5) -> None:
        """Ends the child and all of its Lambda workers; it has `timeout_s` to do so by itself."""
        child, self._child, self._endpoints = self._child, None, None
        if child is None:
            return
        terminate_group(child.pid, timeout_s)
        child.wait()
        _clean(self._state_dir)
        self._say("local AWS stopped")

    def alive(self) -> bool:
        """Whether the child this object started is running."""
        # Not poll(): that would collect the child, and its number would be free for another
        # process while we still mean to end its group.
        return self._child is not None and start_token(self._child.pid) is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._keep_running:
            self.stop()
        elif self._child is not None:
            # No longer ours: Popen would warn that it still runs.
            self._child.returncode = 0

    @staticmethod
    def attach(state_dir: Path) -> Endpoints | None:
        """The endpoints of a running local AWS started with `keep_running` on this folder."""
        running = _read_running(Path(state_dir))
        return running.endpoints if running is not None and running.keep_running else None

    @staticmethod
    def stop_running(state_dir: Path, timeout_s: float = 5) -> bool:
        """Stops what `attach` would find. True when there was one."""
        running = _read_running(Path(state_dir))
        if running is None:
            return False
        terminate_group(running.endpoints.pid, timeout_s)
        _clean(Path(state_dir))
        return True

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fleet_sim.cloud.local.server", str(self._state_dir)]
        if self._keep_running:
            command.append("--keep-running")
        else:
            command += ["--parent", str(os.getpid())]
        if self._enforce_iam:
            command.append("--enforce-iam")
        with open(self._state_dir / LOG_FILE, "wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own session: Ctrl-C in the terminal reaches us, and we decide when it stops.
                start_new_session=True,
                env=_child_environment(self._state_dir),
            )

    def _wait_ready(
        self, child: subprocess.Popen[bytes], deadline: float, timeout_s: float
    ) -> Running:
        while True:
            running = _read_running(self._state_dir)
            if running is not None and running.endpoints.pid == child.pid:
                return running
            code = child.poll()
            if code is not None:
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
                raise LocalAwsError(f"the local AWS exited with {how}\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise LocalAwsError(
                    f"the local AWS was not ready within {timeout_s} s\n{self._log_tail()}"
                )
            time.sleep(0.02)

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError), open(self._state_dir / LOG_FILE, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
        return "(no log)"

    def _say(self, line: str) -> None:
        if self._on_log is not None:
            self._on_log(line)


def _child_environment(state_dir: Path) -> dict[str, str]:
    """The child sees this process's environment, less what would redirect it or its Lambdas."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MINISTACK_", "LAMBDA_", "IOT_"))
    }
    # The package must be importable whatever the working directory of the caller.
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    environment["TMPDIR"] = str(state_dir / TMP_DIR)
    return environment


def _read_running(state_dir: Path) -> Running | None:
    """The local AWS that wrote this folder's `endpoints.json`, if that very process still runs."""
    try:
        running = msgspec.json.decode((state_dir / ENDPOINTS_FILE).read_bytes(), type=Running)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.MsgspecError:
        # Written by another version: it names no process we could know again.
        return None
    return running if start_token(running.endpoints.pid) == running.start_token else None


def _clean(state_dir: Path) -> None:
    (state_dir / ENDPOINTS_FILE).unlink(missing_ok=True)
    shutil.rmtree(state_dir / TMP_DIR, ignore_errors=True)
