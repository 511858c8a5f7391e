"""What a load test found, judged and written."""

import os
from pathlib import Path
from typing import TextIO

import msgspec

from fleet_sim.engine.load.plan import Plan
from fleet_sim.measure.load import FILE, LoadResult, Tally
from fleet_sim.measure.thresholds import evaluate

_PERCENTILES = ("p50", "p95", "p99", "max")


def conclude(
    tally: Tally,
    plan: Plan,
    begin_s: float,
    workers: int,
    *,
    cpu_warning: bool = False,
    problem: str = "",
) -> LoadResult:
    """Judge by the plan's thresholds, and write its `out`, if it has one. `begin_s`: when time 0
    is, s since the epoch."""
    metrics = tally.metrics(plan.thresholds)
    result = LoadResult(
        report=tally.report(begin_s, workers, cpu_warning=cpu_warning, problem=problem),
        metrics=metrics,
        thresholds=evaluate(plan.thresholds, metrics),
        series=tally.series(begin_s),
    )
    if plan.out:
        write(result, tally.hgrm(), Path(plan.out))
    return result


def write(result: LoadResult, tables: dict[str, str], folder: Path) -> None:
    """`load_NAME.hgrm` of each name, then `load.json`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        _write(folder / f"load_{file_name(name)}.hgrm", text.encode())
    _write(folder / FILE, msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def file_name(name: str) -> str:
    """Of a request: letters, digits, `-` and `_` stay."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:80]


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def read(folder: Path) -> LoadResult | None:
    """What `conclude` wrote; None when it did not get there. `ValueError` for anything else."""
    try:
        data = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=LoadResult)
    except msgspec.DecodeError as error:
        raise ValueError(f"{folder / FILE}: {error}") from None


def print_result(result: LoadResult, to: TextIO) -> None:
    """A table of the requests, then each threshold."""
    report = result.report
    head = ("request", "kind", "count", "failed", "cut", "a second", *_PERCENTILES)
    rows: list[tuple[str, ...]] = [head]
    for name, of in report.requests.items():
        values = [of.latency_ms.get(key) for key in _PERCENTILES]
        told = ["-" if value is None else f"{value:.2f}" for value in values]
        counts = (f"{of.count}", f"{of.failed}", f"{of.cut}", f"{of.rate:.1f}")
        rows.append((name, of.kind, *counts, *told))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    to.write(f"fleet-sim: {report.users_max} users, {report.workers} worker(s), ms, unrounded\n")
    for row in rows:
        left, *numbers = zip(row, widths, strict=True)
        cells = [f"{left[0]:<{left[1]}}", *(f"{text:>{width}}" for text, width in numbers)]
        to.write("  ".join(cells).rstrip() + "\n")
    for reason, count in report.reasons.items():
        to.write(f"{count} x {reason}\n")
    if report.problem:
        to.write(f"not complete: {report.problem}\n")
    if report.cpu_warning:
        to.write("a process took more than 90 % of a core: latencies may be Locust's own\n")
    for threshold in result.thresholds:
        to.write(f"{'held  ' if threshold.passed else 'BROKEN'} {threshold.message}\n")
    to.flush()
