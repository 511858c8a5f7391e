"""The part `load` of a scenario: what is refused, and where it stands."""

import pytest

from fleet_sim.engine.catalog import known_names
from fleet_sim.measure.thresholds import check_threshold
from fleet_sim.scenario import ScenarioError, loads

BASE = (
    "name: x\nfleet: [{group: a, count: 1}]\n"
    "phases: [{name: calm, duration: 1m}, {name: surge, duration: 1m}]\n"
)


def load_of(more: str) -> object:
    return loads(BASE + more, catalog=known_names(), check_threshold=check_threshold)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("load: {phases: {surg: 3}}\n", "4: load.phases.surg: 'surg' is not a phase of this"),
        (
            "load: {mix: {drivers: 0, dashboards: 0, probes: 0}}\n",
            "4: load.mix: all weights are 0 (allowed: at least one above 0)",
        ),
        ("load: {workers: 0}\n", "4: load.workers: 0 is not allowed"),
        ("load: {spawn_rate: 0}\n", "4: load.spawn_rate: 0 is not allowed"),
        ('thresholds: {"load_ms": ["p(95)<9"]}\n', "this scenario has no load (allowed: with load"),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_place(more: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_of(more)
    assert len(str(caught.value).splitlines()) == 1
    assert said in str(caught.value)


def test_thresholds_may_name_what_a_load_measures() -> None:
    scenario = load_of(
        'load: {users: 3}\nthresholds: {"load_ms{name:near_spots}": ["p(95)<900"], '
        '"load_failed": ["value<0.01"]}\n'
    )
    assert scenario.load.anybody  # type: ignore[attr-defined]
    assert not load_of("load: {users: 0}\n").load.anybody  # type: ignore[attr-defined]
    assert load_of("load: {users: 0, phases: {surge: 5}}\n").load.anybody  # type: ignore[attr-defined]
