"""Could we trust this run? Each doubt shows on its own."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from test_report_sample import make_run

from fleet_sim.measure.clock import ClockOffset
from fleet_sim.measure.summary import Summary
from fleet_sim.report.trust import checks, generator

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    made = make_run(tmp_path_factory.mktemp("run"), vehicles=20, blocks=(2, 2))
    lateness = {"count": 100.0, "p50": 0.1, "p99": 3.0, "max": 9.0}
    clock = ClockOffset(offset_ms=1, error_ms=2, steady=True, round_trips=9, negative={})
    health = replace(made.generator, lateness_ms=lateness, late=0)
    return replace(made, generator=health, clock=clock)


def test_a_sound_run_can_be_trusted(sound: Summary) -> None:
    assert [check for check in checks(sound) if not check.good] == []
    assert len(checks(sound)) == 8
    assert "This run can be trusted" in generator(sound)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"connected": 19}, "vehicles that were connected"),
        ({"not_offered": 3}, "never due"),
        ({"late": 600}, "sent late"),
        ({"lateness_ms": {"p99": 51.0}}, "lateness of the generator"),
        ({"event_loop_lag_ms": {"p99": 51.0}}, "event loop lag"),
        ({"cpu_s": 110.0}, "CPU of the busiest"),
    ],
)
def test_each_doubt_is_one(sound: Summary, changes: dict[str, Any], what: str) -> None:
    doubtful = replace(sound, generator=replace(sound.generator, **changes))
    (doubt,) = (check.what for check in checks(doubtful) if not check.good)
    assert what in doubt
    assert "With care: 1 of 8 checks did not hold." in generator(doubtful)


def test_a_clock_that_is_not_known_is_a_doubt(sound: Summary) -> None:
    assert sound.clock is not None
    for clock in (replace(sound.clock, error_ms=26.0), replace(sound.clock, steady=False)):
        doubtful = [c.what for c in checks(replace(sound, clock=clock)) if not c.good]
        assert doubtful == ["the cloud's clock against ours"]
    assert len(checks(replace(sound, clock=None))) == 7


def test_what_was_not_due_when_a_campaign_ended_the_run_is_no_doubt(sound: Summary) -> None:
    campaign: Any = object()
    short = replace(sound, generator=replace(sound.generator, not_offered=3), ota=campaign)
    assert not [check.what for check in checks(short) if not check.good]
    for verdict in ("interrupted", "target_failed"):
        broken = replace(short, run=replace(short.run, verdict=verdict))
        (doubt,) = (check.what for check in checks(broken) if not check.good)
        assert "never due" in doubt
    shards: Any = [SimpleNamespace(died="killed", cpu_s=1.0)]
    died = replace(short, generator=replace(short.generator, shards=shards))
    assert any("never due" in check.what for check in checks(died) if not check.good)
