"""The telemetry processor whole: event in, batch item failures out; S3 and SQS by moto."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from lambda_fakes import (
    RUN,
    SONAR_CAR,
    SONAR_NONE,
    VIN,
    incoming,
    record,
)
from processor_cloud import REGISTRY, SECOND_VIN, Cloud, parked, running

from fleet_sim.contract import (
    SpotRegistry,
)
from fleet_sim.contract.fading import as_of
from fleet_sim.contract.registry import REGISTRY_KEY
from fleet_sim.contract.tables import SpotBelief


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with running(monkeypatch) as cloud:
        yield cloud


def test_a_batch_ends_up_everywhere(cloud: Cloud) -> None:
    assert (
        cloud.invoke(
            incoming(record(1, sonar=SONAR_CAR), 101),
            incoming(record(1, vin=SECOND_VIN, soc=0.25), 102, arrival_ms=1.78e12 + 5),
            incoming(parked(2), 103),
        )
        == []
    )
    assert [line.sequence for line in cloud.archived()] == ["101", "102", "103"]
    assert (cloud.view().applied, cloud.view().soc) == ("1-2", 0.5)
    view = cloud.view(SECOND_VIN)
    assert (view.soc, view.arrival_ms) == (0.25, 1.78e12 + 5)
    assert view.arrival_ms > view.stored_ms > view.processed_ms  # arrival is of another clock here
    assert cloud.belief("s0").state == cloud.belief("s1").state == "occupied"
    assert cloud.refusals() == []


def test_a_spot_that_was_not_seeded_is_inserted_with_its_place(cloud: Cloud) -> None:
    cloud.invoke(incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102))
    item = cloud.dynamodb.tables["spots"]["s0"]
    assert item["street"] == {"S": "1st"}
    assert item["cell"]["S"].startswith("89")  # resolution 9


def test_poison_is_archived_and_reported_and_never_tried_again(cloud: Cloud) -> None:
    spoof = msgspec.structs.replace(record(2), thing=SECOND_VIN)
    failed = cloud.invoke(
        incoming(b"\xff not JSON", 101), incoming(record(1), 102), incoming(spoof, 103)
    )
    assert failed == []
    assert [line.sequence for line in cloud.archived()] == ["101", "102", "103"]
    assert cloud.view().applied == "1"
    reasons = {report.sequence: report.reason for report in cloud.refusals()}
    assert reasons.keys() == {"101", "103"}
    assert "published by thing" in reasons["103"]


def test_a_batch_of_nothing_but_poison_is_done(cloud: Cloud) -> None:
    assert cloud.invoke(*(incoming(b"x", 100 + i) for i in range(25))) == []
    assert len(cloud.refusals()) == 25
    assert cloud.dynamodb.statements == 0


def test_one_failing_vehicle_is_tried_again_alone(cloud: Cloud) -> None:
    cloud.invoke(incoming(record(1), 101), incoming(record(1, vin=SECOND_VIN), 102))
    count = itertools.count()

    def another_writer() -> None:
        cloud.dynamodb.tables["vehicles"][VIN]["state"] = {
            "S": msgspec.json.encode(
                msgspec.structs.replace(cloud.view(), stored_ms=float(next(count)))
            ).decode()
        }

    cloud.dynamodb.before_write = another_writer
    cloud.start()
    cloud.pipeline._vehicles._sleep = lambda _: None
    batch = [incoming(record(2), 103), incoming(record(2, vin=SECOND_VIN), 104)]
    assert cloud.invoke(*batch) == ["103"]
    assert cloud.view(SECOND_VIN).applied == "1-2"
    cloud.dynamodb.before_write = lambda: None
    assert cloud.invoke(*batch) == []
    assert cloud.view().applied == "1-2"


def test_a_failed_spot_keeps_its_vehicle_s_records_out_of_the_vehicle(cloud: Cloud) -> None:
    throttled = {"Code": "ThrottlingError", "Message": "slow down"}
    cloud.pipeline._spots._sleep = lambda _: None
    cloud.dynamodb.errors = [throttled, throttled] * 5  # both spots, every attempt
    batch = [
        incoming(record(1, sonar=SONAR_CAR), 101),
        incoming(parked(2), 102),
        incoming(record(1, vin=SECOND_VIN), 103),
    ]
    assert cloud.invoke(*batch) == ["101", "102"]
    assert cloud.dynamodb.tables["vehicles"].keys() == {SECOND_VIN}
    assert cloud.invoke(*batch) == []
    assert cloud.view().applied == "1-2"
    assert cloud.belief("s0").observations == 1


def test_a_crash_after_the_archive_loses_and_doubles_nothing(cloud: Cloud) -> None:
    batch = [incoming(record(seq, sonar=SONAR_CAR), 100 + seq) for seq in (1, 2)]
    batch.append(incoming(parked(3), 103))

    def crash() -> None:
        raise RuntimeError("out of memory")

    cloud.dynamodb.before_write = crash
    with pytest.raises(RuntimeError, match="out of memory"):
        cloud.invoke(*batch)
    assert len(cloud.archived()) == 3
    cloud.dynamodb.before_write = lambda: None
    cloud.start()
    assert cloud.invoke(*batch) == []
    assert [line.sequence for line in cloud.archived()] == ["101", "102", "103"]
    assert cloud.view().applied == "1-3"
    assert cloud.belief("s0").observations == 1


def test_without_the_archive_nothing_is_stored(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "503"}}, "PutObject")

    monkeypatch.setattr(cloud.s3, "put_object", refuse)
    with pytest.raises(ClientError, match="SlowDown"):
        cloud.invoke(incoming(record(1), 101))
    assert cloud.dynamodb.statements == 0


def test_without_the_queue_poison_is_tried_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**request: Any) -> dict[str, Any]:
        return {"Failed": [{"Id": e["Id"], "Message": "no"} for e in request["Entries"]]}

    monkeypatch.setattr(cloud.sqs, "send_message_batch", refuse)
    assert cloud.invoke(incoming(b"x", 101), incoming(record(1), 102)) == ["101"]
    assert cloud.view().applied == "1"


def test_a_queue_that_is_down_holds_up_only_the_poison(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessageBatch")

    monkeypatch.setattr(cloud.sqs, "send_message_batch", refuse)
    assert cloud.invoke(incoming(b"x", 101), incoming(record(1), 102)) == ["101"]
    assert cloud.view().applied == "1"


def test_a_late_record_leaves_the_newest_ones_times(cloud: Cloud) -> None:
    cloud.invoke(incoming(record(1), 101), incoming(record(3), 102))
    before = cloud.view()
    cloud.invoke(incoming(record(2), 103))
    assert cloud.view() == msgspec.structs.replace(before, applied="1-3")


def test_a_newer_run_takes_the_registry_that_is_there_now(cloud: Cloud) -> None:
    cloud.invoke(incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102))
    renamed = [msgspec.structs.replace(spot, id=f"new-{spot.id}") for spot in REGISTRY.spots]
    cloud.put_registry(SpotRegistry("d", renamed))
    cloud.invoke(incoming(record(3, sonar=SONAR_CAR), 103), incoming(parked(4), 104))
    assert "new-s0" not in cloud.dynamodb.tables["spots"]  # in a run, the registry stays
    newer = RUN + "-b"
    cloud.invoke(
        incoming(record(1, run=newer, sonar=SONAR_CAR), 105), incoming(parked(2, run=newer), 106)
    )
    assert cloud.belief("new-s0").run == RUN + "-b"


def test_a_batch_of_an_older_run_only_does_not_stop_the_stream(cloud: Cloud) -> None:
    newer = RUN + "-b"
    assert cloud.invoke(incoming(record(1, vin=SECOND_VIN, run=newer), 101)) == []
    assert cloud.invoke(incoming(record(1), 102)) == []
    assert (cloud.view().run, cloud.view(SECOND_VIN).run) == (RUN, newer)


def test_a_registry_is_not_needed(cloud: Cloud) -> None:
    cloud.s3.delete_object(Bucket="data", Key=REGISTRY_KEY)
    batch = [incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102)]
    assert cloud.invoke(*batch) == []
    assert cloud.view().applied == "1-2"
    assert cloud.dynamodb.tables["spots"] == {}


def test_tables_filled_anew_between_runs_are_not_overwritten_from_memory(cloud: Cloud) -> None:
    cloud.invoke(incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102))
    cloud.dynamodb.tables["spots"].clear()
    cloud.dynamodb.tables["vehicles"].clear()
    newer = RUN + "-b"
    cloud.invoke(
        incoming(record(5, run=newer, sonar=SONAR_NONE), 103), incoming(parked(6, run=newer), 104)
    )
    assert cloud.view().applied == "5-6"
    assert (cloud.belief("s0").state, cloud.belief("s0").observations) == ("free", 1)


def test_a_belief_says_how_the_vehicles_clock_is_to_ours(cloud: Cloud) -> None:
    first = record(1, sonar=SONAR_CAR)
    hour_behind = first.ts + 3_600_000.0
    cloud.invoke(incoming(first, 101, arrival_ms=hour_behind + 40))
    # One that was delayed on its way says nothing new.
    cloud.invoke(incoming(parked(2), 102, arrival_ms=hour_behind + 90_000))
    belief = cloud.belief("s0")
    assert belief.ahead_ms == -3_600_040
    assert as_of(belief, hour_behind + 40).state == belief.state == "occupied"
    assert as_of(belief, hour_behind + 8 * 3_600_000).state == "unknown"


def test_a_vehicle_written_by_another_process_is_planned_anew(cloud: Cloud) -> None:
    cloud.invoke(incoming(record(1, sonar=SONAR_CAR), 101))
    other = cloud.pipeline
    cloud.start()
    cloud.invoke(incoming(record(2, sonar=SONAR_CAR), 102))
    other._vehicles._sleep = lambda _: None
    cloud.pipeline = other  # remembers the item as it was after the first message
    assert cloud.invoke(incoming(parked(3), 103)) == []
    assert cloud.view().applied == "1-3"
    assert cloud.belief("s0").observations == 1


def test_an_event_time_from_the_future_is_refused(cloud: Cloud) -> None:
    year = 366 * 86_400_000
    arrived = 1.78e12
    late, early = record(1, ts=int(arrived) + year), record(2, ts=int(arrived) + year + 1000)
    assert cloud.invoke(incoming(late, 101, arrived), incoming(early, 102, arrived)) == []
    assert cloud.view().applied == "1"
    (report,) = cloud.refusals()
    assert (report.sequence, "31622401 s after its arrival" in report.reason) == ("102", True)


def poison(seq: int, arrived: float) -> list[tuple[str, bytes]]:
    """Records that must be refused, each after what its report must say."""
    text = msgspec.json.encode(record(seq))
    good = msgspec.to_builtins(record(seq))
    future = record(seq, ts=int(arrived) + 400 * 86_400_000)
    spoof = msgspec.structs.replace(record(seq), thing=SECOND_VIN)
    return [
        ("not telemetry", b"\xff\x00 no JSON"),
        ("not telemetry", text[: len(text) // 2]),
        ("bytes (allowed", msgspec.json.encode(good | {"fw": "x" * 9_000})),
        ("Expected `object`", b"[1, 2, 3]"),
        ("$.speed_mps", msgspec.json.encode(good | {"speed_mps": "fast"})),
        ("$.soc", msgspec.json.encode(good | {"soc": 7})),
        ("unknown field", msgspec.json.encode(good | {"colour": "red"})),
        ("published by thing", msgspec.json.encode(spoof)),
        ("after its arrival", msgspec.json.encode(future)),
    ]


def test_poison_among_good_records_costs_none_of_them(cloud: Cloud) -> None:
    arrived = 1.78e12
    mixed, expected = [], []
    for seq in range(1, 41):
        good = incoming(record(seq, sonar=SONAR_CAR), 1_000 + 20 * seq, arrived)
        mixed += [good, good] if seq % 5 == 0 else [good]  # some are replayed
        if seq % 4 == 0:
            for i, (reason, data) in enumerate(poison(500 + seq, arrived), start=1):
                mixed.append(incoming(data, 1_000 + 20 * seq + i, arrived))
                expected.append((str(1_000 + 20 * seq + i), reason))
    for start in range(0, len(mixed), 17):
        assert cloud.invoke(*mixed[start : start + 17]) == []
    cloud.invoke(*mixed[:50])  # and a stretch of the stream once more
    assert cloud.view().applied == "1-40"
    reports: dict[str, str] = {report.sequence: report.reason for report in cloud.refusals()}
    assert reports.keys() == {sequence for sequence, _ in expected}
    assert [s for s, reason in expected if reason not in reports[s]] == []


class TestCounters:
    def test_hold_what_the_tables_hold(self, cloud: Cloud) -> None:
        batch = [
            incoming(record(1), 101),
            incoming(record(2, mode="parked", soc=0.25), 102),
            incoming(record(1, vin=SECOND_VIN, mode="charging", soc=0.75), 103),
        ]
        cloud.invoke(*batch)
        told = cloud.summary()
        assert (told.vehicles, told.online) == (2, 2)
        assert (told.driving, told.parked, told.charging) == (0, 1, 1)
        assert told.mean_soc == 0.5
        cloud.invoke(*batch)  # a retry moves nothing
        cloud.start()
        cloud.invoke(*batch)
        assert cloud.summary() == told
        cloud.invoke(incoming(record(3), 104))
        after = cloud.summary()
        assert (after.vehicles, after.driving, after.parked) == (2, 1, 0)

    def test_hold_the_calls_of_spots(self, cloud: Cloud) -> None:
        cloud.invoke(incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102))
        called = [
            msgspec.json.decode(item["belief"]["S"], type=SpotBelief).state
            for item in cloud.dynamodb.tables["spots"].values()
        ]
        told = cloud.summary()
        assert (told.occupied, told.free) == (called.count("occupied"), called.count("free"))
        assert told.occupied + told.free > 0

    def test_that_cannot_be_written_fail_no_record(
        self, cloud: Cloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud.dynamodb.uncountable = ClientError(
            {"Error": {"Code": "ThrottlingException", "Message": "slowly"}}, "TransactWriteItems"
        )
        assert cloud.invoke(incoming(record(1), 101)) == []
        assert cloud.view().seq == 1
        assert "counters were not written" in caplog.text
        # The next ones are counted from what they find.
        cloud.dynamodb.uncountable = None
        cloud.invoke(incoming(record(2), 102))
        assert cloud.summary().driving <= 1
