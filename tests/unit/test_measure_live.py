"""Histograms that grow while a run goes on: against NumPy, over shards, each row once a stage."""

import math

import msgspec
import numpy as np
import pytest

from fleet_sim.measure.ledger import DropCause, Ledger
from fleet_sim.measure.live import (
    SERVICE,
    STAGE_ACKNOWLEDGED,
    STAGE_SENT,
    LiveHistogram,
    LiveLedger,
    LiveStats,
    merged,
)

MS = 1_000_000


def filled(values_ns: np.ndarray) -> LiveStats:
    histogram = LiveHistogram()
    for part in np.array_split(values_ns, 7):
        histogram.record_ns(part)
    return histogram.snapshot()


def test_percentiles_are_half_a_percent_off_at_most() -> None:
    values = (np.random.default_rng(1).lognormal(3.0, 1.5, 20_000) * MS).astype(np.int64)
    stats = filled(values).stats([50.0, 95.0, 99.9])

    assert stats["count"] == 20_000
    assert stats["mean"] == pytest.approx(values.mean() / MS)
    assert (stats["min"], stats["max"]) == (values.min() / MS, values.max() / MS)
    for percentile in (50.0, 95.0, 99.9):
        exact = np.sort(values)[math.ceil(percentile * 200 - 1e-6) - 1] / MS
        assert stats[f"p{percentile:g}"] == pytest.approx(exact, rel=0.0051)


def test_shards_add_up_to_what_one_would_have_counted() -> None:
    values = np.random.default_rng(2).integers(1, 5_000 * MS, 1000)
    whole, parts = filled(values), merged([filled(values[:300]), filled(values[300:])])

    assert parts.counts == whole.counts
    assert parts.stats() == pytest.approx(whole.stats())
    assert merged([LiveStats({}), whole]).min_ms == whole.min_ms


def test_negative_values_are_counted_apart() -> None:
    stats = filled(np.array([-5 * MS, 10 * MS])).stats()

    assert (stats["count"], stats["negative"], stats["min"]) == (1, 1, 10)


def test_how_many_are_below_a_limit() -> None:
    live = filled(np.array([10, 20, 30]) * MS)
    assert [live.at_most(ms) for ms in (0.0, 9.8, 10.2, 29.0, 31.0, 1e9)] == [0, 0, 1, 2, 3, 3]


def test_it_travels() -> None:
    live = filled(np.array([MS, 2 * MS]))
    assert msgspec.json.decode(msgspec.json.encode(live), type=LiveStats) == live


def test_each_row_of_a_growing_ledger_counts_once() -> None:
    ledger = Ledger(100)
    live = LiveLedger(ledger, lambda vehicles: vehicles == 9)
    rows = ledger.open_many(np.zeros(3, np.int64), np.arange(3), np.full(3, 1000 * MS))
    assert rows == 0
    ledger.sent(0, 1001 * MS)
    ledger.sent(1, 1002 * MS)
    assert live.look()[STAGE_SENT].count == 2

    ledger.acked(1, 1030 * MS, 0)
    ledger.dropped(2, DropCause.BUFFER_FULL)
    found = live.look()
    assert (found[STAGE_SENT].count, found[STAGE_ACKNOWLEDGED].count) == (2, 1)
    assert found[SERVICE].stats()["max"] == 28

    ledger.acked(0, 1100 * MS, 0x87)  # a refusal is no acknowledgement
    unconfirmed = ledger.open(9, 1, 2000 * MS)
    ledger.sent(unconfirmed, 2010 * MS)
    found = live.look()
    assert (found[STAGE_SENT].count, found[STAGE_ACKNOWLEDGED].count) == (3, 1)
    assert live.look() == found


def test_rows_that_nothing_more_will_come_of_are_not_read_again() -> None:
    ledger = Ledger(10)
    live = LiveLedger(ledger, lambda vehicles: vehicles == 9)
    for vehicle in (9, 0, 9):
        ledger.sent(ledger.open(vehicle, 1, MS), 2 * MS)
    live.look()
    assert live._from == 1  # the second waits for its acknowledgement
    ledger.acked(1, 3 * MS, 0)
    live.look()
    assert live._from == 3
