"""What is computed block by block is what the whole would give, and takes a block's memory."""

import tracemalloc

import numpy as np
import pytest
from audit_pipeline import MS, SEQUENCE0, T0, ranges, vin
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from fleet_sim.measure import stages
from fleet_sim.measure.archived import ArchiveRow, ArchiveRows
from fleet_sim.measure.audit import Outage, audit
from fleet_sim.measure.blocks import BLOCK_ROWS, distinct
from fleet_sim.measure.clock import clock_offset
from fleet_sim.measure.histogram import HIGHEST_US, LatencyHistogram, percentile_key
from fleet_sim.measure.ledger import DropCause, LedgerColumns
from fleet_sim.measure.parts import parts_of

Ns = NDArray[np.int64]


def ledger_of(vehicles: int, seqs: int, rng: np.random.Generator) -> LedgerColumns:
    """By intended time; some were never sent, some refused, some resent, some out of order."""
    n = vehicles * seqs
    row = np.arange(n)
    intended = T0 + row * (1_000_000_000 // vehicles)
    sent = intended + rng.integers(0, 3_000 * MS, n)
    sent[rng.random(n) < 0.01] = 0
    acked = np.where((sent != 0) & (rng.random(n) < 0.97), sent + rng.integers(1, 90 * MS, n), 0)
    refused = (acked != 0) & (rng.random(n) < 0.01)
    cause = np.where(refused, DropCause.REJECTED, DropCause.NONE)
    cause[(sent == 0) & (rng.random(n) < 0.5)] = DropCause.BUFFER_FULL
    return LedgerColumns(
        vehicle=(row % vehicles).astype(np.uint32),
        seq=(row // vehicles + 1).astype(np.uint32),
        intended_ns=intended,
        sent_ns=sent,
        acked_ns=acked,
        reason=np.where(refused, 135, 0).astype(np.uint8),
        cause=cause.astype(np.uint8),
        resent=(rng.random(n) < 0.05).astype(np.uint8),
    )


def archive_of(ledger: LedgerColumns, rng: np.random.Generator) -> list[ArchiveRow]:
    """Most of what was sent in the order of sending, with copies, retries, strangers, phantoms."""
    rows = np.flatnonzero((ledger.sent_ns != 0) & (rng.random(len(ledger.seq)) < 0.98))
    rows = np.concatenate([rows, rng.choice(rows, 20)])
    rows = rows[np.argsort(ledger.sent_ns[rows], kind="stable")]
    found: list[ArchiveRow] = []
    for k, row in enumerate(rows.tolist()):
        vehicle, seq = int(ledger.vehicle[row]), int(ledger.seq[row])
        shard, at = f"shardId-{vehicle % 3}", float(ledger.sent_ns[row] // MS + 5)
        found.append((vin(vehicle), seq, shard, SEQUENCE0 + (k << 70) + k, at, at + 40))
    found += [(vin(v), 9_000 + v, "shardId-9", 2**191 + v, 1e12, 1e12) for v in (3, 1, 7_777)]
    return found + found[:40]


def test_parts_have_each_row_once_and_vehicles_in_order() -> None:
    rng = np.random.default_rng(3)
    vehicle = rng.integers(0, 50, 20_000).astype(np.uint32)
    vehicle[vehicle == 17] = 18
    parts = list(parts_of(vehicle, None, 60, 1_000))
    assert 15 <= len(parts) <= 21
    assert [part.begin for part in parts] == [0, *[part.end for part in parts[:-1]]]
    assert parts[-1].end == 60
    rows = [np.arange(len(vehicle))[part.rows] for part in parts]
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(len(vehicle)))
    for part, mine in zip(parts, rows, strict=True):
        assert ((vehicle[mine] >= part.begin) & (vehicle[mine] < part.end)).all()
    assert 49 <= len(list(parts_of(vehicle, None, 60, 1))) <= 50  # a vehicle is in one part
    assert len(list(parts_of(vehicle[:0], None, 60, 1))) == 1


@pytest.mark.parametrize("part_rows", [1, 700])
def test_an_audit_in_parts_is_the_audit_in_one(part_rows: int) -> None:
    rng = np.random.default_rng(5)
    ledger = ledger_of(40, 60, rng)
    rows = archive_of(ledger, rng)
    applied = {
        vin(v): ranges(
            {s for s in range(1, 61) if rng.random() < 0.97} | ({70} if v % 9 else set())
        )
        for v in range(40)
    }
    newest = {name: 60 + 10 * (k % 2) for k, name in enumerate(applied)}
    outages = [Outage(T0 + 20_000 * MS, T0 + 30_000 * MS, "down", range(0, 40, 2))]
    qos0 = np.arange(40) % 5 == 0

    def run(size: int) -> list[object]:
        vins = [vin(v) for v in range(40)]
        found = audit(
            ledger, rows, applied, newest, vins, outages=outages, qos0=qos0, part_rows=size
        )
        arrays = found.fate, found.explained, found.stream_ns, found.processed_ns
        return [found.report, *(array.tolist() for array in arrays)]

    whole = run(10**6)
    assert run(part_rows) == whole
    report = audit(ledger, rows, applied, newest, [vin(v) for v in range(40)]).report
    # It is a mess of everything, of which not all can be told.
    for name in ("lost", "unapplied", "phantom", "duplicated", "rearchived", "reordered"):
        assert getattr(report, name) > 0, name
    assert report.newest_mismatch > 0
    assert len(report.stories) == 100


def test_a_message_that_is_there_twice_is_named_in_any_part() -> None:
    ledger = ledger_of(40, 30, np.random.default_rng(1))
    ledger.seq[40 * 7 + 33] = 1
    with pytest.raises(ValueError, match="vehicle 33 seq 1 was opened more than once"):
        audit(ledger, None, None, None, [vin(v) for v in range(40)], part_rows=100)


def test_the_audit_takes_the_memory_of_a_part() -> None:
    rng = np.random.default_rng(2)
    ledger = ledger_of(500, 80, rng)
    n = len(ledger.seq)
    at = (ledger.intended_ns // MS).tolist()
    archive = ArchiveRows(
        (vin(v), s, "shardId-0", SEQUENCE0 + (k << 64), at[k], at[k])
        for k, (v, s) in enumerate(zip(ledger.vehicle.tolist(), ledger.seq.tolist(), strict=True))
    )
    applied = {vin(v): "1-80" for v in range(500)}
    newest = dict.fromkeys(applied, 80)
    vins = list(applied)

    def bytes_a_row(part_rows: int) -> float:
        tracemalloc.start()
        audit(ledger, archive, applied, newest, vins, part_rows=part_rows)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak / n

    assert bytes_a_row(4_000) < 60  # 18 of them are the result
    assert bytes_a_row(10**6) > 120  # what it took in one


# --- latencies ------------------------------------------------------------------------------------


def test_latencies_of_many_blocks_are_counted_as_the_reference_does() -> None:
    rng = np.random.default_rng(4)
    n = 2 * BLOCK_ROWS + 77
    took = rng.choice(rng.lognormal(17, 2, 20_000).astype(np.int64), n)
    edges = 2 ** np.arange(12, 31)
    took[: 3 * len(edges)] = 1000 * np.concatenate([edges - 1, edges, edges + 1])
    took[-3:] = -1, HIGHEST_US * 1000, HIGHEST_US * 1000 + 501
    found = LatencyHistogram()
    found.record_ns(took[:1000])
    other = LatencyHistogram()
    other.record_parts([took[1000 : BLOCK_ROWS + 5], took[BLOCK_ROWS + 5 :]])
    found.include(other)
    reference = HdrHistogram(1, HIGHEST_US, 3)
    micros, counts = np.unique((took[took >= 0] + 500) // 1000, return_counts=True)
    for value, count in zip(micros.tolist(), counts.tolist(), strict=True):
        if value <= HIGHEST_US:
            reference.record_value(value, count)
    assert np.array_equal(found._hdr.counts, reference.counts)
    stats = found.stats()
    assert (stats["count"], stats["negative"], stats["out_of_range"]) == (n - 2, 1, 1)
    assert (stats["min"], stats["max"]) == (micros[0] / 1000, HIGHEST_US / 1000)
    assert stats["mean"] == int((micros[:-1] * counts[:-1]).sum()) / (n - 2) / 1000


def by_hand(intended: Ns, times: dict[str, Ns]) -> dict[tuple[str, float], float]:
    """Rates and percentiles, second by second."""
    found: dict[tuple[str, float], float] = {}
    second = (intended - T0) // 1_000_000_000
    moments = {"scheduled": intended, "sent": times["sent"], "acknowledged": times["acknowledged"]}
    all_s = np.concatenate([(at[at != 0] - T0) // 1_000_000_000 for at in moments.values()])
    for s in range(int(all_s.min()), int(all_s.max()) + 1):
        for kind, at in moments.items():
            count = np.count_nonzero((at != 0) & ((at - T0) // 1_000_000_000 == s))
            found[f"rate{{kind:{kind}}}", s] = float(count)
        for stage, at in times.items():
            mine = (second == s) & (at != 0) & (intended != 0)
            took = np.sort((at[mine] - intended[mine]) / 1e6)
            for q in stages.SERIES_PERCENTILES if took.size else ():
                rank = max(1, int(np.ceil(q / 100 * took.size - 1e-9)))
                found[f"latency_ms{{stage:{stage},q:{percentile_key(q)}}}", s] = took[rank - 1]
    return found


@pytest.mark.parametrize("mixed", ["sorted", "unsorted", "a clock that jumped"])
def test_a_series_of_many_blocks_is_that_of_each_second(
    mixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "BLOCK_ROWS", 130)
    rng = np.random.default_rng(6)
    ledger = ledger_of(30, 40, rng)
    if mixed == "unsorted":
        ledger = ledger.at(rng.permutation(len(ledger.seq)))
    late = np.where(rng.random(len(ledger.seq)) < 0.1, 0, ledger.sent_ns - 20 * MS)
    if mixed == "a clock that jumped":
        late[5] = 5  # by which no second and latency fit one number
    times = {**stages.stage_times(ledger), "stream": late, "visible": np.zeros_like(late)}
    line = stages.series(ledger.intended_ns, times, T0)
    found = dict(zip(zip(line.name.tolist(), line.t_s.tolist(), strict=True), line.value.tolist(),
                     strict=True))  # fmt: skip
    assert found == by_hand(ledger.intended_ns, times)
    assert len(found) == len(line.t_s)


def test_a_clock_is_read_from_all_blocks() -> None:
    n = BLOCK_ROWS + 100
    sent = np.full(n, T0)
    stream, stored, visible = sent + 50 * MS, np.zeros(n, np.int64), np.zeros(n, np.int64)
    stream[0] = 0
    stream[n - 3] = T0 + 20 * MS
    for row, back in ((7, 40), (n - 5, 10)):
        stored[row], visible[row] = T0 + 60 * MS, T0 + (60 + back) * MS
    found = clock_offset(sent, stream, stored, visible, {})
    assert found is not None
    assert (found.offset_ms, found.error_ms) == ((21 - 10) / 2, (21 + 10) / 2)
    assert (found.steady, found.round_trips) == (True, 2)


@pytest.mark.parametrize("n", [0, 5, BLOCK_ROWS + 1000])
def test_distinct(n: int) -> None:
    values = np.random.default_rng(n).integers(-50, 50, n)
    assert distinct(values).tolist() == sorted(set(values.tolist()))
