"""A load test's plan, where its users go, and what a broken threshold says."""

import io
import random

import msgspec
import pytest

from fleet_sim.cloud.target import Target
from fleet_sim.contract.campaigns import plan_of as rules_of
from fleet_sim.engine.load.area import Area
from fleet_sim.engine.load.campaign import VEHICLES, idle_campaign
from fleet_sim.engine.load.plan import (
    Hot,
    Place,
    Plan,
    load_run,
    parse_threshold,
    plan_of,
    vehicles_needed,
)
from fleet_sim.engine.load.result import conclude, file_name, print_result, read
from fleet_sim.engine.load.run import check_load_test
from fleet_sim.engine.options import new_run_id
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.measure.load import Meter, Tally
from fleet_sim.report.load import load_test
from fleet_sim.scenario import loads
from fleet_sim.scenario.load import Mix
from fleet_sim.world import build_cities
from update_manager import logic, planning
from update_manager.logic import Campaign

SCENARIO = """
name: x
clock: {speed: 2}
city: {generate: {blocks: [3, 3]}}
fleet: [{group: a, count: 1}]
phases:
  - {name: calm, duration: 20s}
  - {name: surge, duration: 40s, parking: {event: {at: arena, attendance: 9}}}
load: {users: 10, phases: {surge: 30}}
thresholds: {"load_ms": ["p(95)<900"], "audit_lost": ["count==0"]}
"""
PLACE = Place(
    Target("r", "1", "s", "h", 1, None), "http://127.0.0.1:1/api", "http://127.0.0.1:1/c", "p"
)


def plan(**fields: object) -> Plan:
    return Plan(place=PLACE, run="0load-x", identities="", **fields)  # type: ignore[arg-type]


def test_a_plan_follows_the_phases_in_wall_time(tmp_path) -> None:  # type: ignore[no-untyped-def]
    scenario = loads(SCENARIO)
    (city,) = build_cities(scenario)
    found = plan_of(scenario, [city], PLACE, "20260601T000000Z-aaaa", tmp_path, tmp_path)

    spells = [(s.name, s.start_s, s.end_s, s.users) for s in found.spells]
    assert spells == [("calm", 0.0, 10.0, 10), ("surge", 10.0, 30.0, 30)]
    assert [found.at(t).users for t in (-1.0, 9.9, 10.0, 29.9)] == [10, 10, 30, 30]  # type: ignore[union-attr]
    assert found.at(30.0) is None
    (hot,) = found.spells[1].hot
    assert not found.spells[0].hot
    assert (hot.lat, hot.lon) == city.degrees_of("arena")
    assert found.thresholds == {"load_ms": ("p(95)<900",)}  # what locust alone can judge


def test_a_load_test_s_messages_are_older_than_any_run() -> None:
    # The processor takes the run whose id sorts last for the one whose city the map shows.
    assert load_run(new_run_id()) < new_run_id()


def test_each_publisher_has_a_vehicle_of_its_own() -> None:
    assert vehicles_needed(Mix(drivers=90, dashboards=0, probes=5, vehicles=5), 200, 2) >= 10
    assert vehicles_needed(Mix(probes=0), 1_000, 1) == 0


def test_a_crowd_looks_near_its_event() -> None:
    area = Area([(37.0, -122.0)])
    hot = Hot(38.0, -122.0, share=0.8, spread_m=100.0)
    draw = random.Random(4)
    goals = [area.goal(draw, [hot]) for _ in range(2_000)]
    near = [abs(lat - 38.0) < 0.01 for lat, _ in goals]
    assert 0.76 < sum(near) / len(near) < 0.84
    assert {area.goal(draw) for _ in range(5)} == {(37.0, -122.0)}


def test_an_area_is_read_from_the_api_s_streets() -> None:
    body = b"""{"type": "FeatureCollection", "city": "c", "features": [{"type": "Feature",
      "geometry": {"type": "LineString", "coordinates": [[-122.2, 37.8], [-122.1, 37.9]]}}]}"""
    assert Area.of_geojson(body).bbox == "-122.200000,37.800000,-122.100000,37.900000"
    for wrong in (b"<html>", b'{"features": []}', b'{"title": "Not found"}'):
        with pytest.raises(ValueError, match="/streets: "):
            Area.of_geojson(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("load_ms p(95)<5", "no ':' "),
        ("latency_ms{stage:sent}: p(95)<5", "not a metric of load"),
        ("load_ms{name:spot}: p95<5", "is expected"),
    ],
)
def test_a_threshold_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        parse_threshold(text)


def test_a_threshold_of_the_command_line_is_read() -> None:
    assert parse_threshold("load_ms{name:spot}: p(95)<5") == ("load_ms{name:spot}", "p(95)<5")


def test_the_result_says_which_threshold_is_broken(tmp_path) -> None:  # type: ignore[no-untyped-def]
    meter, tally = Meter(), Tally()
    for ms in (10.0, 20.0, 154.3):
        meter.record(100, "GET", "near spots/1", ms, 5)
    tally.add(meter.take())
    rules = {"load_ms": ("max<100", "med<100"), "load_ms{name:none}": ("max<1",)}
    result = conclude(tally, plan(thresholds=rules, out=str(tmp_path)), 99.0, 2)

    assert [t.passed for t in result.thresholds] == [False, True, False]
    assert read(tmp_path) == result
    assert (tmp_path / f"load_{file_name('near spots/1')}.hgrm").read_text().count("154.3") >= 1
    said = io.StringIO()
    print_result(result, said)
    assert "BROKEN load_ms: max<100: max is 154.3" in said.getvalue()
    assert "near spots/1" in load_test(result.report)
    assert load_test(None) == ""


def test_an_operator_s_campaign_runs_for_years_and_starts_nobody() -> None:
    request = idle_campaign("1a2b", 1.8e9)
    plan = rules_of(request)
    listed = [planning.merged(candidate, None) for candidate in request.vehicles or ()]
    targets, sizes, ineligible = planning.lay_out(request.id or "", request, plan, listed)
    assert (sum(sizes), ineligible) == (VEHICLES, {})

    def decided(plan, now_s: float) -> logic.Decision:  # type: ignore[no-untyped-def]
        running = Campaign("load-1a2b", request, plan, "x", 0, "running", sizes=sizes)
        return logic.decide(running, targets, now_s)

    for later_s in (0.0, 43_200.0, 10 * 365.25 * 86_400):
        decision = decided(plan, 1.8e9 + later_s)
        assert (decision.campaign.state, decision.commands) == ("running", [])
    # With nothing to hold them back they would be started.
    free = decided(msgspec.structs.replace(plan, window=None), 1.8e9)
    assert any(isinstance(command, logic.StartJob) for command in free.commands)


def test_a_load_test_needs_an_api() -> None:
    scenario = loads(SCENARIO)
    check_load_test(scenario, "local")
    with pytest.raises(PreflightError, match=r"load: embedded has no API \(allowed: --target"):
        check_load_test(scenario, "embedded")
    check_load_test(loads(SCENARIO.replace("users: 10, phases: {surge: 30}", "users: 0")), "x")
