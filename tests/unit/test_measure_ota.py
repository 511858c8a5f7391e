"""A campaign judged: the record of each vehicle against what is true of it."""

import pytest

from fleet_sim.contract.campaign_records import Target
from fleet_sim.measure.cost import prices
from fleet_sim.measure.ota import (
    MOST_CONTRADICTIONS,
    CampaignRecord,
    Decision,
    Installs,
    OtaReport,
    VehicleTruth,
    first_on_record,
)
from fleet_sim.measure.ota_judge import Campaigned, judge_campaign

OLD, NEW = "1.0.0", "1.1.0"
Seen = tuple[Target, VehicleTruth]


def vehicle(i: int, status: str, runs: str, queued_s: float = 0.0, **truth: object) -> Seen:
    target = Target(
        f"V{i:02}", 0, 0, status=status, attempt=int(status != "waiting"), queued_s=queued_s
    )  # type: ignore[arg-type]
    return target, VehicleTruth(vehicle=i, had=OLD, runs=runs, **truth)  # type: ignore[arg-type]


def judged(*vehicles: Seen, attack: str = "none", region: str = "us-east-1") -> OtaReport:
    record = CampaignRecord(
        "completed",
        "",
        [target for target, _ in vehicles],
        [Decision(2.0, "update_manager", "gate abort")],
        first_bad_s=1.5,
    )
    truths = [truth for _, truth in vehicles]
    seen = Campaigned(NEW, attack, truths, record, lambda thing: int(thing[1:]), 60.0, 500.0)
    return judge_campaign(seen, prices(region))


@pytest.mark.parametrize(
    ("seen", "what", "metric"),
    [
        (vehicle(0, "succeeded", OLD), "false success", "false_success"),
        (vehicle(0, "failed", NEW), "false failure", "false_failure"),
        (vehicle(0, "unreached", NEW), "false failure", "false_failure"),
        (vehicle(0, "in_progress", OLD), "stuck", "stuck"),
        (vehicle(0, "failed", OLD, boots=False), "does not boot", "unbootable"),
        (vehicle(0, "succeeded", NEW, writes={3: 2}), "installed twice", "installed_twice"),
    ],
)
def test_each_untruth_is_counted_and_its_vehicle_named(seen: Seen, what: str, metric: str) -> None:
    good = vehicle(1, "succeeded", NEW, writes={3: 1}, commits={3: 1})
    found = judged(seen, good)
    assert [(c.vin, c.what) for c in found.contradictions] == [("V00", what)]
    assert found.metrics()[f"ota_{metric}"]["count"] == 1
    assert not found.sound
    assert judged(vehicle(0, "waiting", OLD), good).sound


def test_two_installs_are_two_of_one_release_and_not_one_of_each_of_two() -> None:
    found = judged(
        vehicle(0, "succeeded", NEW, writes={3: 1, 4: 1}, commits={4: 1}),
        vehicle(1, "failed", OLD, writes={3: 1}),
    )
    assert found.installed_twice == 0
    assert found.installs == [Installs(3, 2, 0, 1), Installs(4, 1, 1, 1)]


def test_vehicles_by_record_and_truth() -> None:
    found = judged(
        vehicle(0, "succeeded", NEW),
        vehicle(1, "succeeded", NEW),
        vehicle(2, "failed", OLD),
        vehicle(3, "failed", OLD, boots=False),
    )
    assert found.truth == {"failed": {OLD: 1, "does not boot": 1}, "succeeded": {NEW: 2}}


def test_only_the_first_vehicles_are_named_and_all_are_counted() -> None:
    found = judged(*(vehicle(i, "in_progress", OLD) for i in reversed(range(50))))
    assert found.stuck == 50
    assert [c.vin for c in found.contradictions] == [f"V{i:02}" for i in range(MOST_CONTRADICTIONS)]


def test_the_gate_is_measured_by_the_services_clock_and_exposure_by_the_truth() -> None:
    """60 x: the decision after 2 s was at 120 simulated ones."""
    found = judged(
        vehicle(0, "failed", OLD, started_s=30.0, bad_boot_s=60.0),
        vehicle(1, "succeeded", NEW, started_s=90.0, installed_s=121.0),
        vehicle(2, "in_progress", OLD, started_s=300.0),
        vehicle(3, "waiting", OLD),
        vehicle(4, "queued", OLD, queued_s=2.1),  # after the decision: another one took it back
    )
    assert (found.report_s, found.decision_s, found.last_start_s) == (0.5, 0.5, 3.0)
    assert found.exposed == {"notified": 3, "started": 2, "installed": 0, "failed": 1}


def test_one_that_breaks_twice_is_one_vehicle_exposed() -> None:
    seen = vehicle(0, "failed", OLD, started_s=30.0, bad_boot_s=60.0, broken_s=70.0)
    assert judged(seen).exposed["failed"] == 1


def test_the_first_failure_on_record_is_one_that_counts() -> None:
    """Not the try that failed, and was followed by one that did not."""
    targets = [
        Target("V0", 0, 0, status="succeeded", failures=1, heard_s=50.0),
        Target("V1", 0, 0, status="retrying", failures=1, heard_s=5.0),
        Target("V2", 0, 0, status="failed", failures=2, heard_s=70.0),
        Target("V3", 0, 0, status="succeeded", faulty=True, heard_s=20.0),
    ]
    assert first_on_record(targets, {}) == 70.0
    assert first_on_record(targets, {"V3": 60.0}) == 60.0
    assert first_on_record(targets[:2], {"V0": 10.0}) is None


def test_the_cost_is_of_the_price_table_of_the_region() -> None:
    """By hand, of prices.yaml: an execution $0.003, messages of a dollar a million (a request, its
    answer, a notice), $0.09 a GB of 2³⁰ bytes; in Frankfurt $0.0036, $1.20 and $0.09."""
    seen = vehicle(0, "succeeded", NEW, requests=9, downloaded=2.0 * 2**30)
    there, here = judged(seen), judged(seen, region="eu-central-1")
    assert there.cost_usd == pytest.approx(0.003 + 19e-6 + 0.18)
    assert here.cost_usd == pytest.approx(0.0036 + 19 * 1.2e-6 + 0.18)
    assert there.metrics()["ota_cost_each_usd"]["value"] == there.cost_usd
    assert there.priced == "us-east-1, 2026-10-31"


def test_without_prices_there_is_no_cost() -> None:
    truth = VehicleTruth(vehicle=0, had=OLD, runs=NEW)
    record = CampaignRecord("completed", "", [Target("0", 0, 0, status="succeeded", attempt=1)], [])
    found = judge_campaign(Campaigned(NEW, "none", [truth], record, int, 1.0, 1.0), None)
    assert found.cost_usd is None
    assert "ota_cost_each_usd" not in found.metrics()
    assert found.metrics()["ota_requests_each"]["value"] == 0


def test_a_pause_that_had_ended_before_the_first_failure_is_no_decision_about_it() -> None:
    target, truth = vehicle(0, "failed", OLD, started_s=30.0, bad_boot_s=6_000.0)
    decisions = [
        Decision(1.0, "arn:me", "pause"),
        Decision(2.0, "arn:me", "resume"),
        Decision(104.0, "update_manager", "gate abort"),
    ]
    record = CampaignRecord("aborted", "", [target], decisions, first_bad_s=101.0)
    seen = Campaigned(NEW, "none", [truth], record, lambda _: 0, 60.0, 500.0)
    found = judge_campaign(seen, None)
    assert (found.report_s, found.decision_s) == (1.0, 3.0)
    assert found.exposed["failed"] == 1
