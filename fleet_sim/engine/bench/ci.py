"""`fleet-sim bench ci`: is this tree slower than the baseline that is committed?

Every measurement stands beside the calibration loop, and only their ratio counts: another machine,
or a busy one, takes longer for both. Parts take turns, so that what lasts a while hits all of them.
"""

import datetime as dt
import gc
import platform
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from fleet_sim.engine.bench.ci_parts import PARTS, Work, calibrate, slowed
from fleet_sim.engine.bench.ci_run import run_once
from fleet_sim.measure.regression import FEWEST, Compared, compare, half_width, spread

ROUNDS, MOST_ROUNDS = 11, 25
"""Of the parts; more than the first number only while the medians are not known well enough."""
RUNS = 9
"""Of the whole pipeline."""
PRECISE = 0.05
"""Half width of a median's interval that is good enough."""
ALLOWED_CPU, ALLOWED_RUN, ALLOWED_MS = 0.08, 0.12, 0.50
"""Slowdowns that pass: of a part's CPU, of a whole run's, and of a latency by the wall clock. The
calibration makes up for another machine only so far."""
TOLD = frozenset({"sent", "acknowledged", "stream"})
"""Stages that take a millisecond or three, by who else wants the core at the moment: told, not
judged. What the generator does there is in its CPU time."""


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantity, measured again and again."""

    unit: str
    values: tuple[float, ...]
    """In the unit."""
    ratios: tuple[float, ...]
    """To the calibration beside each."""
    allowed: float | None
    """Slowdown that passes; None: told, not judged."""


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One session; the baseline's file holds one."""

    date: str
    python: str
    machine: str
    calibration_s: float
    """Median CPU time of the calibration loop."""
    figures: dict[str, Figure]
    version: int = 1
    cpu: str = ""
    """Its model; empty where the system does not say."""


class Row(msgspec.Struct, frozen=True):
    """A figure beside the baseline's."""

    name: str
    unit: str
    median: float
    """In the unit."""
    spread: float
    """Of the ratios: half the width between quartiles, as a share of their median."""
    rounds: int
    compared: Compared | None
    """None where the baseline has no such figure, or one of the two has too few values."""


class BaselineError(ValueError):
    """The baseline cannot be read; one line."""


class _Measured:
    """A figure that is being measured."""

    def __init__(self, unit: str, allowed: float | None) -> None:
        self.unit, self.allowed = unit, allowed
        self.values: list[float] = []
        self.ratios: list[float] = []

    def add(self, value: float, beside: float) -> None:
        self.values.append(value)
        self.ratios.append(value / beside)

    def figure(self) -> Figure:
        return Figure(self.unit, tuple(self.values), tuple(self.ratios), self.allowed)


def measure(
    *,
    runs: int = RUNS,
    rounds: int = ROUNDS,
    plant: float = 0.0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Measure all. `runs` 0 leaves the pipeline out; `plant` slows all of it down by that share.
    Raises `BenchError` when a run fails."""
    calibrations: list[float] = []
    found: dict[str, _Measured] = {}
    for _ in range(3):
        calibrate()  # caches and clocks settle
    try:
        for line in _measure_parts(found, calibrations, rounds, plant):
            on_progress(line)
    finally:
        gc.unfreeze()
    for number in range(runs):
        on_progress(f"run {number + 1} of {runs} of the whole pipeline")
        before = calibrate()
        piped = run_once(plant)
        after = calibrate()
        cpu_s, wall_s = ((a + b) / 2 for a, b in zip(before, after, strict=True))
        calibrations.append(cpu_s)
        found.setdefault("run_cpu", _Measured("s", ALLOWED_RUN)).add(piped.cpu_s, cpu_s)
        per_message = found.setdefault("generator_cpu", _Measured("us", ALLOWED_RUN))
        per_message.add(piped.cpu_us_per_message, cpu_s)
        for stage, p50_ms in piped.p50_ms.items():
            allowed = None if stage in TOLD else ALLOWED_MS
            latency = found.setdefault(f"p50_{stage}", _Measured("ms", allowed))
            latency.add(p50_ms, wall_s)
    return Bench(
        date=f"{dt.date.today()}",
        python=platform.python_version(),
        machine=f"{platform.machine()}, {platform.system()}",
        calibration_s=statistics.median(calibrations),
        figures={name: each.figure() for name, each in found.items()},
        cpu=_cpu(Path("/proc/cpuinfo")),
    )


def _cpu(info: Path) -> str:
    """Model of the first core, as Linux tells it."""
    try:
        text = info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    models = (line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line)
    return next(models, "")


def _measure_parts(
    found: dict[str, _Measured], calibrations: list[float], rounds: int, plant: float
) -> Iterator[str]:
    """In rounds, all parts in each; goes on while a median is not known well enough."""
    rng = np.random.default_rng(0)
    works: dict[str, Work] = {}
    for part in PARTS:
        yield f"preparing: {part.name}"
        work = part.prepare()
        works[part.name] = slowed(work, plant) if plant else work
        works[part.name]()
        found[part.name] = _Measured("s", ALLOWED_CPU)
    # What was prepared stays: looking through all of it took some rounds a fifth longer.
    gc.collect()
    gc.freeze()
    for number in range(max(rounds, MOST_ROUNDS)):
        open_ = [
            name
            for name in works
            if number < rounds or half_width(found[name].ratios, rng) > PRECISE
        ]
        if not open_:
            return
        yield f"round {number + 1}: {', '.join(open_)}"
        before = calibrate()[0]
        for name in open_:
            took_s = works[name]()
            after = calibrate()[0]
            beside = (before + after) / 2
            found[name].add(took_s, beside)
            calibrations.append(beside)
            before = after


def compare_all(now: Bench, base: Bench | None) -> list[Row]:
    """Every figure, beside the baseline's where it has one."""
    rng = np.random.default_rng(0)
    rows = []
    for name, figure in now.figures.items():
        before = base.figures.get(name) if base else None
        enough = before is not None and min(len(before.ratios), len(figure.ratios)) >= FEWEST
        rows.append(
            Row(
                name=name,
                unit=figure.unit,
                median=statistics.median(figure.values),
                spread=spread(figure.ratios),
                rounds=len(figure.values),
                compared=compare(before.ratios, figure.ratios, figure.allowed, rng)
                if before is not None and enough
                else None,
            )
        )
    return rows


def missing(now: Bench, base: Bench) -> list[str]:
    """Figures of the baseline that were not measured."""
    return [name for name in base.figures if name not in now.figures]


def unlike(now: Bench, base: Bench) -> list[str]:
    """What differs from the baseline's machine, a sentence each: the calibration makes up for one
    that is slower at everything alike, and not for all of this."""
    said = []
    if now.cpu and base.cpu and now.cpu != base.cpu:
        said.append(f"The baseline is of another CPU: {base.cpu}, and this is {now.cpu}.")
    if now.python.split(".")[:2] != base.python.split(".")[:2]:
        said.append(f"The baseline is of Python {base.python}, and this is {now.python}.")
    if said:
        said.append(
            "To be sure, measure what was before here, too: bench ci --write --baseline FILE."
        )
    return said


def read_baseline(path: Path) -> Bench:
    """`BaselineError` when it is not there, or is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bench)
    except OSError as error:
        raise BaselineError(
            f"{path}: {error.strerror} (allowed: a baseline; --write makes one)"
        ) from None
    except msgspec.DecodeError as error:
        raise BaselineError(f"{path}: {error} (allowed: a baseline; --write makes one)") from None


def write_baseline(path: Path, bench: Bench) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(bench)) + b"\n")


def told(rows: list[Row]) -> list[tuple[str, ...]]:
    """A table, its heading first."""
    table: list[tuple[str, ...]] = [
        ("figure", "median", "spread", "n", "ratio to baseline", "95 % interval", "verdict")
    ]
    for row in rows:
        value = f"{row.median:.4g} {row.unit}", f"±{row.spread:.1%}", f"{row.rounds}"
        if row.compared is None:
            table.append((row.name, *value, "–", "–", "new"))
            continue
        c = row.compared
        verdict = c.verdict.upper() if c.verdict == "slower" else c.verdict
        table.append((row.name, *value, f"{c.change:.3f}", f"{c.low:.3f}–{c.high:.3f}", verdict))
    return table


def markdown(rows: list[Row], now: Bench, base: Bench | None) -> str:
    """For a comment or a step summary."""
    mark = _mark(rows)
    if base is not None and (absent := missing(now, base)):
        mark += f"; not measured: {', '.join(absent)}"
    head, *body = told(rows)
    lines = [f"## Benchmark: {mark}", ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in body]
    lines += ["", f"Calibration loop: {now.calibration_s * 1e3:.1f} ms of CPU"]
    if base is not None:
        lines[-1] += f" (baseline: {base.calibration_s * 1e3:.1f} ms, {base.date}, {base.machine})"
    lines[-1] += ". Ratios are taken to it, so another machine's speed is no regression."
    if base is not None and (differs := unlike(now, base)):
        lines += ["", " ".join(differs)]
    return "\n".join(lines) + "\n"


def _mark(rows: list[Row]) -> str:
    """How it came out."""
    compared = [(row.name, row.compared.verdict) for row in rows if row.compared]
    if not compared:
        return "⚠️ nothing was compared"
    slower, undecided = (
        ", ".join(name for name, verdict in compared if verdict == wanted)
        for wanted in ("slower", "undecided")
    )
    if slower:
        return f"❌ slower: {slower}"
    return f"✅ no regression shown; undecided: {undecided}" if undecided else "✅ no regression"
