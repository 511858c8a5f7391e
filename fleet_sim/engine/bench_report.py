"""A made-up run folder of any size: `fleet-sim bench report` renders it and says what that takes.

It has an outage, a storm of reconnects, losses and a map that is learnt; its ledger is written by
row groups, so that making it needs no more memory than reading it.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.engine.conclude import environment
from fleet_sim.engine.folder import prepare_folder
from fleet_sim.engine.record import LEDGER_ROWS
from fleet_sim.engine.snapshots import every_s
from fleet_sim.measure.citymap import CityMap, MapSpot
from fleet_sim.measure.fates import Fate
from fleet_sim.measure.histogram import LatencyHistogram
from fleet_sim.measure.maphistory import STATES, MapHistory, Shot, digits
from fleet_sim.measure.stages import STAGES, latencies_ns, series
from fleet_sim.measure.summary import (
    Event,
    Generator,
    PhaseSpan,
    Run,
    ShardFigures,
    Summary,
    to_json,
)

T0_NS = 1_780_000_000_000_000_000
SERIES_ROWS = 2_000_000
"""The per-second series is of so many rows at most; others are as the first ones."""

_MS = 1_000_000

IntArray = NDArray[np.int64]


class Size(NamedTuple):
    """Of the run that is made up."""

    vehicles: int
    seconds: float
    period_s: float
    stalls: int

    @property
    def rows(self) -> int:
        """Messages: each vehicle's, evenly spread."""
        return int(self.vehicles * self.seconds / self.period_s)


class ReportCost(msgspec.Struct, frozen=True):
    """What the report of one run took."""

    rows: int
    ledger_mb: float
    render_s: float
    render_cpu_s: float
    peak_mb: float
    """Memory of the whole process at its highest, in the making of the folder or the rendering."""
    page_mb: float


def measure(folder: Path, rows: int, render: Callable[[Path], Path]) -> ReportCost:
    """Render `folder`."""
    began, cpu = time.perf_counter(), time.process_time()
    page = render(folder)
    return ReportCost(
        rows=rows,
        ledger_mb=(folder / "ledger.parquet").stat().st_size / 1e6,
        render_s=time.perf_counter() - began,
        render_cpu_s=time.process_time() - cpu,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        page_mb=page.stat().st_size / 1e6,
    )


def write_run(folder: Path, size: Size, seed: int = 1) -> int:
    """Write the folder; how many rows its ledger has. `PreflightError` when it is not empty."""
    prepare_folder(folder)
    rng = np.random.default_rng(seed)
    histograms = {stage: LatencyHistogram() for stage in STAGES}
    first: tuple[IntArray, dict[str, IntArray]] | None = None
    fates = np.zeros(len(Fate), np.int64)
    names = pa.array([fate.name.lower() for fate in Fate])
    writer: pq.ParquetWriter | None = None
    for begin in range(0, size.rows, LEDGER_ROWS):
        rows = np.arange(begin, min(begin + LEDGER_ROWS, size.rows))
        intended, times, fate = _messages(rng, rows, size)
        fates += np.bincount(fate, minlength=len(Fate))
        for stage, at_ns in times.items():
            histograms[stage].record_ns(latencies_ns(intended, at_ns))
        if len(rows) and first is None:
            keep = slice(0, SERIES_ROWS)
            first = intended[keep], {stage: at_ns[keep] for stage, at_ns in times.items()}
        table = pa.table(
            {
                "vehicle": (rows % size.vehicles).astype(np.uint32),
                "seq": (rows // size.vehicles + 1).astype(np.uint32),
                "intended_ns": intended,
                "sent_ns": times["sent"],
                "acked_ns": times["acknowledged"],
                "resent": np.zeros(len(rows), np.uint8),
                **{f"{s}_ns": times[s] for s in ("stored", "visible", "stream", "processed")},
                "fate": pa.DictionaryArray.from_arrays(pa.array(fate), names),
            }
        ).replace_schema_metadata({"t0_ns": str(T0_NS)})
        if writer is None:
            path = folder / "ledger.parquet"
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    for stage, histogram in histograms.items():
        (folder / f"latency_{stage}.hgrm").write_text(histogram.hgrm())
    if first is not None:
        _series(folder, size, *first)
    _map(folder, rng, size)
    summary = _summary(size, histograms, fates)
    (folder / "summary.json").write_bytes(to_json(summary))
    (folder / "scenario.yaml").write_text("name: made-up\nseed: 1\n")
    return size.rows


def _messages(
    rng: np.random.Generator, rows: IntArray, size: Size
) -> tuple[IntArray, dict[str, IntArray], NDArray[np.int8]]:
    """Some rows of the ledger. Between 45 and 50 % of the run a quarter of the vehicles cannot
    send, and one message in 20,000 is lost."""
    n = len(rows)
    run_ns = round(size.seconds * 1e9)
    since = (rows / size.rows * run_ns).astype(np.int64)
    intended = T0_NS + since
    down = (rows % size.vehicles < size.vehicles // 4) & (since > 0.45 * run_ns)
    down &= since < 0.5 * run_ns
    back = T0_NS + round(0.5 * run_ns) + (rng.random(n) * 3e9).astype(np.int64)
    sent = np.where(down, back, intended + (rng.gamma(2, 0.2, n) * _MS).astype(np.int64))
    acked = sent + (rng.lognormal(2.5, 0.5, n) * _MS).astype(np.int64)
    arrived = sent + (rng.lognormal(3.4, 0.4, n) * _MS).astype(np.int64)
    processed = arrived + (rng.random(n) * 500 * _MS).astype(np.int64)
    stored = processed + (rng.gamma(3, 10, n) * _MS).astype(np.int64)
    visible = stored + (rng.gamma(2, 50, n) * _MS).astype(np.int64)
    lost = rng.random(n) < 1 / 20_000
    seen = (rng.random(n) < 0.001) & ~lost
    times = {
        "sent": sent,
        "acknowledged": acked,
        "stream": np.where(lost, 0, arrived),
        "processed": np.where(lost, 0, processed),
        "stored": np.where(seen, stored, 0),
        "visible": np.where(seen, visible, 0),
    }
    fate = np.where(lost, int(Fate.LOST), int(Fate.APPLIED)).astype(np.int8)
    return intended, times, fate


def _series(folder: Path, size: Size, intended: IntArray, times: dict[str, IntArray]) -> None:
    """The first rows' own latencies, repeated over the run; gauges for every second."""
    line = series(intended, times, T0_NS)
    covered = float(line.t_s.max(initial=0.0)) + 1
    t = np.arange(int(size.seconds), dtype=np.float64)
    down = (t > 0.45 * size.seconds) & (t < 0.5 * size.seconds)
    after = (t >= 0.5 * size.seconds) & (t < 0.5 * size.seconds + 8)
    gauges = {
        "connected": np.where(down, size.vehicles - size.vehicles // 4, size.vehicles),
        "attempts": np.where(after, size.vehicles // 32, 0),
        "in_flight": 0.02 * size.vehicles * (1.2 + np.sin(t / 9)) + np.where(after, 400, 0),
        "stored": np.where(down, (t - 0.45 * size.seconds) * size.vehicles / 4, 0),
        "event_loop_lag_ms": 0.5 + 0.4 * np.sin(t / 5) ** 2,
        "occupancy{kind:truth}": 0.6 + 0.2 * t / size.seconds,
        "occupancy{kind:map}": 0.5 + 0.28 * t / size.seconds,
    }
    blocks: list[tuple[Any, Any, Any]] = [
        (t, np.repeat(name, len(t)), value) for name, value in gauges.items()
    ]
    for k in range(int(np.ceil(size.seconds / covered))):
        fits = line.t_s + k * covered < size.seconds
        blocks.append((line.t_s[fits] + k * covered, line.name[fits], line.value[fits]))
    t_s, name, value = (np.concatenate([block[i] for block in blocks]) for i in range(3))
    names = pa.array(name, pa.string()).dictionary_encode()
    table = pa.table({"t_s": t_s, "name": names, "value": value.astype(np.float64)})
    pq.write_table(table, folder / "timeseries.parquet", compression="zstd")


def _map(folder: Path, rng: np.random.Generator, size: Size) -> None:
    """A grid of streets, and a map that the API learns in the course of the run."""
    rows = int(np.ceil(np.sqrt(size.stalls / 28)))
    lat, lon = 37.80 + np.arange(rows + 1) * 9e-4, -122.27 + np.arange(rows + 1) * 1.14e-3
    low, high = float(lon[0]), float(lon[-1])
    streets = [[float(y), low, float(y), high] for y in lat]
    streets += [[float(lat[0]), float(x), float(lat[-1]), float(x)] for x in lon]
    at = np.arange(size.stalls)
    block, place = at // 28, at % 28
    y = lat[np.minimum(block // rows, rows)] + np.where(place < 14, 4e-5, -4e-5)
    x = lon[block % rows] + 1e-4 + (place % 14) * 6.8e-5
    truth = (rng.random(size.stalls) < 0.6).astype(np.int_)
    believed = np.where(rng.random(size.stalls) < 0.95, truth, 1 - truth)
    learnt = rng.random(size.stalls)
    step_s = every_s(size.seconds)
    shots = []
    for t_s in np.arange(step_s, size.seconds, step_s).tolist():
        then = np.where(rng.random(size.stalls) < 0.1, 1 - truth, truth)
        api = np.where(learnt < 1.1 * t_s / size.seconds, believed, 2)
        shots.append(Shot(t_s, digits(then, api)))
    spots = []
    for i in range(size.stalls):
        state = STATES[believed[i]]
        where = round(float(y[i]), 7), round(float(x[i]), 7)
        p = {"free": 0.1, "occupied": 0.9}[state]
        spots.append(MapSpot(f"S{i:05d}", *where, 90.0, _state(truth[i]), _state(believed[i]), p))
    (folder / "map.json").write_bytes(msgspec.json.encode(CityMap(streets, spots)))
    history = MapHistory(step_s, shots)
    (folder / "map_history.json").write_bytes(msgspec.json.encode(history))


def _state(code: int) -> Any:
    return STATES[code]


def _summary(size: Size, histograms: dict[str, LatencyHistogram], fates: IntArray) -> Summary:
    metrics: dict[str, dict[str, float | None]] = {
        f"latency_ms{{stage:{stage}}}": dict(histogram.stats())
        for stage, histogram in histograms.items()
    }
    half = size.seconds / 2
    sent = size.rows
    cpu_s = 20e-6 * sent
    lateness: dict[str, float | None] = {"count": sent, "p50": 0.3, "p99": 2.0, "max": 21.0}
    return Summary(
        run=Run(
            id="made-up",
            scenario="made-up",
            seed=1,
            target="made-up",
            started="2026-06-01T17:00:00Z",
            wall_s=size.seconds + 5,
            verdict="passed",
            exit_code=0,
            reasons=[],
            command="fleet-sim bench report",
        ),
        metrics=metrics,
        thresholds=[],
        audit=None,
        generator=Generator(
            vehicles=size.vehicles,
            connected=size.vehicles,
            scheduled=sent,
            sent=sent,
            acknowledged=sent - int(fates[Fate.LOST]),
            late=0,
            dropped=0,
            lateness_ms=lateness,
            cpu_s=cpu_s,
            cpu_us_per_message=20.0,
            event_loop_lag_ms={"count": size.seconds, "p50": 0.5, "p99": 0.9, "max": 0.9},
            shards=[
                ShardFigures(
                    vehicles=size.vehicles,
                    connected=size.vehicles,
                    messages=sent,
                    sent=sent,
                    cpu_s=cpu_s,
                    rss_mb=200.0,
                    lateness_ms=lateness,
                )
            ],
        ),
        accuracy=None,
        phases=[
            PhaseSpan(name="calm", start_s=0, end_s=half),
            PhaseSpan(name="surge", start_s=half, end_s=size.seconds),
        ],
        events=[
            Event(
                t_s=0.45 * size.seconds,
                kind="fault",
                text="radio down in the north",
                end_s=half,
            )
        ],
        environment=environment(),
    )
