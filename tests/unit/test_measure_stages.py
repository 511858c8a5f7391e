import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.measure.histogram import HIGHEST_US, LatencyHistogram
from fleet_sim.measure.ledger import Ledger
from fleet_sim.measure.stages import (
    latencies_ns,
    series,
    service_histogram,
    stage_histograms,
    stage_metrics,
    stage_times,
)

T0 = 1_780_000_000_000_000_000
MS = 1_000_000
SECOND = 1000 * MS

MICROS = st.lists(
    st.one_of(st.integers(0, 5000), st.integers(0, HIGHEST_US), st.just(HIGHEST_US)), min_size=1
)


def filled(micros: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    histogram.record_ns(np.array(micros, np.int64) * 1000)
    return histogram


def test_counts_what_recording_one_value_at_a_time_counts() -> None:
    edges = {min(2**bits + step, HIGHEST_US) for bits in range(33) for step in (-1, 0, 1, 2**10)}
    random = np.random.default_rng(1)
    micros = [*edges, *(10 ** random.uniform(0, 9.5, 2000)).astype(int).tolist()]
    one_by_one = HdrHistogram(1, HIGHEST_US, 3)
    for value in micros:
        assert one_by_one.record_value(value)
    by_value: dict[float, int] = {}
    for bucket in one_by_one.get_recorded_iterator():
        at = one_by_one.get_highest_equivalent_value(bucket.value_iterated_to)
        by_value[at / 1000] = bucket.total_count_to_this_value
    rows = [line.split() for line in filled(micros).hgrm().splitlines()[2:-3]]
    assert rows[-1][2] == str(len(micros))
    for row in rows:
        assert by_value[float(row[0])] == int(row[2])


@settings(max_examples=20, deadline=None)
@given(MICROS)
def test_percentiles_are_within_a_thousandth_and_never_above_the_maximum(
    micros: list[int],
) -> None:
    stats = filled(micros).stats()
    assert stats["count"] == len(micros)
    assert stats["min"] == min(micros) / 1000
    assert stats["max"] == max(micros) / 1000
    assert stats["mean"] == pytest.approx(sum(micros) / len(micros) / 1000)
    keys = ["min", "p50", "p90", "p95", "p99", "p99.9", "max"]
    values = [stats[key] for key in keys]
    assert values == sorted(values)
    for key, percentile in [("p50", 50), ("p99", 99)]:
        rank = max(-(-percentile * len(micros) // 100), 1)
        exact = sorted(micros)[rank - 1] / 1000
        assert exact <= stats[key] <= exact * 1.001


def test_a_percentile_is_by_nearest_rank_and_not_by_the_rank_that_is_nearest() -> None:
    stats = filled([1000] * 69 + [9000]).stats([50, 98.5, 99])
    assert (stats["p50"], stats["p98.5"], stats["p99"]) == (1.0, 1.0, 9.0)


def test_what_is_no_latency_is_counted_apart() -> None:
    histogram = LatencyHistogram()
    histogram.record_ns(np.array([-1, -5 * MS, 3 * MS, HIGHEST_US * 1000 + 1000], np.int64))
    assert (histogram.count, histogram.negative, histogram.out_of_range) == (1, 2, 1)
    stats = histogram.stats()
    assert (stats["min"], stats["max"]) == (3.0, 3.0)
    assert (stats["negative"], stats["out_of_range"]) == (2, 1)
    assert LatencyHistogram().stats() == {"count": 0}


def test_records_add_up() -> None:
    histogram = filled([1000, 2000])
    histogram.record_ns(np.array([[9 * MS]], np.int64))
    assert histogram.stats([50])["count"] == 3
    assert histogram.stats([50])["p50"] == pytest.approx(2.0, rel=1e-3)
    assert histogram.stats()["max"] == 9.0


def test_hgrm_is_the_reference_implementation_s_table() -> None:
    # As HdrHistogram_c prints one 2 and ten 4 (Homebrew's test of it), but in ms of whole µs:
    # the bucket of 4,000 µs ends at 4,001.
    assert filled([2000] + [4000] * 10).hgrm() == (
        "       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
        "       2.000 0.000000000000          1           1.00\n"
        "       4.001 0.100000000000         11           1.11\n"
        "       4.001 1.000000000000         11\n"
        "#[Mean    =        3.819, StdDeviation   =        0.575]\n"
        "#[Max     =        4.001, Total count    =           11]\n"
        "#[Buckets =           22, SubBuckets     =         2048]\n"
    )


def test_hgrm_has_five_steps_each_half_of_the_way() -> None:
    lines = filled(list(range(1, 20001))).hgrm().splitlines()[2:-4]
    levels = [float(line.split()[1]) for line in lines]
    assert levels[:12] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.775]
    )
    for value, level, total, _ in (line.split() for line in lines):
        assert float(value) * 1000 == pytest.approx(int(total), rel=1e-3)
        assert int(total) >= float(level) * 20000 - 1e-6
    empty = LatencyHistogram().hgrm().splitlines()
    assert len(empty) == 5
    assert empty[3] == "#[Max     =        0.000, Total count    =            0]"


def a_ledger() -> Ledger:
    """Vehicle 0: one message a second for 3 s; the last never acknowledged, the second refused."""
    ledger = Ledger(4)
    for i in range(3):
        row = ledger.open(0, i + 1, T0 + i * SECOND)
        ledger.sent(row, T0 + i * SECOND + 2 * MS)
        if i < 2:
            ledger.acked(row, T0 + i * SECOND + 12 * MS, 0x97 * (i == 1))
    return ledger


def test_stages_are_measured_from_the_intended_time_and_service_from_the_send() -> None:
    columns = a_ledger().columns()
    stream = np.array([T0 + 30 * MS, 0, 0])
    times = stage_times(columns, stream_ns=stream)
    assert list(times) == ["sent", "acknowledged", "stream"]
    metrics = stage_metrics(
        stage_histograms(columns.intended_ns, times),
        service_histogram(columns),
        {"latency_ms{stage:sent}": {97.5}},
    )
    assert metrics["latency_ms{stage:sent}"]["count"] == 3
    assert metrics["latency_ms{stage:sent}"]["p97.5"] == 2.0
    assert metrics["latency_ms{stage:acknowledged}"]["count"] == 1
    assert metrics["latency_ms{stage:acknowledged}"]["max"] == 12.0
    assert metrics["latency_ms{stage:stream}"]["p50"] == 30.0
    assert metrics["service_ms{stage:acknowledged}"]["max"] == 10.0


def test_unknown_times_make_no_latency() -> None:
    assert latencies_ns(np.array([0, 5, 7]), np.array([9, 0, 8])).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(0, 3 * SECOND)), min_size=1))
def test_series_agree_with_numpy_second_by_second(rows: list[tuple[int, int]]) -> None:
    intended = np.array([T0 + a for a, _ in rows])
    sent = intended + np.array([b + 1 for _, b in rows])
    timeline = series(intended, {"sent": sent}, T0, percentiles=[50, 95])
    got = dict(zip(zip(timeline.t_s, timeline.name, strict=True), timeline.value, strict=True))
    for second in {int(a // SECOND) for a, _ in rows}:
        latencies = [(b + 1) / MS for a, b in rows if a // SECOND == second]
        assert got.pop((second, "rate{kind:scheduled}")) == len(latencies)
        for p in (50, 95):
            expected = np.percentile(latencies, p, method="inverted_cdf")
            assert got.pop((second, f"latency_ms{{stage:sent,q:p{p}}}")) == expected
    assert not [key for key in got if key[1].startswith("latency")]
    assert sum(v for (_, name), v in got.items() if name == "rate{kind:sent}") == len(rows)
    assert all(v == 0 for (_, name), v in got.items() if name == "rate{kind:scheduled}")


def test_series_have_a_row_for_every_second_even_if_nothing_happened() -> None:
    intended = np.array([T0 - SECOND, T0 + 4 * SECOND])
    timeline = series(intended, {"sent": np.zeros(2, np.int64)}, T0)
    assert timeline.t_s.tolist()[:6] == [-1, 0, 1, 2, 3, 4]
    assert timeline.value.tolist()[:6] == [1, 0, 0, 0, 0, 1]
    assert len(series(intended[:0], {}, T0).t_s) == 0
