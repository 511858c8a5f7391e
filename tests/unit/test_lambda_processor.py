"""The telemetry processor whole: event in, batch item failures out; S3 and SQS by moto."""

import gzip
import importlib
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, TypeAlias

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lambda_fakes import (
    RUN,
    SONAR_CAR,
    SONAR_NONE,
    VIN,
    FakeDynamoDb,
    incoming,
    kinesis_event,
    record,
)
from moto import mock_aws

from fleet_sim.contract import (
    ArchivedRecord,
    FleetSummary,
    RegistrySpot,
    SpotRegistry,
    VehicleView,
    counters,
)
from fleet_sim.contract.fading import as_of
from fleet_sim.contract.failures import RefusedRecord
from fleet_sim.contract.registry import REGISTRY_KEY
from fleet_sim.contract.tables import Observation, SpotBelief
from telemetry_processor.logic import Incoming
from telemetry_processor.pipeline import Pipeline

SECOND_VIN = "1FSMZ91C0T0000002"
# Two stalls south of a lane that runs east through the position of `record()`, behind it.
REGISTRY = SpotRegistry(
    "c",
    [
        RegistrySpot(f"s{i}", 37.8 - 3.5 / 111_195, -122.27 - east / 87_862, 90.0, 5.5, 3.5, "1st")
        for i, east in enumerate((3.0, 8.4))
    ],
)


def parked(seq: int, **fields: Any) -> Any:
    """The street is left: what was sensed along it is judged."""
    return record(seq, mode="parked", speed_mps=0.0, **fields)


class Cloud:
    """S3 and SQS (moto), DynamoDB (fake), and a processor on them."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.sqs = boto3.client("sqs", region_name="us-east-1")
        self.s3.create_bucket(Bucket="data")
        self.queue = self.sqs.create_queue(QueueName="failures")["QueueUrl"]
        self.put_registry(REGISTRY)
        self.dynamodb = FakeDynamoDb(vehicles="vin", spots="id", counters="")
        self.start()

    def put_registry(self, registry: SpotRegistry) -> None:
        body = gzip.compress(msgspec.json.encode(registry))
        self.s3.put_object(Bucket="data", Key=REGISTRY_KEY, Body=body)

    def start(self) -> None:
        """A new execution environment: nothing is remembered."""
        self.pipeline = Pipeline(
            s3=self.s3,
            dynamodb=self.dynamodb,
            sqs=self.sqs,
            bucket="data",
            vehicles_table="vehicles",
            spots_table="spots",
            queue_url=self.queue,
            now_ms=itertools.count(1.0).__next__,
            counters_table="counters",
        )

    def invoke(self, *records: Incoming) -> list[str]:
        """Run the handler; answers the sequence numbers that it wants again."""
        module = importlib.import_module("telemetry_processor.handler")
        module._shared = self.pipeline  # type: ignore[attr-defined]
        context = SimpleNamespace(aws_request_id="r", function_name="f")
        answer = module.handler(kinesis_event(list(records)), context)
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]

    def view(self, vin: str = VIN) -> VehicleView:
        text = self.dynamodb.tables["vehicles"][vin]["state"]["S"]
        return msgspec.json.decode(text, type=VehicleView)

    def belief(self, spot_id: str) -> SpotBelief:
        text = self.dynamodb.tables["spots"][spot_id]["belief"]["S"]
        return msgspec.json.decode(text, type=SpotBelief)

    def summary(self) -> FleetSummary:
        return counters.summary(self.dynamodb.tables["counters"].values(), 1_000)

    def archived(self) -> list[ArchivedRecord]:
        lines: list[ArchivedRecord] = []
        listed = self.s3.list_objects_v2(Bucket="data", Prefix="telemetry/").get("Contents", [])
        for item in listed:
            body = self.s3.get_object(Bucket="data", Key=item["Key"])["Body"].read()
            lines += (
                msgspec.json.decode(line, type=ArchivedRecord)
                for line in gzip.decompress(body).splitlines()
            )
        return lines

    def refusals(self) -> list[RefusedRecord]:
        found = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            found += [msgspec.json.decode(m["Body"], type=RefusedRecord) for m in messages]
        return found


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    with mock_aws():
        yield Cloud()


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


def street(seq: int, vin: str, car: bool, heading_deg: float) -> Any:
    """A message of a drive along the stalls' lane, or across it."""
    return record(
        seq,
        vin=vin,
        lon=-122.27 + (10.0 * seq - 40.0) / 87_862,
        heading_deg=heading_deg,
        sonar=SONAR_CAR if car else SONAR_NONE,
    )


Final: TypeAlias = tuple[dict[str, VehicleView], Any, Any]


def final(cloud: Cloud, order: list[Any], sizes: Iterator[int], restart: bool) -> Final:
    """Vehicles, tracks and spots after these messages in batches of these sizes."""
    cloud.dynamodb = FakeDynamoDb(vehicles="vin", spots="id", counters="")
    cloud.start()
    left = [incoming(item, 100 + i) for i, item in enumerate(order)]
    while left:
        size = next(sizes)
        assert cloud.pipeline.process(left[:size]).failed == {}
        left = left[size:]
        if restart:
            cloud.start()
    held = cloud.dynamodb.tables["vehicles"]
    views = {
        vin: msgspec.structs.replace(
            cloud.view(vin), arrival_ms=0.0, processed_ms=0.0, stored_ms=0.0
        )
        for vin in held
    }
    spots = cloud.dynamodb.tables["spots"]
    # How the clocks are to each other is known the better the more was received.
    beliefs = {name: msgspec.structs.replace(cloud.belief(name), ahead_ms=0) for name in spots}
    recent = {name: item["recent"] for name, item in spots.items()}
    return views, {vin: held[vin]["track"] for vin in held}, beliefs, recent


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


DRIVES = st.lists(
    st.tuples(
        st.sampled_from([VIN, SECOND_VIN]),
        st.integers(1, 8),
        st.sampled_from([True, False]),
        st.sampled_from([90.0, 90.0, 90.0, 180.0]),
    ),
    min_size=1,
    max_size=16,
    unique_by=lambda item: item[:2],
)
HOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@HOW
@given(DRIVES, st.randoms(use_true_random=False), st.lists(st.integers(1, 6), min_size=1))
def test_any_cut_any_restart_and_any_repetition_end_the_same(cloud, messages, random, cuts) -> None:  # type: ignore[no-untyped-def]
    messages = sorted(messages, key=lambda item: item[1])
    sent = [street(seq, vin, car, heading) for vin, seq, car, heading in messages]
    once = final(cloud, sent, itertools.repeat(1), restart=False)
    repeated = list(sent)
    for item in random.choices(sent, k=4):
        # The stream repeats what it has carried already.
        repeated.insert(random.randint(repeated.index(item) + 1, len(repeated)), item)
    assert final(cloud, repeated, itertools.cycle(cuts), restart=True) == once


@HOW
@given(DRIVES, st.randoms(use_true_random=False), st.lists(st.integers(1, 6), min_size=1))
def test_disorder_changes_no_vehicle_and_doubles_no_look(cloud, messages, random, cuts) -> None:  # type: ignore[no-untyped-def]
    sent = [street(seq, vin, car, heading) for vin, seq, car, heading in messages]
    shuffled = sent + [random.choice(sent) for _ in range(4)]
    random.shuffle(shuffled)
    views, _, _, recent = final(cloud, shuffled, itertools.cycle(cuts), restart=True)
    inorder = sorted(sent, key=lambda item: item.seq)
    assert views == final(cloud, inorder, itertools.repeat(1), restart=False)[0]
    for text in recent.values():
        looks = msgspec.json.decode(text["S"], type=list[Observation])
        assert len({(look.vin, look.seq) for look in looks}) == len(looks)


def test_a_crash_between_spots_and_vehicles_doubles_no_look(cloud: Cloud) -> None:
    batch = [incoming(record(1, sonar=SONAR_CAR), 101), incoming(parked(2), 102)]
    writes = itertools.count()

    def crash_at_the_vehicle() -> None:
        if next(writes):
            raise RuntimeError("out of memory")

    cloud.dynamodb.before_write = crash_at_the_vehicle
    with pytest.raises(RuntimeError, match="out of memory"):
        cloud.invoke(*batch)
    assert cloud.belief("s0").observations == 1
    assert cloud.dynamodb.tables["vehicles"] == {}
    cloud.dynamodb.before_write = lambda: None
    cloud.start()
    assert cloud.invoke(batch[0]) == []  # another cut than before
    assert cloud.invoke(batch[1]) == []
    assert cloud.belief("s0").observations == 1
    assert cloud.view().applied == "1-2"


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
