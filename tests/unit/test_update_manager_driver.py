"""The driver against DynamoDB and a Jobs service: events twice and late, two at once."""

from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from campaign_driver import WAVES, Bench
from campaign_fakes import URL, FakeDynamo, KilledError
from moto import mock_aws

from fleet_sim.contract.campaign_records import AuditEntry
from fleet_sim.contract.campaigns import plan_of
from fleet_sim.contract.jobs import FirmwareJob
from update_manager import driver, logic, views
from update_manager.driver import AT_ONCE, broken
from update_manager.logic import Campaign, Event
from update_manager.planning import Vehicle
from update_manager.store import ExistsError, TooLongError


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="campaigns",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in ("campaign", "item")
            ],
            KeySchema=[
                {"AttributeName": "campaign", "KeyType": "HASH"},
                {"AttributeName": "item", "KeyType": "RANGE"},
            ],
        )
        yield client


TWELVE_JOBS = [{"thing": f"V{i:03}", "region": f"r{i}"} for i in range(12)]
"""A job is one region's."""


def test_a_campaign_runs_through_and_is_told_and_logged(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves=WAVES)
    turn = bench.drive()
    assert (turn.campaign.state, turn.campaign.sizes) == ("running", (3, 9))
    for thing in bench.queued():
        bench.tell(bench.iot.report(thing, "SUCCEEDED"))
    assert len(bench.iot.made) == 1
    bench.drive()
    assert bench.iot.made == ["c-w0-a1-p0", "c-w1-a1-p0"]
    for thing in bench.queued():
        bench.tell(bench.iot.report(thing, "SUCCEEDED"))
    turn = bench.drive()
    assert turn.ended
    assert bench.told == ["started", *["wave ended", "gate passed"] * 2, "completed"]
    assert [e.action for e in bench.store.audit("c")] == ["create", *bench.told]
    view = views.view(turn.campaign, bench.store.targets("c", 2))
    assert (view.success_rate, view.in_progress) == (1.0, 0)


def test_a_document_asks_the_service_to_sign_the_urls(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves=WAVES)
    bench.drive()
    (job,) = bench.iot.jobs.values()
    assert job["presignedUrlConfig"] == {"roleArn": "arn:role", "expiresInSec": 600}
    document = msgspec.json.decode(job["document"], type=FirmwareJob)
    assert document.image_url == "${aws:iot:s3-presigned-url:" + URL + "}"


def test_events_twice_and_in_any_order_change_nothing(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [1.0], "soak_s": 0}, gate={"max_failed": 0.2})
    bench.drive()
    one, two, *rest = bench.queued()
    begun = bench.iot.report(one, "IN_PROGRESS")
    failed = bench.iot.report(one, "FAILED", reason="boot")
    done = bench.iot.report(two, "SUCCEEDED")
    bench.tell(failed, begun, done)
    bench.tell(failed, failed, done, begun)
    (counts,) = bench.drive().counts
    assert counts.statuses == {"failed": 1, "succeeded": 1, "queued": 10}
    assert len(rest) == 10


def test_what_no_event_said_is_found_by_looking(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [1.0], "soak_s": 0}, retry={"backoff_s": 60})
    bench.drive()
    one, two, *_ = bench.queued()
    bench.iot.report(one, "IN_PROGRESS")
    bench.iot.report(two, "FAILED", reason="download")
    (counts,) = bench.drive(reconcile=True).counts
    assert counts.statuses == {"in_progress": 1, "retrying": 1, "queued": 10}


def test_a_vehicle_that_was_heard_of_meanwhile_keeps_its_job(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [1.0]}, timeouts={"silent_s": 100})
    bench.drive()
    one, two, three, *_ = bench.queued()
    for thing in (one, two, three):
        bench.tell(bench.iot.report(thing, "IN_PROGRESS"))
    bench.at(1_090.0)
    bench.iot.report(one, "IN_PROGRESS")
    bench.iot.report(two, "IN_PROGRESS", deferred="charge")
    bench.at(1_101.0)
    bench.drive()  # without having looked at the jobs before
    bench.at(1_250.0)
    bench.iot.report(one, "IN_PROGRESS")
    bench.drive()
    statuses = {t.thing: t.status for t in bench.store.targets("c", 1)}
    assert [statuses[thing] for thing in (one, two, three)] == [
        "in_progress", "in_progress", "retrying"
    ]  # fmt: skip


def test_a_vehicle_that_is_not_registered_keeps_nobody_from_starting(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [1.0]})
    bench.iot.missing = {"V003"}
    bench.drive()
    assert len(bench.queued()) == 11
    target = bench.store.target("c", 0, "V003")
    assert target is not None
    assert (target.status, target.reason) == ("unreached", "no such thing")


def test_an_abort_between_decision_and_start_stops_the_start(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [1.0]}, vehicles=TWELVE_JOBS)
    aborted = False
    inner = bench.iot.create_job

    def create_job(**request: Any) -> None:
        nonlocal aborted
        inner(**request)
        if not aborted:  # the operator is faster than the later starts of the same decision
            aborted = True
            bench.act(lambda c: logic.advance(c, Event.ABORTED, bench.now_s))

    bench.iot.create_job = create_job  # type: ignore[method-assign]
    turn = bench.drive()
    assert len(bench.iot.made) == AT_ONCE
    assert turn.campaign.state == "aborted"
    assert {e["status"] for e in bench.iot.executions.values()} == {"CANCELED"}


def test_a_late_fault_counts_once(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [0.25, 1.0], "soak_s": 1e6})
    bench.drive()
    things = bench.queued()
    for thing in things:
        bench.tell(bench.iot.report(thing, "SUCCEEDED"))
    assert bench.drive().campaign.state == "soaking"
    assert broken(bench.store, "c", [things[0], things[0], "nobody"], "camera") == 1
    assert bench.drive().campaign.state == "aborted"


def test_a_campaign_is_made_once(dynamodb: Any) -> None:
    bench = Bench(dynamodb)
    campaign = Campaign("c", bench.request, plan_of(bench.request), "arn:other", 0)
    with pytest.raises(ExistsError):
        bench.store.create(campaign, None, AuditEntry(0, "arn:other", "create"))
    assert [e.who for e in bench.store.audit("c")] == ["arn:me"]


def test_a_list_of_vehicles_may_be_longer_than_an_item(dynamodb: Any) -> None:
    """8,000 with model and version are 544 KB, and an item of the table holds 400."""
    vehicles = [
        {"thing": f"5YJ3E1EA7KF{i:06}", "model": "model3_rwd", "version": "1.0.0"}
        for i in range(8_000)
    ]
    bench = Bench(dynamodb, vehicles=vehicles)
    listed = bench.store.vehicles("c")
    assert listed is not None
    assert [v.thing for v in listed] == [v["thing"] for v in vehicles]
    assert bench.store.targets("c", 20) == []
    campaign = msgspec.structs.replace(
        Campaign("d", bench.request, plan_of(bench.request), "arn:me", 0), id="d"
    )
    with pytest.raises(TooLongError, match=r"vehicles: .* bytes of names \(allowed: 3,500,000\)"):
        bench.store.create(campaign, listed * 8, AuditEntry(0, "arn:me", "create"))
    bench.store.create(campaign, [], AuditEntry(0, "arn:me", "create"))
    assert bench.store.vehicles("d") == []


def test_a_job_whose_maker_died_before_it_said_so_is_the_same_job() -> None:
    bench = Bench(FakeDynamo(), waves=WAVES)
    inner = bench.iot.create_job

    def create_job(**request: Any) -> None:
        inner(**request)
        raise KilledError

    bench.iot.create_job = create_job  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        bench.drive()
    bench.iot.create_job = inner  # type: ignore[method-assign]
    (first, _) = bench.drive().counts
    assert (first.statuses, bench.iot.made) == ({"queued": 3}, ["c-w0-a1-p0"])


def test_one_record_that_moved_meanwhile_keeps_none_of_the_others(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves={"shares": [1.0]})
    bench.drive()
    before = bench.store.targets("c", 1)
    moved = msgspec.structs.replace(before[0], status="in_progress")
    assert bench.store.save("c", before[0], moved)
    done = [(t, msgspec.structs.replace(t, status="succeeded")) for t in before]
    assert bench.store.save_all("c", done) == [False] + [True] * 11
    assert [t.status for t in bench.store.targets("c", 1)] == ["in_progress"] + ["succeeded"] * 11
    bench.tell(bench.iot.report(before[0].thing, "SUCCEEDED"))
    assert {t.status for t in bench.store.targets("c", 1)} == {"succeeded"}


def test_two_at_once_do_it_once() -> None:
    """The second one comes while the first is at the Jobs service."""
    bench = Bench(FakeDynamo(), waves=WAVES)
    other = bench.new_driver(bench.dynamodb, bench.iot)
    inner = bench.iot.create_job

    def create_job(**request: Any) -> None:
        bench.iot.create_job = inner  # type: ignore[method-assign]
        other.drive("c", reconcile=True)
        for thing in bench.queued()[:2]:
            bench.tell(bench.iot.report(thing, "SUCCEEDED"))
        inner(**request)

    bench.iot.create_job = create_job  # type: ignore[method-assign]
    (first, second) = bench.drive().counts
    assert first.statuses == {"succeeded": 2, "queued": 1}
    assert (second.statuses, bench.iot.made) == ({"waiting": 9}, ["c-w0-a1-p0"])


def test_who_writes_second_has_decided_on_old_news(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves=WAVES)
    bench.drive()
    held = bench.store.read("c")
    assert held is not None
    paused = logic.advance(held.campaign, Event.PAUSED, 1.0)
    assert bench.store.write(held, paused) is not None
    assert bench.store.write(held, held.campaign) is None
    now = bench.store.read("c")
    assert now is not None
    assert now.campaign.state == "paused"


def test_what_there_was_no_time_for_is_done_in_the_next_turn() -> None:
    bench = Bench(FakeDynamo(), waves={"shares": [1.0]}, vehicles=TWELVE_JOBS)
    inner = bench.iot.create_job

    def slow(**request: Any) -> None:
        inner(**request)
        bench.now_s += 41

    bench.iot.create_job = slow  # type: ignore[method-assign]
    assert bench.drive().wait_s == 1.0
    assert len(bench.iot.made) == AT_ONCE
    bench.drive()
    assert len(bench.iot.made) == 12


def test_every_job_is_looked_at_however_even_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LISTED_JOBS", 3)
    bench = Bench(FakeDynamo(), waves={"shares": [1.0]}, vehicles=TWELVE_JOBS)
    bench.drive()
    looked: set[str] = set()
    inner = bench.iot.list_job_executions_for_job

    def looks(**request: Any) -> Any:
        looked.add(request["jobId"])
        return inner(**request)

    bench.iot.list_job_executions_for_job = looks  # type: ignore[method-assign]
    for _ in range(60):
        bench.at(bench.now_s + 60)
        bench.drive(reconcile=True)
    assert len(looked) == 12


def test_what_looking_took_is_no_more_there_for_doing() -> None:
    """Together they have the function's 60 s, and what is told comes last."""
    bench = Bench(FakeDynamo(), waves={"shares": [1.0], "per_minute": 4})
    bench.drive()
    inner = bench.iot.list_job_executions_for_job

    def slow(**request: Any) -> Any:
        bench.now_s += 41
        return inner(**request)

    bench.at(1_120.0)
    bench.iot.list_job_executions_for_job = slow  # type: ignore[method-assign]
    assert bench.drive(reconcile=True).wait_s == 1.0
    assert len(bench.iot.made) == 1


def test_one_plans_at_a_time_and_puts_right_what_a_dead_one_left(dynamodb: Any) -> None:
    bench = Bench(dynamodb, waves=WAVES)
    small = {"V000": Vehicle("V000", version="1.0.0")}
    killed = bench.new_driver(dynamodb, bench.iot)
    killed._fleet = lambda things: small  # one vehicle has been heard of by then
    inner = bench.store.write
    killed._store.write = lambda held, campaign, *rest: (  # type: ignore[method-assign]
        inner(held, campaign, *rest) if campaign.state == "planned" else _die()
    )
    with pytest.raises(KilledError):
        killed.drive("c", reconcile=False)
    assert [t.thing for t in bench.store.targets("c", 20)] == ["V000"]
    assert bench.drive().campaign.state == "planned"  # it may still be at it
    assert bench.iot.made == []
    bench.at(bench.now_s + 66)
    turn = bench.drive()
    assert (turn.campaign.state, turn.campaign.sizes) == ("running", (3, 9))
    targets = bench.store.targets("c", 20)
    assert len({t.thing for t in targets}) == len(targets) == 12


def _die() -> None:
    raise KilledError
