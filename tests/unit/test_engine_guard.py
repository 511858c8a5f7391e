"""Thresholds while a run goes on: what ends it, and when."""

import numpy as np
import pytest

from fleet_sim.engine.catalog import LIVE_METRICS, known_names
from fleet_sim.engine.guard import Guard, live_metrics
from fleet_sim.engine.status import Status
from fleet_sim.measure.live import LiveHistogram
from fleet_sim.measure.thresholds import check_threshold
from fleet_sim.scenario import ScenarioError, Threshold, dump, loads

SCENARIO = """
name: x
fleet: [{group: a, count: 3}]
phases: [{name: p, duration: 1m}]
clock: {speed: 2}
thresholds:
"""
ACK = "latency_ms{stage:acknowledged}"


def guard(thresholds: str) -> Guard:
    return Guard(loads(SCENARIO + thresholds))


def status(*ms: float) -> Status:
    histogram = LiveHistogram()
    histogram.record_ns(np.array([value * 1e6 for value in ms], np.int64))
    return Status(live={ACK: histogram.snapshot()}, opened=len(ms))


def test_what_breaks_ends_the_run_after_its_delay_and_not_before() -> None:
    it = guard(f'  "{ACK}": [{{threshold: "p(97)<500", abort_on_fail: true, delay: 20s}}]')

    assert it.look(status(900.0), 9.9) is None  # 19.8 s of simulated time
    assert [result.passed for result in it.results] == [False]
    assert it.look(status(400.0), 10.0) is None
    why = it.look(status(900.0), 10.0)
    assert why is not None
    assert f"{ACK}: p(97)<500: p97 is 900" in why


def test_what_may_not_end_it_does_not() -> None:
    it = guard(f'  "{ACK}": ["p(95)<500", {{threshold: "max<100"}}]')

    assert it.look(status(900.0), 50.0) is None
    assert [result.passed for result in it.results] == [False, False]


def test_a_metric_without_a_value_breaks_nothing() -> None:
    rule = '{threshold: "p(95)<500", abort_on_fail: true}'
    it = guard(f'  "{ACK}": [{rule}]\n  "audit_lost": ["count==0"]')

    assert it.look(status(), 30.0) is None
    assert it.results == []


def test_counts_are_live_too() -> None:
    it = guard('  "reconnects": [{threshold: "count<10", abort_on_fail: true}]')

    assert it.look(Status(reconnects=9), 1.0) is None
    assert it.look(Status(reconnects=10), 1.0) is not None


def test_the_catalog_lists_what_is_live() -> None:
    known = live_metrics(Status(probe_timeouts=0), 1.0)
    assert set(known) <= set(LIVE_METRICS)


def test_a_threshold_survives_dump_and_load() -> None:
    scenario = loads(SCENARIO + f'  "{ACK}": ["max<9", {{threshold: "p(95)<5", delay: 90s}}]')

    assert loads(dump(scenario)) == scenario
    assert scenario.conditions == {ACK: ("max<9", "p(95)<5")}
    assert scenario.thresholds[ACK][1] == Threshold(threshold="p(95)<5", delay_s=90.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '"audit_lost": [{threshold: "count==0", abort_on_fail: true}]',
            "when the run is over",
        ),
        (f'"{ACK}": [{{threshold: "p(95)~5"}}]', "a comparison is expected"),
        (f'"{ACK}": [{{threshold: "max<5", abortOnFail: true}}]', "abortOnFail"),
        (f'"{ACK}": [{{abort_on_fail: true}}]', "threshold"),
        (f'"{ACK}": [{{threshold: "max<5", delay: 3}}]', "delay"),
        (f'"{ACK}": [5]', "text"),
        ('"messages{group:b}": ["count>1"]', "'b' is not a group of this scenario"),
        ('"messages{group:a, phase: q}": ["count>1"]', "'q' is not a phase of this scenario"),
    ],
)
def test_what_is_wrong_is_said_by_line(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(SCENARIO + f"  {text}", catalog=known_names(), check_threshold=check_threshold)
    assert said in str(caught.value)
    assert ":7:" in str(caught.value)
