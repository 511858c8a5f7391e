"""What the end of a run takes, up to its report: time and memory of each part, in one process.

Everything after the phases is done as a run does it, on a made-up one of any size; only fetching
and decoding the archive's objects, which is the cloud's and msgspec's work, is not.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleet_sim.engine.bench.made_up import MadeUp, Size
from fleet_sim.engine.conclude import conclude
from fleet_sim.engine.folder import RunFolder, prepare_folder

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PartCost(msgspec.Struct, frozen=True):
    """One part of a run's end."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    """Resident memory of the whole process at its highest during the part; where the system does
    not tell (elsewhere than on Linux), since the process began."""


class ReportCost(msgspec.Struct, frozen=True):
    """What the end of one run took, and its report."""

    rows: int
    ledger_mb: float
    render_s: float
    render_cpu_s: float
    peak_mb: float
    """The highest of all parts'."""
    page_mb: float
    end_s: float
    """All parts but `collect`, whose records are made up meanwhile."""
    end_cpu_s: float
    parts: dict[str, PartCost]
    """In order: `merge` (the shards' files), `collect` (keeping the archive's records), `audit`,
    `latencies`, `series` and `ledger` (writing), `report`."""


class Parts:
    """Time and memory of one part after the other."""

    def __init__(self) -> None:
        self.found: dict[str, PartCost] = {}
        self._name = ""
        self._wall = self._cpu = 0.0

    def begin(self, name: str) -> None:
        """The part before has ended."""
        self.end()
        _forget_peak()
        self._name = name
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        if self._name:
            self.found[self._name] = PartCost(
                wall_s=time.perf_counter() - self._wall,
                cpu_s=time.process_time() - self._cpu,
                peak_mb=_peak_mb(),
            )
        self._name = ""


def measure(folder: Path, size: Size, render: Callable[[Path], Path]) -> ReportCost:
    """Make a run up, conclude it into `folder` and render that. `PreflightError` when it is not
    empty."""
    prepare_folder(folder)
    parts = Parts()
    with tempfile.TemporaryDirectory() as shards:
        rows = _end(folder, size, Path(shards), parts)
    parts.begin("report")
    page = render(folder)
    parts.end()
    report = parts.found["report"]
    timed = [part for name, part in parts.found.items() if name != "collect"]
    return ReportCost(
        rows=rows,
        ledger_mb=(folder / "ledger.parquet").stat().st_size / 1e6,
        render_s=report.wall_s,
        render_cpu_s=report.cpu_s,
        peak_mb=max(part.peak_mb for part in parts.found.values()),
        page_mb=page.stat().st_size / 1e6,
        end_s=sum(part.wall_s for part in timed),
        end_cpu_s=sum(part.cpu_s for part in timed),
        parts=parts.found,
    )


def write_run(folder: Path, size: Size) -> int:
    """Write the folder of a made-up run, without its page; how many rows its ledger has."""
    prepare_folder(folder)
    with tempfile.TemporaryDirectory() as shards:
        return _end(folder, size, Path(shards), Parts())


def _end(folder: Path, size: Size, shards: Path, parts: Parts) -> int:
    made = MadeUp(size, shards)
    parts.begin("merge")
    driven = made.driven()
    parts.begin("collect")
    collected = made.collected()
    outcome = made.outcome(driven, collected)
    conclude(outcome, RunFolder.create(folder, made.scenario), parts.begin)
    parts.end()
    return len(driven.columns.seq)


def _forget_peak() -> None:
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # proc(5): resets VmHWM


def _peak_mb() -> float:
    if _CLEAR.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
