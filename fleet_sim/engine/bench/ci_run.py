"""The whole pipeline for `fleet-sim bench ci`: a fixed run on a local AWS of its own, in processes
of its own, and what it took."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from fleet_sim.engine.bench.ci_plant import planted
from fleet_sim.measure.stages import STAGES
from fleet_sim.measure.summary import Summary, from_json

SCENARIO = """\
name: bench-ci
description: What `fleet-sim bench ci` runs; no radio, so that nothing waits.
seed: 7
city: {generate: {blocks: [5, 4]}}
fleet: [{group: cars, count: 100, radio: none, telemetry: {period: 1s, qos: 1}}]
phases: [{name: all, duration: 8s}]
"""
TIMEOUT_S = 300.0


class BenchError(RuntimeError):
    """A run of the benchmark failed; the message ends with what it said last."""


class Piped(NamedTuple):
    """One run."""

    cpu_s: float
    """Of all its processes, from the start of the local AWS to the report."""
    cpu_us_per_message: float
    """Of the generator alone."""
    p50_ms: dict[str, float]
    """By stage, from the intended time."""


def run_once(plant: float = 0.0) -> Piped:
    """`plant`: all its Python processes are slower by so much. `BenchError` when it does not pass:
    a figure of half a run is none."""
    package = str(Path(__file__).resolve().parents[3])
    with tempfile.TemporaryDirectory(prefix="fleet-sim-bench-") as name:
        folder = Path(name)
        parts = [package, os.environ.get("PYTHONPATH", "")]
        if plant:
            parts.insert(0, str(planted(folder / "planted", plant)))
        path = os.pathsep.join(filter(None, parts))
        (folder / "bench.yaml").write_text(SCENARIO)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fleet_sim", "run", "bench.yaml", "--out", "run"],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            before = _children_cpu_s()
            try:
                process.wait(TIMEOUT_S)
            except BaseException as error:
                process.terminate()  # it then stops what it has started
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise BenchError(f"the run took longer than {TIMEOUT_S:.0f} s") from None
                raise
        cpu_s = _children_cpu_s() - before
        if process.returncode:
            said = (folder / "log").read_text(errors="replace").strip().splitlines()[-5:]
            raise BenchError(f"the run ended with code {process.returncode}: " + " | ".join(said))
        return of_summary(from_json((folder / "run" / "summary.json").read_bytes()), cpu_s)


def _children_cpu_s() -> float:
    """Of children that have ended, and of theirs that they have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of_summary(summary: Summary, cpu_s: float) -> Piped:
    """`BenchError` when a figure is missing."""
    per_message = summary.generator.cpu_us_per_message
    p50_ms = {}
    for stage in STAGES:
        found = summary.metrics.get(f"latency_ms{{stage:{stage}}}", {}).get("p50")
        if found is not None:
            p50_ms[stage] = found
    if per_message is None or "visible" not in p50_ms:
        raise BenchError("the run measured no message at the API")
    return Piped(cpu_s, per_message, p50_ms)
