"""The benchmark of the engine without its processes: who is measured with how many, what the page
says."""

from pathlib import Path

import pytest

from fleet_sim.engine.bench.engine import contest as module
from fleet_sim.engine.bench.engine.contest import (
    Contest,
    Contestant,
    Setting,
    contest,
)
from fleet_sim.engine.bench.engine.page import BEGIN, END, remarks, section, write_page
from fleet_sim.engine.bench.engine.task import Outcome, Pacer, Task

COSTS_US = {
    "ours": 40.0,
    "ours-fixed": 16.0,
    "floor": 10.0,
    "aiomqtt": 160.0,
    "awscrt": 40.0,
    "locust": 300.0,
}
CAPACITY_S = {"locust": 400}
"""Messages a second that a contestant can do; others do any."""


def outcome(who: str, vehicles: int, period_s: float, cost_us: float | None = None) -> Outcome:
    rate = min(vehicles / period_s, CAPACITY_S.get(who, 1e9))
    done = round(rate * 10)
    cpu_s = (cost_us or COSTS_US[who]) * done / 1e6
    return Outcome(vehicles, 2.0, 1_000.0, 1_000.0 + 5 * vehicles, done, cpu_s, 10.0, 3.0, 300.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """No process is started; who was asked to drive how many."""
    calls: list[tuple[str, int]] = []

    def run(setting: Setting, who: Contestant, vehicles: int) -> Outcome | None:
        calls.append((who.name, vehicles))
        return outcome(who.name, vehicles, setting.period_s)

    monkeypatch.setattr(module, "_run", run)
    return calls


SETTING = Setting("127.0.0.1", 1, "a broker", vehicles=1_000)


def found(setting: Setting = SETTING) -> Contest:
    return contest(setting, "2026-01-01")


def test_costs_and_ratios_are_those_of_the_outcomes(asked: list[tuple[str, int]]) -> None:
    result = found()
    assert {each.name: round(each.cpu_us, 6) for each in result.measured} == COSTS_US
    assert [round(target.ratio, 3) for target in result.targets] == [1.6, 10.0, 2.5, 18.75]
    assert [target.held for target in result.targets] == [True, True, False, False]
    ours = result.measured[0]
    assert (ours.messages_s_core, ours.memory_kb, ours.connects_s) == (25_000.0, 5.0, 500.0)


def test_who_cannot_hold_the_rate_is_measured_with_fewer_and_marked(
    asked: list[tuple[str, int]],
) -> None:
    result = found()
    by_name = {each.name: each for each in result.measured}
    assert by_name["locust"].vehicles <= 400
    assert not by_name["locust"].held
    assert all(each.held for each in result.measured if each.name != "locust")
    tried = [vehicles for name, vehicles in asked if name == "locust"]
    assert tried[0] == 1_000
    assert tried[-2:] == [by_name["locust"].vehicles] * 2  # rounds 2 and 3 do not try again
    assert any("measured with fewer" in line for line in remarks(result))


def test_rounds_take_turns(asked: list[tuple[str, int]]) -> None:
    found(SETTING._replace(names=("ours-fixed", "floor", "awscrt")))
    assert [name for name, _ in asked] == [
        *("ours-fixed", "floor", "awscrt"),
        *("floor", "awscrt", "ours-fixed"),
        *("awscrt", "ours-fixed", "floor"),
    ]


def test_the_median_of_the_rounds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = iter((50.0, 10.0, 12.0))
    monkeypatch.setattr(
        module, "_run", lambda s, who, n: outcome(who.name, n, s.period_s, next(costs))
    )
    (floor,) = found(SETTING._replace(names=("floor",))).measured
    assert round(floor.cpu_us, 6) == 12.0
    assert [round(cost, 6) for cost in floor.cpu_us_rounds] == [50.0, 10.0, 12.0]


def test_a_library_that_never_connects_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(setting: Setting, who: Contestant, vehicles: int) -> Outcome | None:
        return None if who.name == "aiomqtt" else outcome(who.name, vehicles, setting.period_s)

    monkeypatch.setattr(module, "_run", run)
    result = found()
    assert [each.name for each in result.skipped] == ["aiomqtt"]
    assert "aiomqtt" not in {each.name for each in result.measured}
    assert len(result.targets) == 3


def test_what_is_not_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, int]]
) -> None:
    there = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "locust" else there(name)
    )
    result = found()
    assert [(each.name, each.reason) for each in result.skipped] == [
        ("locust", "locust is not installed")
    ]


def test_the_page_keeps_what_is_around_the_table(
    tmp_path: Path, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_sim.engine.bench.engine.page.draw", lambda found, path: True)
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{BEGIN}\nyesterday\n{END}\n\nAfter.\n")
    write_page(found(), page)
    once = page.read_text()
    write_page(found(), page)
    assert page.read_text() == once
    assert once.startswith("# Before\n\n")
    assert once.endswith("\n\nAfter.\n")
    assert "yesterday" not in once
    assert "| fleet-sim | 16.0 | 1.60 | 62,500 |" in once
    assert "**missed**" in once
    assert "(page.png)" in once


def test_a_page_without_a_place_for_the_table_is_refused(
    tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Nothing\n")
    with pytest.raises(ValueError, match="no place for the table"):
        write_page(found(), page)
    assert "![" not in section(found(), None)


def test_the_pacer_offers_each_message_once_and_in_time() -> None:
    pacer = Pacer(Task("floor", "h", 1, 4, 1.0, 0.0, 1.0, 10))
    assert list(pacer.due(0.0)) == [0]
    assert list(pacer.due(0.1)) == []
    assert list(pacer.due(0.6)) == [1, 2]
    assert list(pacer.due(2.0)) == [3, 0, 1, 2, 3, 0]
    assert [round(late, 6) for late in pacer.lateness_s] == [0.0, 0.35, 1.25]
