import math

import pytest

from fleet_sim.measure.thresholds import (
    canonical_metric,
    check_threshold,
    evaluate,
    parse_condition,
    percentiles_needed,
)

LATENCY = {"count": 10, "min": 1.0, "mean": 4.0, "p50": 3.0, "p95": 9.0, "p99.9": 10.0, "max": 10.0}


@pytest.mark.parametrize(
    ("text", "key", "comparison", "limit"),
    [
        ("p(95)<500", "p95", "<", 500),
        ("p(99.9) <= 10", "p99.9", "<=", 10),
        (" p( 50 ) > -1.5e3 ", "p50", ">", -1500),
        ("avg>=.5", "mean", ">=", 0.5),
        ("mean<1", "mean", "<", 1),
        ("med!=0", "p50", "!=", 0),
        ("min>0", "min", ">", 0),
        ("max<1", "max", "<", 1),
        ("count==0", "count", "==", 0),
        ("rate<0.01", "rate", "<", 0.01),
        ("value>0.9", "value", ">", 0.9),
    ],
)
def test_conditions(text: str, key: str, comparison: str, limit: float) -> None:
    assert parse_condition(text) == (key, comparison, limit)


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 1, "an aggregate"),
        ("p95<500", 2, "(N)"),
        ("p(0)<5", 3, "0 < N <= 100"),
        ("p(100.1)<5", 3, "0 < N <= 100"),
        ("p(95)<", 7, "a number"),
        ("p(95)500", 6, "a comparison"),
        ("p(95)=500", 6, "a comparison"),
        ("p(95)=<500", 6, "a comparison"),
        ("mode<5", 1, "an aggregate"),
        ("count<5ms", 8, "the end"),
        ("count<5 and max<3", 9, "the end"),
        ("value<0x10", 8, "the end"),
        ("value<nan", 7, "a number"),
    ],
)
def test_a_bad_condition_is_named_with_its_position_and_what_is_allowed(
    text: str, position: int, problem: str
) -> None:
    with pytest.raises(ValueError, match="is expected") as error:
        parse_condition(text)
    assert str(error.value).startswith(f"threshold {text!r}, position {position}: {problem}")
    assert "(allowed: p(N) or avg|mean|min" in str(error.value)


def test_metrics_are_compared_without_regard_to_the_order_of_tags() -> None:
    assert canonical_metric("a.b_c") == "a.b_c"
    assert canonical_metric("m{ b : x y , a:2026-01-01 }") == "m{a:2026-01-01,b:x y}"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("9x", 1),
        ("m{", 3),
        ("m{}", 3),
        ("m{a}", 3),
        ("m{a:}", 3),
        ("m{a:1", 3),
        ("m{a:1,a:2}", 7),
        ("m{a:1}x", 7),
        ("m x", 2),
    ],
)
def test_a_bad_metric_is_named_with_its_position(text: str, position: int) -> None:
    with pytest.raises(ValueError, match=r"is expected|there twice") as error:
        canonical_metric(text)
    assert str(error.value).startswith(f"metric {text!r}, position {position}: ")


def test_check_refuses_either_half() -> None:
    check_threshold("latency_ms{stage:visible}", "p(95)<2000")
    with pytest.raises(ValueError, match="metric"):
        check_threshold("latency_ms{stage}", "p(95)<2000")
    with pytest.raises(ValueError, match="threshold"):
        check_threshold("latency_ms", "p(95)<2000ms")


def test_evaluates_each_condition_in_order() -> None:
    results = evaluate(
        {"latency_ms{b:2,a:1}": ["p(95)<10", "p(95)<9", "max<=10"], "audit_lost": ["count==0"]},
        {"latency_ms{a:1,b:2}": LATENCY, "audit_lost": {"count": 0}},
    )
    assert [(r.metric, r.condition, r.observed, r.passed, r.missing) for r in results] == [
        ("latency_ms{b:2,a:1}", "p(95)<10", 9.0, True, False),
        ("latency_ms{b:2,a:1}", "p(95)<9", 9.0, False, False),
        ("latency_ms{b:2,a:1}", "max<=10", 10.0, True, False),
        ("audit_lost", "count==0", 0.0, True, False),
    ]


def test_what_was_not_measured_fails() -> None:
    results = evaluate(
        {"latencyms": ["max!=5"], "latency_ms": ["p(97)!=5"], "share": ["value!=5"]},
        {"latency_ms": LATENCY, "share": {"value": math.nan}},
    )
    assert [(r.passed, r.missing, r.observed) for r in results] == [(False, True, None)] * 3
    assert results[0].message == "latencyms: max!=5: this run measured no such metric"
    assert "the metric has no p97 (it has: count, min, mean, p50" in results[1].message
    assert "it has: nothing" in results[2].message


def test_percentiles_that_conditions_need() -> None:
    thresholds = {"m{b:1,a:2}": ["p(97)<1", "p(99.9)<1", "max<1"], "n": ["med<1"], "o": ["avg<1"]}
    assert percentiles_needed(thresholds) == {"m{a:2,b:1}": {97.0, 99.9}, "n": {50.0}}
