"""Two run folders beside each other: what differs, by how much, and whether that is noise."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure import compare, maphistory
from fleet_sim.measure.compare import Judgement, Row, Sampled
from fleet_sim.measure.summary import Summary
from fleet_sim.report.folder import RunFolder
from fleet_sim.report.ledger import DELIVERED, SERVICE, LedgerGrids

FloatArray = NDArray[np.float64]

SEED = 0xC0
"""Of the bootstrap: the same two folders give the same intervals."""

SHOTS_A_BLOCK = 3

_LOOPBACK = re.compile(r" at http://127\.0\.0\.1:\d+$")
"""Of a local AWS: its port is another one at each start, and says nothing."""

WORDS: dict[Judgement, str] = {
    "worse": "worse",
    "better": "better",
    "same": "no difference shown",
    "unknown": "no interval",
}


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """Which run it was."""

    folder: str
    id: str
    scenario: str
    seed: int
    target: str
    vehicles: int
    verdict: str
    messages: int
    blocks: int
    """Of time, that the intervals rest on."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `fleet-sim compare --json`."""

    a: Side
    b: Side
    doubts: list[str]
    """Why the two may not be comparable, one line each."""
    block_s: float
    confidence: float
    rounds: int
    rows: list[Row]
    version: int = 1


class _Half(NamedTuple):
    """One run, resampled."""

    run: RunFolder
    grids: LedgerGrids
    sampled: Sampled


def compare_runs(
    a: RunFolder,
    b: RunFolder,
    *,
    block_s: float | None = None,
    percentiles: Sequence[float] = compare.PERCENTILES,
    confidence: float = 0.95,
    rounds: int = compare.ROUNDS,
) -> Comparison:
    """Compare run folders; `block_s`: default a 24th of the shorter run, 2 to 30 s.

    `ValueError` names a folder without a ledger that can be read.
    """
    folders = [a, b]
    grids = [_grids(folder) for folder in folders]
    if block_s is None:
        shortest = min(grid.slots * grid.slot_s for grid in grids)
        block_s = float(min(max(shortest / 24, 2.0), 30.0))
    rng = np.random.default_rng(SEED)
    halves = []
    for folder, grid in zip(folders, grids, strict=True):
        spans = [(phase.start_s, phase.end_s) for phase in folder.summary.phases]
        strata = compare.strata_of(spans, grid.slots, grid.slot_s)
        length = max(1, round(block_s / grid.slot_s))
        sampled = compare.resample(grid.slots, strata, length, rng, rounds)
        halves.append(_Half(folder, grid, sampled))
    one, two = halves
    rows = [
        *_latencies(one, two, percentiles, confidence),
        *_rates(one, two, confidence),
        *_map(one.run, two.run, confidence, rounds),
    ]
    return Comparison(
        a=_side(one),
        b=_side(two),
        doubts=_doubts(one, two),
        block_s=block_s,
        confidence=confidence,
        rounds=rounds,
        rows=rows,
    )


def _grids(folder: RunFolder) -> LedgerGrids:
    if isinstance(folder.grids, str):
        raise ValueError(f"{folder.path}: nothing to compare: {folder.grids}")
    return folder.grids


def _side(half: _Half) -> Side:
    run = half.run.summary.run
    return Side(
        folder=str(half.run.path),
        id=run.id,
        scenario=run.scenario,
        seed=run.seed,
        target=run.target,
        vehicles=half.run.summary.generator.vehicles,
        verdict=run.verdict,
        messages=half.grids.rows,
        blocks=half.sampled.blocks,
    )


def _doubts(one: _Half, two: _Half) -> list[str]:
    """What a difference may come from besides the thing one wants to compare."""
    found = []
    sides = (("A", one.run.summary), ("B", two.run.summary))
    for name, summary in sides:
        if summary.run.verdict == "generator_overloaded":
            found.append(f"{name}: the generator was overloaded, its latencies are its own")
        elif summary.run.verdict in ("interrupted", "target_failed"):
            found.append(f"{name} did not come to its end: {summary.run.verdict}")
    facts: dict[str, list[str]] = {
        "scenario": [s.run.scenario for _, s in sides],
        "target": [_LOOPBACK.sub("", s.run.target) for _, s in sides],
        "vehicles": [str(s.generator.vehicles) for _, s in sides],
        "phases": [_phases(s) for _, s in sides],
        "CPUs": [str(s.environment.cpus) for _, s in sides],
        "platform": [s.environment.platform for _, s in sides],
    }
    for what, (left, right) in facts.items():
        if left != right:
            found.append(f"the runs differ in their {what}: {left} and {right}")
    if _load(one.run.summary) != _load(two.run.summary) and not found:
        found.append("the runs differ in how many messages were due")
    return found


def _load(summary: Summary) -> int:
    return summary.generator.scheduled


def _phases(summary: Summary) -> str:
    spans = (f"{p.name} {p.end_s - p.start_s:.0f} s" for p in summary.phases)
    return ", ".join(spans) or "none"


def _enough(one: Sampled, two: Sampled) -> bool:
    return min(one.blocks, two.blocks) >= compare.LEAST_BLOCKS


def _latencies(
    one: _Half, two: _Half, percentiles: Sequence[float], confidence: float
) -> list[Row]:
    rows = []
    enough = _enough(one.sampled, two.sampled)
    stages = [name for name in one.grids.stages if name in two.grids.stages]
    for stage in stages:
        rounds = [
            compare.quantile_rounds(half.sampled, half.grids.stages[stage].counts, percentiles)
            for half in (one, two)
        ]
        name = (
            "service_ms{stage:acknowledged}" if stage == SERVICE else f"latency_ms{{stage:{stage}}}"
        )
        rows += [
            compare.row(
                name,
                f"p{percentile:.10g}",
                "ms",
                rounds[0][:, k],
                rounds[1][:, k],
                lower_is_better=True,
                enough=enough,
                confidence=confidence,
            )
            for k, percentile in enumerate(percentiles)
        ]
    return rows


def _rates(one: _Half, two: _Half, confidence: float) -> list[Row]:
    enough = _enough(one.sampled, two.sampled)

    def rows(name: str, aggregate: str, unit: str, lower: bool, *rounds: FloatArray) -> Row:
        return compare.row(
            name,
            aggregate,
            unit,
            *rounds,
            lower_is_better=lower,
            enough=enough,
            confidence=confidence,
        )

    found = []
    sent, undelivered = [], []
    for half in (one, two):
        seconds = np.full(half.grids.slots, half.grids.slot_s)
        sent.append(compare.ratio_rounds(half.sampled, half.grids.sent.astype(float), seconds))
        due = half.grids.due.astype(np.float64)
        if half.grids.fates:
            arrived = [n for fate, n in half.grids.fates.items() if fate in DELIVERED]
            lost = due - np.sum(arrived, axis=0) if arrived else due
            undelivered.append(compare.ratio_rounds(half.sampled, lost, due))
    found.append(rows("throughput", "rate", "messages/s", False, *sent))
    if len(undelivered) == 2:
        found.append(rows("undelivered", "share", "of messages", True, *undelivered))
    for name in ("audit_lost", "audit_unexplained", "reconnects"):
        a, b = (half.run.summary.metrics.get(name, {}).get("count") for half in (one, two))
        if a is not None or b is not None:
            found.append(compare.single(name, "count", a, b))
    return found


def _map(one: RunFolder, two: RunFolder, confidence: float, rounds: int) -> list[Row]:
    found = []
    histories = [run.history for run in (one, two)]
    if not any(isinstance(history, str) for history in histories):
        found += map_rows(histories, confidence, rounds)
    for what in ("accuracy", "coverage", "brier"):
        values = [
            getattr(run.summary.accuracy, what) if run.summary.accuracy else None
            for run in (one, two)
        ]
        if any(value is not None for value in values):
            found.append(compare.single(f"occupancy_{what}", "at the end", *values))
    return found


def map_rows(histories: Sequence[object], confidence: float, rounds: int) -> list[Row]:
    """How right the map was during the run. A shot without a known spot has no accuracy, and one
    without a spot no coverage; three shots make a block, because the map of one is mostly that of
    the one before."""
    rng = np.random.default_rng(SEED)
    found = []
    for name in ("accuracy", "coverage"):
        series = []
        for history in histories:
            assert isinstance(history, maphistory.MapHistory)
            values = np.array(
                [getattr(maphistory.tally(shot.states), name) for shot in history.shots]
            )
            series.append(values[~np.isnan(values)])
        if not all(map(len, series)):
            continue
        sampled = [
            compare.resample(len(values), [0] * len(values), SHOTS_A_BLOCK, rng, rounds)
            for values in series
        ]
        enough = min(s.blocks for s in sampled) >= compare.LEAST_BLOCKS
        rounded = [
            compare.ratio_rounds(sample, values, np.ones(len(values)))
            for sample, values in zip(sampled, series, strict=True)
        ]
        found.append(
            compare.row(
                f"map_{name}",
                "mean",
                "share",
                *rounded,
                lower_is_better=False,
                enough=enough,
                confidence=confidence,
            )
        )
    return found
