"""Requests of several processes add up to what one process would have counted."""

import msgspec
import numpy as np
import pytest

from fleet_sim.measure.load import Meter, Tally, slices


def travelled(meter: Meter) -> list[object]:
    """As Locust sends it: MessagePack, without types."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(meter.take()))


def test_two_workers_merge_to_the_same_percentiles_as_one() -> None:
    ms = np.random.default_rng(3).lognormal(3.0, 1.0, 4_000)
    one, two, alone = Meter(), Meter(), Meter()
    for k, value in enumerate(ms):
        (one, two)[k % 2].record(100 + k // 500, "GET", "near_spots", float(value), 10)
        alone.record(100 + k // 500, "GET", "near_spots", float(value), 10)
    merged, single = Tally(), Tally()
    for meter in (one, two):
        merged.add(slices(travelled(meter)))
    single.add(alone.take())

    assert merged.metrics({}) == single.metrics({})
    assert merged.hgrm() == single.hgrm()
    assert sorted(merged.series(100.0)) == sorted(single.series(100.0))
    found = merged.metrics({})["load_ms{name:near_spots}"]
    exact = np.sort(ms)
    for key, rank in (("p50", 1999), ("p99", 3959)):  # value with that many below or equal
        assert found[key] == pytest.approx(exact[rank], rel=0.002)
    # Locust itself would say 150 for 154.3: two digits.
    assert found["max"] == pytest.approx(exact[-1], abs=0.001)


def test_a_failure_counts_as_one_and_has_no_latency() -> None:
    meter, tally = Meter(), Tally()
    meter.record(7, "GET", "spot", 12.5, 100)
    meter.record(8, "GET", "spot", 9_000.0, 0, "HTTP 503")
    tally.add(meter.take())
    tally.users(7, 3)
    metrics = tally.metrics({"load_ms{name:spot}": ("p(75)<20",)})

    assert metrics["load_failed{name:spot}"] == {"count": 1, "value": 0.5}
    assert metrics["load_requests"] == {"count": 2, "rate": 1.0}
    assert metrics["load_ms{name:spot}"]["max"] == metrics["load_ms{name:spot}"]["p75"] == 12.5
    report = tally.report(5.0, workers=1)
    assert (report.start_s, report.end_s, report.users_max) == (2.0, 3.0, 3)
    assert report.reasons == {"spot: HTTP 503": 1}
    assert (2.0, "load_rate{kind:requests}", 1.0) in tally.series(5.0)
    assert (3.0, "load_rate{kind:failed}", 1.0) in tally.series(5.0)


def test_what_was_cut_off_is_told_and_in_no_other_figure() -> None:
    meter, tally = Meter(), Tally()
    meter.record(7, "GET", "spot", 10.0, 100)
    meter.cut(9, "GET", "spot")
    meter.cut(9, "GET", "near_spots")
    meter.cut(9, "PIPE", "visible")
    tally.add(slices(travelled(meter)))
    metrics = tally.metrics({})

    assert metrics["load_cut"] == {"count": 2}
    assert metrics["load_cut{name:visible}"] == metrics["load_cut{name:spot}"] == {"count": 1}
    assert metrics["load_requests"] == {"count": 1, "rate": 1.0}
    assert "load_ms{name:near_spots}" not in metrics  # a threshold on it is broken
    report = tally.report(7.0, workers=1)
    near = report.requests["near_spots"]
    assert (near.count, near.cut, near.rate, report.end_s) == (0, 1, 0.0, 0.0)


def test_what_is_no_http_counts_by_name_only() -> None:
    meter, tally = Meter(), Tally()
    meter.record(7, "GET", "spot", 10.0, 100)
    meter.record(7, "PIPE", "visible", 900.0, 0)
    meter.record(7, "MQTT", "mqtt_publish", 0.0, 0, "no answer")
    tally.add(meter.take())
    metrics = tally.metrics({})

    assert metrics["load_ms"]["max"] == 10.0
    assert metrics["load_ms{name:visible}"]["max"] == 900.0
    assert metrics["load_failed"] == {"count": 0, "value": 0.0}
    assert metrics["load_failed{name:mqtt_publish}"] == {"count": 1, "value": 1.0}


def test_what_was_taken_is_not_handed_on_again() -> None:
    meter = Meter()
    meter.record(1, "GET", "spot", 1.0, 0)
    assert len(meter.take()) == 1
    assert meter.take() == []


@pytest.mark.parametrize("latency_ms", [-1.0, float("nan"), 3_600_001.0])
def test_a_latency_that_is_none_is_refused(latency_ms: float) -> None:
    with pytest.raises(ValueError, match=r"GET spot: .* ms \(allowed: 0 ms\.\.1 h\)"):
        Meter().record(1, "GET", "spot", latency_ms, 0)


def test_nothing_measured_is_no_metric() -> None:
    assert Tally().metrics({}) == {}
    report = Tally().report(1.0, 2)
    assert (report.workers, report.requests, report.start_s, report.end_s) == (2, {}, 0, 0)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("URL http://127.0.0.1:1/spots?lat=37.8&lon=-122: 0, original=timed out", "timed out"),
        ("URL http://127.0.0.1:1/spots/s1: code=404", "code=404"),
        ("not shown in 60 s", "not shown in 60 s"),
    ],
)
def test_a_reason_is_without_the_address(said: str, reason: str) -> None:
    meter, tally = Meter(), Tally()
    meter.record(100, "GET", "near_spots", 5.0, 0, said)
    tally.add(meter.take())
    assert tally.report(100, 1).reasons == {f"near_spots: {reason}": 1}
