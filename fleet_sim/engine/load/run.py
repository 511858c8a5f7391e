"""Locust beside a run: starts it, tells it when the phases begin, ends it, reads what it found."""

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from fleet_sim.engine.clock import Clock
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.load.plan import BEGIN, READY, Plan
from fleet_sim.engine.load.result import read
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.measure.load import LoadResult, failed_report
from fleet_sim.resources import data_dir
from fleet_sim.scenario import Scenario

FOLDER = "load"
"""Of the run folder: the plan, Locust's log and page, `load.json`, percentile tables."""
LOG = "locust.log"
READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0
"""After the last phase, or after it was told to end."""
_CODES = (0, 1, 99)
"""All held or no thresholds; requests failed; a threshold is broken."""


def check_load_test(scenario: Scenario, target: str) -> None:
    """`PreflightError` when the scenario wants a load test that this installation cannot make, or
    the target has no API."""
    if scenario.load is None or not scenario.load.anybody:
        return
    if target not in ("local", "aws", "aws:443"):
        raise PreflightError(f"load: {target} has no API (allowed: --target local or aws)")
    if importlib.util.find_spec("locust") is None:
        raise PreflightError(
            "load: locust is not installed (allowed: pip install 'fleet-sim[load]')"
        )


class LoadRun:
    """One load test of a run. `start` first, and `finish` or `kill` in the end."""

    def __init__(self, plan: Plan, workers: int, folder: RunFolder) -> None:
        self._path = folder.path / FOLDER
        self._plan = msgspec.structs.replace(plan, out=str(self._path.resolve()), waits=True)
        self._workers = workers
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._late = ""
        self.result = LoadResult(
            report=failed_report("it did not begin"), metrics={}, thresholds=[], series=[]
        )
        """Complete when `finish` has returned."""

    def start(self) -> None:
        """Locust comes up, and waits for the first phase."""
        self._path.mkdir(parents=True, exist_ok=True)
        plan = self._path / "plan.json"
        plan.write_bytes(msgspec.json.format(msgspec.json.encode(self._plan)))
        command = [sys.executable, "-m", "locust", "-f", str(data_dir("loadtests"))]
        command += ["--headless", "--only-summary", "--plan", str(plan)]
        command += ["--html", str(self._path / "locust.html"), "--csv", str(self._path / "locust")]
        if self._workers > 1:
            port = str(_free_port())
            command += ["--processes", str(self._workers)]
            command += ["--master-bind-host", "127.0.0.1", "--master-bind-port", port]
            command += ["--master-port", port]
        package = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH")) if part)
        with (self._path / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is for the run, which then ends it: its result is to be in the report.
                start_new_session=True,
            )

    async def ready(self) -> str:
        """Until it is up, so that its users come with the phases; then an empty text. Else why it
        is not, and the result of `finish` tells it too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_TIMEOUT_S
        while not (self._path / READY).exists():
            if self._process is None or self._process.poll() is not None:
                return "Locust has ended"
            if loop.time() > deadline:
                self._late = f"Locust was not up within {READY_TIMEOUT_S:.0f} s"
                return self._late
            await asyncio.sleep(0.1)
        return ""

    async def drive(self, supervisor: Supervisor, clock: Clock) -> None:
        """Tell it when the first phase has begun."""
        while not supervisor.t0_ns:
            await clock.sleep(0.02)
        part = self._path / f".{BEGIN}.part"
        part.write_text(f"{supervisor.t0_ns / 1e9:.6f}")
        part.replace(self._path / BEGIN)
        self._folder.log("load", users=[spell.users for spell in self._plan.spells])

    def finish(self, *, early: bool) -> None:
        """Wait for its result; `early`: tell it to end now."""
        process = self._process
        if process is None:
            return
        why = self._late
        if early:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(END_TIMEOUT_S)
            if code not in _CODES and not early:
                why = why or f"Locust ended with code {code}"
        except subprocess.TimeoutExpired:
            why = f"Locust did not end within {END_TIMEOUT_S:.0f} s"
            self.kill()
        try:
            found = read(self._path)
        except ValueError as error:
            found, why = None, str(error)
        if found is None:
            why = why or "Locust left no result"
            self.result = msgspec.structs.replace(
                self.result, report=failed_report(f"{why}; see {FOLDER}/{LOG}")
            )
        elif why:
            report = msgspec.structs.replace(found.report, problem=f"{why}; see {FOLDER}/{LOG}")
            self.result = msgspec.structs.replace(found, report=report)
        else:
            self.result = found
        self._folder.log("load_end", problem=self.result.report.problem)

    def kill(self) -> None:
        """End it and its workers at once; nothing happens when it has ended."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGKILL)  # the session is its own
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
