"""The comparison's statistics: intervals that hold what they say, blocks, conditions."""

import numpy as np
import pytest

from fleet_sim.measure import compare, grid
from fleet_sim.measure.compare import Row, broken, parse_condition

MS = 1_000_000
SLOTS = 120


def noisy(rng: np.random.Generator, shift_ms: float = 0.0) -> np.ndarray:
    """[SLOTS, bins]: 20 messages a slot whose level wanders, as a queue's does: an autoregression
    with a memory of some three slots."""
    level = np.zeros(SLOTS)
    for k in range(1, SLOTS):
        level[k] = 0.7 * level[k - 1] + rng.normal(0, 5)
    latency = 60 + shift_ms + level[:, None] + rng.exponential(5, (SLOTS, 20))
    counted = grid.empty(SLOTS)
    slots = np.repeat(np.arange(SLOTS), 20)
    grid.add(counted, slots, (np.maximum(latency, 0.1).ravel() * MS).astype(np.int64))
    return counted.counts


def judged(a: np.ndarray, b: np.ndarray, length: int, seed: int = 5) -> Row:
    rng = np.random.default_rng(seed)
    one, two = (
        compare.quantile_rounds(
            compare.resample(SLOTS, [0] * SLOTS, length, rng, 200), counts, (50.0,)
        )[:, 0]
        for counts in (a, b)
    )
    return compare.row("x", "p50", "ms", one, two, lower_is_better=True, enough=True)


def test_two_runs_of_one_kind_are_rarely_called_different() -> None:
    """Blocks know that messages of one time are alike; single slots would not."""
    rng = np.random.default_rng(11)
    pairs = [(noisy(rng), noisy(rng)) for _ in range(40)]
    called = {
        length: sum(judged(a, b, length).judgement != "same" for a, b in pairs)
        for length in (1, 10)
    }
    assert called[10] <= 0.18 * len(pairs)  # 5 % in theory, somewhat more with a dozen blocks
    assert called[1] > 1.5 * called[10]


def test_a_real_difference_is_shown_and_its_size_is_in_the_interval() -> None:
    rng = np.random.default_rng(3)
    found = judged(noisy(rng), noisy(rng, shift_ms=20), 10)
    assert found.judgement == "worse"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 20 < found.high
    back = judged(noisy(rng, shift_ms=20), noisy(rng), 10)
    assert back.judgement == "better"


def test_a_run_is_the_same_as_itself_and_its_value_is_its_own() -> None:
    counts = noisy(np.random.default_rng(1))
    found = judged(counts, counts, 10)
    assert (found.difference, found.judgement) == (0, "same")
    median = grid.quantiles_ms(counts.sum(axis=0, keepdims=True).astype(float), np.array([0.5]))
    assert found.a == pytest.approx(median[0, 0])


def test_blocks_stay_within_their_phase_and_leave_nothing_out() -> None:
    strata = [0] * 7 + [1] * 13
    blocks = compare.blocks_of(20, strata, 3)
    assert [len(block) for block in blocks] == [3, 4, 3, 3, 3, 4]
    assert np.concatenate(blocks).tolist() == list(range(20))
    assert compare.strata_of([(0, 7), (7, 20)], 20, 1.0) == strata


def test_every_drawing_has_as_much_of_each_phase() -> None:
    strata = [0] * 20 + [1] * 40
    sampled = compare.resample(60, strata, 5, np.random.default_rng(1), 50)
    assert sampled.blocks == 12
    assert (sampled.weights[:, :20].sum(axis=1) == 20).all()
    assert (sampled.weights[:, 20:].sum(axis=1) == 40).all()
    assert (sampled.weights[0] == 1).all()
    # A phase of two blocks has nothing to draw from: then all phases are one.
    short = compare.resample(60, [0] * 10 + [1] * 50, 5, np.random.default_rng(1), 50)
    assert len(set(short.weights[:, :10].sum(axis=1))) > 1


def test_too_few_blocks_are_no_interval() -> None:
    one = np.array([1.0, 1.1, 0.9])
    found = compare.row("x", "p50", "ms", one, one + 5, lower_is_better=True, enough=False)
    assert (found.difference, found.low, found.judgement) == (5, None, "unknown")


def test_less_throughput_is_worse() -> None:
    one = np.array([100.0, 99, 101, 100])
    found = compare.row("t", "rate", "", one, one - 50, lower_is_better=False, enough=True)
    assert found.judgement == "worse"


@pytest.mark.parametrize(
    ("text", "metric", "aggregate", "percent"),
    [
        ("worse", "", "", 0),
        ("worse > 5%", "", "", 5),
        ("throughput", "throughput", "", 0),
        ("latency_ms{stage:sent}", "latency_ms{stage:sent}", "", 0),
        ("latency_ms{stage:sent}.p99.9>10%", "latency_ms{stage:sent}", "p99.9", 10),
        ("undelivered.share", "undelivered", "share", 0),
    ],
)
def test_conditions_parse(text: str, metric: str, aggregate: str, percent: float) -> None:
    assert parse_condition(text)[1:] == (metric, aggregate, percent)


@pytest.mark.parametrize("text", ["", ">5%", "worse>5", "worse>-1%", "worse>x%", "worse>nan%"])
def test_other_conditions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: worse, METRIC"):
        parse_condition(text)


def a_row(judgement: compare.Judgement, low: float, high: float) -> Row:
    return Row(
        name="m", aggregate="p95", unit="ms", a=100.0, b=110.0, difference=10.0, low=low, high=high,
        judgement=judgement,
    )  # fmt: skip


def test_a_condition_breaks_only_when_the_whole_interval_is_beyond_it() -> None:
    row = a_row("worse", 6, 14)
    assert broken(parse_condition("m.p95>5%"), [row]) == [row]
    assert broken(parse_condition("m>7%"), [row]) == []
    assert broken(parse_condition("worse"), [a_row("better", -9, -2)]) == []


def test_a_condition_about_nothing_is_no_success() -> None:
    with pytest.raises(ValueError, match=r"no such figure \(there are: m\)"):
        broken(parse_condition("n"), [a_row("same", -1, 1)])
    with pytest.raises(ValueError, match="nothing can be said"):
        broken(parse_condition("m"), [a_row("unknown", 0, 0)])


def test_an_interval_is_the_middle_of_the_rounds_differences() -> None:
    a, b = np.zeros(1002), np.concatenate([[500.0], np.arange(1001.0)])
    for confidence, low, high in ((0.95, 25, 975), (0.5, 250, 750)):
        made = compare.row(
            "x", "p50", "ms", a, b, lower_is_better=True, enough=True, confidence=confidence
        )
        assert (made.low, made.high) == pytest.approx((low, high))
