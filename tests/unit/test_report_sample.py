"""A made-up but complete run folder: 500 vehicles for two minutes, one outage, real bookkeeping.

The other report tests import `make_run` from here.
"""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet_sim.measure import citymap
from fleet_sim.measure.accuracy import STATES, accuracy
from fleet_sim.measure.audit import AuditResult, Outage, audit
from fleet_sim.measure.cost import Workload, estimate
from fleet_sim.measure.fates import Fate
from fleet_sim.measure.junit import junit_xml
from fleet_sim.measure.ledger import DropCause, Ledger, LedgerColumns
from fleet_sim.measure.maphistory import MapHistory, Shot, digits
from fleet_sim.measure.stages import (
    Timeline,
    series,
    service_histogram,
    stage_histograms,
    stage_metrics,
    stage_times,
)
from fleet_sim.measure.summary import (
    EXIT_CODES,
    Environment,
    Event,
    Generator,
    PhaseSpan,
    Run,
    Summary,
    Verdict,
    from_json,
    to_json,
)
from fleet_sim.measure.thresholds import evaluate

T0 = 1_780_000_000_000_000_000
SECOND = 1_000_000_000
MS = 1_000_000
OUTAGE_S = (55.0, 63.0)

SCENARIO = """\
name: {name}
seed: 42
fleet:
  - {{group: taxis, count: {vehicles}, telemetry: {{period: 1s, qos: 1}}, radio: lte_urban}}
phases:
  - {{name: calm, duration: 30s, parking: {{occupancy: 60%}}}}
  - {{name: surge, duration: 50s, parking: {{event: {{at: arena, attendance: 600}}}}}}
  - {{name: egress, duration: 40s, parking: {{event: {{at: arena, leaves: 75%}}}}}}
faults:
  - {{at: 55s, for: 8s, radio: {{district: north, state: down}}}}
"""


def vin(vehicle: int) -> str:
    return f"5YJ3E1EA{vehicle:09d}"


def make_run(
    folder: Path,
    *,
    vehicles: int = 500,
    seconds: int = 120,
    name: str = "parking-surge",
    verdict: Verdict = "passed",
    blocks: tuple[int, int] = (12, 9),
    lose: int = 0,
) -> Summary:
    """Write a run folder and return its summary. `lose`: acknowledged messages that vanish."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    ledger, audited, visible, stored = _messages(rng, vehicles, seconds, lose)
    columns = ledger.columns()
    times = stage_times(
        columns,
        stream_ns=audited.stream_ns,
        processed_ns=audited.processed_ns,
        stored_ns=stored,
        visible_ns=visible,
    )
    histograms = stage_histograms(columns.intended_ns, times)
    for stage, histogram in histograms.items():
        (folder / f"latency_{stage}.hgrm").write_text(histogram.hgrm())
    city = _city(rng, blocks)
    (folder / "map.json").write_bytes(msgspec.json.encode(city))
    (folder / "map_history.json").write_bytes(msgspec.json.encode(_history(rng, city, seconds)))
    _ledger(folder, columns, audited, stored, visible)
    codes = np.array([STATES.index(s.api) for s in city.spots], np.int8)
    on_map = accuracy(
        np.array([s.truth == "occupied" for s in city.spots]),
        codes,
        np.array([s.p for s in city.spots]),
        np.where(codes == 2, np.nan, rng.exponential(40, len(codes))),
    )
    metrics = stage_metrics(histograms, service_histogram(columns))
    metrics |= audited.report.metrics() | on_map.metrics()
    metrics["connected_ratio"] = {"value": 1.0}
    thresholds = {
        "latency_ms{stage:visible}": ["p(95)<5000"],
        "latency_ms{stage:acknowledged}": ["p(99)<5000", "p(50)<50"],
        "audit_lost": ["count==0"],
        "audit_unexplained": ["count==0"],
        "connected_ratio": ["value==1"],
    }
    results = evaluate(thresholds, metrics)
    reasons = [r.message for r in results if not r.passed]
    if reasons and verdict == "passed":
        verdict = "threshold_broken"
    _timeseries(folder, series(columns.intended_ns, times, T0), seconds, vehicles, on_map.spots)
    if verdict == "generator_overloaded":
        reasons.insert(0, "1,812 of 60,000 messages were sent more than 100 ms late (allowed: 1 %)")
    summary = Summary(
        run=Run(
            id="20260601T170000Z-1a2b",
            scenario=name,
            seed=42,
            target="local",
            started="2026-06-01T17:00:00Z",
            wall_s=seconds + 6.4,
            verdict=verdict,
            exit_code=EXIT_CODES[verdict],
            reasons=reasons,
            command="fleet-sim run scenarios/parking_surge.yaml --target local",
        ),
        metrics={k: dict(v) for k, v in metrics.items()},
        thresholds=results,
        audit=audited.report,
        generator=Generator(
            vehicles=vehicles,
            connected=vehicles,
            scheduled=len(ledger),
            sent=audited.report.sent,
            acknowledged=audited.report.acknowledged,
            late=37,
            dropped=sum(audited.report.dropped.values()),
            lateness_ms=dict(histograms["sent"].stats()),
            cpu_s=8.42,
            cpu_us_per_message=8.42e6 / audited.report.sent,
            event_loop_lag_ms={"count": 1200, "p50": 0.3, "p95": 1.4, "p99": 4.9, "max": 21.7},
        ),
        accuracy=on_map,
        phases=[
            PhaseSpan(name="calm", start_s=0, end_s=30),
            PhaseSpan(name="surge", start_s=30, end_s=80),
            PhaseSpan(name="egress", start_s=80, end_s=seconds),
        ],
        events=[
            Event(t_s=OUTAGE_S[0], kind="fault", text="radio down in the north", end_s=OUTAGE_S[1]),
            Event(t_s=seconds + 0.2, kind="note", text="drain began"),
        ],
        environment=Environment(
            python="3.12.8",
            platform="Linux-6.12-x86_64",
            cpus=2,
            versions={"fleet-sim": "0.1.0", "mqtt5": "0.8.1", "ministack": "1.5.33"},
        ),
        cost=estimate(
            Workload(vehicles=vehicles, messages_per_s=vehicles, sizes={352: 1.0}, hours=1 / 30),
            "eu-west-1",
        ),
    )
    (folder / "summary.json").write_bytes(to_json(summary))
    (folder / "junit.xml").write_text(junit_xml(summary))
    (folder / "scenario.yaml").write_text(SCENARIO.format(name=name, vehicles=vehicles))
    return summary


def _messages(
    rng: np.random.Generator, vehicles: int, seconds: int, lose: int
) -> tuple[Ledger, AuditResult, np.ndarray, np.ndarray]:
    """One message a vehicle and second. A quarter of the vehicles lose their radio for a while,
    buffer, and send when it is back; a few buffers overflow.
    """
    n = vehicles * seconds
    vehicle = np.tile(np.arange(vehicles), seconds)
    second = np.repeat(np.arange(seconds), vehicles)
    intended = T0 + second * SECOND + (vehicle * SECOND) // vehicles
    sent = intended + (rng.gamma(2, 0.2, n) * MS).astype(np.int64)
    back = T0 + int(OUTAGE_S[1] * SECOND) + (rng.random(vehicles) * 2 * SECOND).astype(np.int64)
    down = (vehicle < vehicles // 4) & (intended >= T0 + OUTAGE_S[0] * SECOND)
    down &= intended < back[vehicle]
    sent = np.where(down, back[vehicle] + second * MS, sent)
    acked = sent + (4 * MS + rng.lognormal(1.5, 0.6, n) * MS).astype(np.int64)
    arrival = sent + (6 * MS + rng.lognormal(2.2, 0.5, n) * MS).astype(np.int64)
    # A connection and a shard keep the order of what a vehicle sent.
    by_vehicle = np.maximum.accumulate(arrival.reshape(seconds, vehicles))
    arrival = (by_vehicle + np.arange(seconds)[:, None]).ravel()
    batch = 400 * MS
    processed = (arrival // batch + 1) * batch + (rng.gamma(3, 15, n) * MS).astype(np.int64)
    full = down & (vehicle % 40 == 3) & (second == OUTAGE_S[0] + 1)
    ledger = Ledger(n)
    for i in range(n):
        row = ledger.open(int(vehicle[i]), int(second[i]) + 1, int(intended[i]))
        if full[i]:
            ledger.dropped(row, DropCause.BUFFER_FULL)
        else:
            ledger.sent(row, int(sent[i]))
            ledger.acked(row, int(acked[i]), 0)
    gone = full.copy()
    gone[rng.choice(np.flatnonzero(~full), lose, replace=False)] = True
    order = np.argsort(arrival, kind="stable")
    rows = [
        (
            vin(vehicle[i]),
            int(second[i]) + 1,
            f"shardId-{vehicle[i] % 2:012d}",
            4959 * 10**52 + rank,
            arrival[i] / MS,
            processed[i] / MS,
        )
        for rank, i in enumerate(order)
        if not gone[i]
    ]
    applied, newest = {}, {}
    for v in range(vehicles):
        have = second[(vehicle == v) & ~gone] + 1
        breaks = np.flatnonzero(np.diff(have) > 1)
        starts, ends = have[[0, *(breaks + 1)]], have[[*breaks, -1]]
        applied[vin(v)] = ",".join(f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
        newest[vin(v)] = int(have[-1])
    outages = [Outage(T0 + 55 * SECOND, T0 + 63 * SECOND, "radio down in the north")]
    result = audit(
        ledger.columns(),
        rows,
        applied,
        newest,
        [vin(v) for v in range(vehicles)],
        outages=outages,
        t0_ns=T0,
    )
    stored = np.where(gone, 0, processed + (rng.gamma(4, 12, n) * MS).astype(np.int64))
    probed = (rng.random(n) < 0.02) & ~gone
    visible = np.where(probed, stored + (rng.gamma(2, 60, n) * MS).astype(np.int64), 0)
    return ledger, result, visible, stored


def _ledger(
    folder: Path,
    columns: LedgerColumns,
    audited: AuditResult,
    stored: np.ndarray,
    visible: np.ndarray,
) -> None:
    table = {
        name: getattr(columns, name)
        for name in ("vehicle", "seq", "intended_ns", "sent_ns", "acked_ns", "resent")
    }
    table |= {"stream_ns": audited.stream_ns, "processed_ns": audited.processed_ns}
    table |= {"stored_ns": stored, "visible_ns": visible}
    names = pa.array([fate.name.lower() for fate in Fate])
    table["fate"] = pa.DictionaryArray.from_arrays(pa.array(audited.fate), names)
    whole = pa.table(table).replace_schema_metadata({"t0_ns": str(T0)})
    pq.write_table(whole, folder / "ledger.parquet", compression="zstd")


def _history(rng: np.random.Generator, city: citymap.CityMap, seconds: int) -> MapHistory:
    """The API learns the city in the course of the run; the truth changes a little."""
    end = np.array([s.truth == "occupied" for s in city.spots]).astype(int)
    api = np.array([STATES.index(s.api) for s in city.spots])
    shots = []
    for t in np.linspace(10, seconds - 10, 5):
        known = rng.random(len(api)) < t / seconds
        changed = rng.random(len(api)) < 0.1
        states = digits(np.where(changed, 1 - end, end), np.where(known, api, 2))
        shots.append(Shot(float(t), states))
    return MapHistory(10.0, shots)


def _timeseries(folder: Path, timeline: Timeline, seconds: int, vehicles: int, spots: int) -> None:
    t = np.arange(seconds, dtype=np.float64)
    down = (t >= OUTAGE_S[0]) & (t < OUTAGE_S[1] + 1)
    blocks = {
        "connected": np.where(down, vehicles - vehicles // 4, vehicles),
        "attempts": np.where((t > OUTAGE_S[1]) & (t < OUTAGE_S[1] + 6), vehicles // 24, 0),
        "in_flight": 5 + 3 * np.sin(t / 3) + np.where((t > 62) & (t < 66), 120, 0),
        "occupancy{kind:truth}": 0.6 + 0.15 * np.clip((t - 30) / 50, 0, 1),
        "occupancy{kind:map}": 0.5 + 0.17 * np.clip((t - 36) / 55, 0, 1),
    }
    table = pa.table(
        {
            "t_s": np.concatenate([timeline.t_s, *[t] * len(blocks)]),
            "name": np.concatenate([timeline.name, np.repeat(list(blocks), len(t))]),
            "value": np.concatenate([timeline.value, *blocks.values()]),
        }
    )
    pq.write_table(table, folder / "timeseries.parquet")


def _city(rng: np.random.Generator, blocks: tuple[int, int]) -> citymap.CityMap:
    lat0, lon0, block_m = 37.8044, -122.2712, 100.0
    to_lat, to_lon = 1 / 111_195, 1 / (111_195 * np.cos(np.radians(lat0)))
    columns, rows = blocks

    def point(x: float, y: float) -> list[float]:
        return [round(lat0 + y * to_lat, 7), round(float(lon0 + x * to_lon), 7)]

    east, north = columns * block_m, rows * block_m
    streets = [point(0, j * block_m) + point(east, j * block_m) for j in range(rows + 1)]
    streets += [point(i * block_m, 0) + point(i * block_m, north) for i in range(columns + 1)]
    spots = []
    for j in range(rows + 1):
        for i in range(columns):
            for side, bearing in ((-4.5, 90.0), (4.5, 270.0)):
                if rng.random() < 0.45:
                    continue
                for k in range(13):
                    at = point(i * block_m + 12 + 6 * k, j * block_m + side)
                    occupied = bool(rng.random() < 0.7)
                    state = rng.choice(3, p=[0.82, 0.05, 0.13])
                    api = STATES[[int(occupied), int(not occupied), 2][state]]
                    p = {"free": 0.1, "occupied": 0.9, "unknown": 0.5}[api]
                    truth = "occupied" if occupied else "free"
                    spots.append(citymap.MapSpot(f"S{len(spots):05d}", *at, bearing, truth, api, p))
    return citymap.CityMap(streets, spots)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return make_run(tmp_path_factory.mktemp("run"), vehicles=40, blocks=(3, 2), lose=2)


def test_the_sample_is_what_it_claims(summary: Summary) -> None:
    assert summary.audit is not None
    assert (summary.audit.lost, summary.audit.unexplained) == (2, 2)
    assert summary.audit.dropped == {"buffer_full": 1}
    assert summary.run.verdict == "threshold_broken"
    assert from_json(to_json(summary)) == summary
