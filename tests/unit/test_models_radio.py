"""The link's outages and round trip times."""

import numpy as np
import pytest

from fleet_sim.models import RADIOS, radio, vehicle
from fleet_sim.models.radio import RadioLinks, transition_probabilities


def links(n: int, share: float, mean_s: float, seed: int = 1) -> RadioLinks:
    return RadioLinks(
        np.full(n, share),
        np.full(n, mean_s),
        np.full(n, 0.05),
        np.full(n, 0.4),
        np.random.default_rng(seed),
    )


@pytest.mark.parametrize("dt_s", [0.1, 1.0, 5.0])
def test_fitted_rates_give_share_and_burst_whatever_the_step(dt_s: float) -> None:
    share, mean_s, n = 0.2, 4.0, 4000
    link = links(n, share, mean_s)
    fails = recoveries = ups = downs = 0
    for _ in range(400):
        before = link.up
        link.step(dt_s)
        ups, downs = ups + before.sum(), downs + (~before).sum()
        fails += (before & ~link.up).sum()
        recoveries += (~before & link.up).sum()
    p, r = fails / ups, recoveries / downs
    rate = -np.log1p(-(p + r)) / dt_s
    assert p / (p + r) == pytest.approx(share, rel=0.05)
    assert 1 / (rate * r / (p + r)) == pytest.approx(mean_s, rel=0.05)


def test_two_short_steps_are_one_long_step() -> None:
    share, mean = np.array([0.3]), np.array([2.0])
    p1, r1 = (a[0] for a in transition_probabilities(share, mean, 0.5))
    p2, r2 = (a[0] for a in transition_probabilities(share, mean, 1.0))
    short = np.array([[1 - p1, p1], [r1, 1 - r1]])
    assert (short @ short).ravel() == pytest.approx([1 - p2, p2, r2, 1 - r2])


def test_a_link_without_outages_stays_up() -> None:
    link = links(500, 0.0, 1.0)
    for _ in range(50):
        link.step(1.0)
    assert link.up.all()


def test_rtt_is_lognormal_around_its_median() -> None:
    rtt = links(5000, 0.0, 1.0).rtt_s(np.arange(5000))
    assert np.median(rtt) == pytest.approx(0.05, rel=0.05)
    assert np.log(rtt).std() == pytest.approx(0.4, rel=0.05)


def test_presets_say_where_their_figures_come_from() -> None:
    assert all(preset.source and preset.name == name for name, preset in RADIOS.items())


def test_unknown_presets_are_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match=r"vehicle: 'model4'.*bolt_2017, leaf_30, model3_rwd"):
        vehicle("model4")
    with pytest.raises(ValueError, match=r"radio: 'wifi'.*5g_urban, lte_urban, rural"):
        radio("wifi")
