"""The links' layers: handovers, radio-link failures, places with outages; what vehicles sense."""

from dataclasses import replace

import numpy as np
import pytest

from fleet_sim.models import RADIOS, radio, vehicle
from fleet_sim.models.radio import Place, RadioLinks, RadioPreset
from fleet_sim.models.radio_coverage import GOOD, HOLE, WEAK, Coverage, SignalField
from fleet_sim.models.radio_outages import transition_probabilities, weibull, weibull_residual

LTE = RADIOS["lte_urban"]
QUIET = (Place(1.0, 0.0, 1.0), Place(0.0, 0.0, 1.0), Place(0.0, 0.0, 1.0))


def gilbert_elliott(share: float, mean_s: float) -> RadioPreset:
    place = Place(0.0, share, mean_s)
    return replace(RADIOS["lte_simple"], places=(replace(place, area_share=1.0), place, place))


def links(preset: RadioPreset, n: int, place: int = GOOD, seed: int = 1) -> RadioLinks:
    rng, sense = np.random.default_rng(seed).spawn(2)
    kind = np.zeros(n, dtype=np.int64)
    return RadioLinks([preset], kind, np.full(n, place, dtype=np.int8), np.zeros(n), rng, sense)


def stand(link: RadioLinks, dt_s: float, place: int = GOOD) -> None:
    n = link.up.size
    link.step(dt_s, np.full(n, place, dtype=np.int8), np.zeros(n))


def test_weibull_draws_have_mean_one_and_the_shapes_spread() -> None:
    rng = np.random.default_rng(1)
    drawn = weibull(np.full(100_000, 0.6), rng)
    assert drawn.mean() == pytest.approx(1.0, rel=0.02)
    assert drawn.std() == pytest.approx(1.758, rel=0.03)  # Γ(1 + 2/k) / Γ(1 + 1/k)² - 1, k = 0.6
    left = weibull_residual(np.full(100_000, 0.6), rng)
    assert left.mean() == pytest.approx((1 + 1.758**2) / 2, rel=0.03)  # of any renewal process


@pytest.mark.parametrize("dt_s", [0.1, 1.0, 5.0])
def test_shape_one_is_gilbert_elliott_whatever_the_step(dt_s: float) -> None:
    share, mean_s, n = 0.2, 4.0, 4000
    link = links(gilbert_elliott(share, mean_s), n)
    fails = recoveries = ups = downs = 0
    for _ in range(400):
        before = link.up
        stand(link, dt_s)
        ups, downs = ups + before.sum(), downs + (~before).sum()
        fails += (before & ~link.up).sum()
        recoveries += (~before & link.up).sum()
    p, r = fails / ups, recoveries / downs
    assert (p, r) == pytest.approx(transition_probabilities(share, mean_s, dt_s), rel=0.05)
    assert p / (p + r) == pytest.approx(share, rel=0.05)


def test_two_short_steps_are_one_long_step() -> None:
    p1, r1 = transition_probabilities(0.3, 2.0, 0.5)
    p2, r2 = transition_probabilities(0.3, 2.0, 1.0)
    short = np.array([[1 - p1, p1], [r1, 1 - r1]])
    assert (short @ short).ravel() == pytest.approx([1 - p2, p2, r2, 1 - r2])


@pytest.mark.parametrize(("place", "share"), [(GOOD, 0.0), (WEAK, 0.012), (HOLE, 0.5)])
def test_a_standing_vehicle_has_the_outages_of_its_place(place: int, share: float) -> None:
    link = links(LTE, 20_000, place)
    assert (~link.up).mean() == pytest.approx(share, rel=0.25)  # from the start
    down = 0.0
    for _ in range(200):
        stand(link, 1.0, place)
        down += (~link.up).mean() / 200
    assert down == pytest.approx(share, rel=0.1)


def test_who_leaves_a_hole_comes_back() -> None:
    link = links(LTE, 4000, HOLE)
    assert 0.4 < link.up.mean() < 0.6
    for _ in range(60):
        stand(link, 1.0, GOOD)
    assert link.up.mean() > 0.99


def drive(link: RadioLinks, dt_s: float, seconds: float, speed_mps: float) -> tuple[float, float]:
    """Share of time down, and of time in a gap."""
    n = link.up.size
    place, everyone, down, gap = np.zeros(n, dtype=np.int8), np.arange(n), 0.0, 0.0
    steps = round(seconds / dt_s)
    for k in range(1, steps + 1):
        link.step(dt_s, place, np.full(n, k * dt_s * speed_mps))
        down += (~link.up).mean() / steps
        gap += (link.delay_s(everyone) > 0).mean() / steps
    return float(down), float(gap)


@pytest.mark.parametrize("dt_s", [0.02, 0.1, 0.5])
def test_handovers_delay_and_never_lose_whatever_the_step(dt_s: float) -> None:
    link = links(replace(LTE, places=QUIET, handover_failure=0.0), 4000)
    down, gap = drive(link, dt_s, 30.0, 60.0)
    rate = 60.0 / LTE.handover_m
    assert down == 0.0
    assert link.handovers == pytest.approx(4000 * 30 * rate, rel=0.05)
    mean_gap_s = LTE.handover_gap_s * np.exp(LTE.handover_gap_log_sigma**2 / 2)
    # Some step sizes see few gaps: 4000 * 60 looks at 0.45 %.
    assert gap == pytest.approx(rate * mean_gap_s, rel=0.12)


def test_who_asks_within_a_gap_waits_for_its_end() -> None:
    """One handover of 5 s, 1 s before the step's end: 4 s are left, on top of the round trip."""
    preset = replace(
        LTE, places=QUIET, handover_failure=0.0, handover_gap_s=5.0, handover_gap_log_sigma=0.0,
        rtt_log_sigma=0.0,
    )  # fmt: skip
    link, one = links(preset, 1), np.array([0])
    at_m = float(link._handover_at_m[0])
    link.step(10.0, np.zeros(1, dtype=np.int8), np.array([at_m / 0.9]))
    assert link.handovers == 1
    assert link.rtt_s(one)[0] == pytest.approx(4.05, abs=1e-6)
    assert link.up.all()
    assert link.throughput_bps(one).uplink_bps[0] == 0.0
    link.step(4.1, np.zeros(1, dtype=np.int8), np.array([at_m / 0.9]))
    assert link.rtt_s(one)[0] == pytest.approx(0.05)
    assert link.throughput_bps(one).uplink_bps[0] > 0.0


def test_vehicles_that_stand_have_no_handovers() -> None:
    link = links(replace(LTE, places=QUIET), 1000)
    for _ in range(100):
        stand(link, 1.0)
    assert link.handovers == 0
    assert link.up.all()


def test_radio_link_failures_last_one_to_three_seconds() -> None:
    link = links(replace(LTE, places=QUIET, handover_failure=1.0), 300)
    n, dt_s = 300, 0.05
    since, lengths = np.full(n, np.nan), []
    for k in range(1, 1200):
        before = link.up
        # They stop after their way: no second failure begins within the first.
        link.step(dt_s, np.zeros(n, dtype=np.int8), np.full(n, min(k, 400) * 0.5))
        since[before & ~link.up] = link.now_s
        back = ~before & link.up
        lengths += (link.now_s - since[back]).tolist()
    assert len(lengths) > 50
    once = np.array(lengths)[np.array(lengths) < 3.0 + dt_s]
    assert once.size > 0.8 * len(lengths)
    assert once.min() > 1.0 - dt_s
    assert once.mean() == pytest.approx(2.0, abs=0.25)


def test_an_outage_shorter_than_the_limit_is_a_delay() -> None:
    short = replace(gilbert_elliott(0.1, 0.02), delay_below_s=0.5)
    link, everyone = links(short, 3000), np.arange(3000)
    for _ in range(20):
        stand(link, 0.1)  # those that were down at the start end
    waits = 0.0
    for _ in range(50):
        stand(link, 0.1)
        assert link.up.all()
        waits += (link.delay_s(everyone) > 0).mean() / 50
    assert waits == pytest.approx(0.1, rel=0.1)
    lasting = links(replace(short, delay_below_s=0.0), 3000)
    stand(lasting, 0.1)
    assert (~lasting.up).mean() == pytest.approx(0.1, rel=0.2)


def test_asking_changes_nothing() -> None:
    one, two = links(LTE, 500, HOLE), links(LTE, 500, HOLE)
    for _ in range(50):
        stand(one, 1.0, HOLE)
        stand(two, 1.0, HOLE)
        two.rtt_s(np.arange(9))
        two.throughput_bps(np.arange(4))
        assert (one.up == two.up).all()


def test_rtt_and_throughput_are_lognormal_around_the_medians_of_the_place() -> None:
    idx = np.arange(20_000)
    for place, rtt_s, uplink in ((GOOD, 0.05, 6.3e6), (WEAK, 0.075, 1.89e6)):
        link = links(replace(LTE, handover_m=np.inf), idx.size, place)
        rtt, flow = link.rtt_s(idx), link.throughput_bps(idx)
        assert np.median(rtt[link.up]) == pytest.approx(rtt_s, rel=0.05)
        assert np.log(rtt[link.up]).std() == pytest.approx(0.4, rel=0.05)
        assert np.median(flow.uplink_bps[link.up]) == pytest.approx(uplink, rel=0.05)
        assert np.log(flow.downlink_bps[link.up]).std() == pytest.approx(0.8, rel=0.05)


def test_a_link_that_is_down_answers_never_and_carries_nothing() -> None:
    link, idx = links(LTE, 1000, HOLE), np.arange(1000)
    assert 0 < link.up.sum() < 1000
    assert (np.isinf(link.rtt_s(idx)) == ~link.up).all()
    assert ((link.throughput_bps(idx).downlink_bps == 0) == ~link.up).all()


def test_the_field_is_standard_normal_and_decorrelates_as_gudmundson_says() -> None:
    rng = np.random.default_rng(1)
    # Far apart, in many draws: one draw's mean over a small area is its own.
    drawn = [SignalField(50.0, rng) for _ in range(300)]
    x, y = rng.uniform(0, 1e4, (2, 40))
    here = np.concatenate([field.at(x, y) for field in drawn])
    assert here.mean() == pytest.approx(0.0, abs=0.03)
    assert here.std() == pytest.approx(1.0, abs=0.03)
    for away_m in (25.0, 50.0, 150.0):
        there = np.concatenate([field.at(x, y + away_m) for field in drawn])
        assert np.mean(here * there) == pytest.approx(np.exp(-away_m / 50.0), abs=0.04)


def test_coverage_has_the_shares_and_is_the_same_on_every_pass() -> None:
    x, y = np.random.default_rng(1).uniform(0, 20_000, (2, 4000))
    one = Coverage([0.7, 0.25, 0.05], 50.0, np.random.default_rng(3)).at(x, y)
    again = Coverage([0.7, 0.25, 0.05], 50.0, np.random.default_rng(3)).at(x[::-1], y[::-1])
    other = Coverage([0.7, 0.25, 0.05], 50.0, np.random.default_rng(4)).at(x, y)
    assert np.bincount(one) / x.size == pytest.approx([0.7, 0.25, 0.05], abs=0.03)
    assert (one == again[::-1]).all()
    assert (one != other).mean() > 0.3
    assert (Coverage([1.0, 0.0, 0.0], 50.0, np.random.default_rng(3)).at(x, y) == GOOD).all()
    assert (Coverage([0.0, 0.0, 1.0], 50.0, np.random.default_rng(3)).at(x, y) == HOLE).all()


def test_presets_say_where_their_figures_come_from() -> None:
    assert all(preset.source and preset.name == name for name, preset in RADIOS.items())
    assert all("published" in p.source or "assumption" in p.source for p in RADIOS.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rtt_median_s": 0.0}, r"radio preset lte_urban: rtt_median_s: 0.0 \(allowed: above 0\)"),
        ({"delay_below_s": -1.0}, r"delay_below_s: -1.0 \(allowed: 0 or more\)"),
        ({"handover_failure": 1.5}, r"handover_failure: 1.5 \(allowed: 0..1\)"),
        ({"failure_s": (3.0, 1.0)}, r"failure_s: \(3.0, 1.0\) \(allowed: 0 <= least <= most\)"),
        ({"places": (Place(1.0, 1.0, 1.0), *QUIET[1:])}, r"places\[0\].outage_share: 1.0"),
        ({"places": (Place(0.5, 0.0, 1.0), *QUIET[1:])}, r"places\[\*\].area_share: 0.5"),
    ],
)
def test_impossible_presets_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LTE, **change)  # type: ignore[arg-type]


def test_unknown_presets_are_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match=r"vehicle: 'model4'.*bolt_2017, leaf_30, model3_rwd"):
        vehicle("model4")
    with pytest.raises(ValueError, match=r"radio: 'wifi'.*5g_urban, lte_simple, lte_urban, rural"):
        radio("wifi")
