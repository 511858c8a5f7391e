"""Lambda event source mappings that read Kinesis streams."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gap_harness import GapAws, against_stock

# Tells a queue what it received, fails on a record that says so, waits for another invocation to be
# under way with one that says that.
REPORTER = """
import base64, json, os, time, boto3
sqs = boto3.client("sqs")

def handler(event, context):
    records = [
        {{
            "data": base64.b64decode(record["kinesis"]["data"]).decode(),
            "sequence": record["kinesis"]["sequenceNumber"],
            "key": record["kinesis"]["partitionKey"],
            "arrival": record["kinesis"]["approximateArrivalTimestamp"],
            "event": {{k: v for k, v in record.items() if k != "kinesis"}},
        }}
        for record in event["Records"]
    ]
    sqs.send_message(QueueUrl="{queue}", MessageBody=json.dumps(records))
    for record in records:
        if record["data"].startswith("together"):
            here, met = "{folder}/" + record["sequence"], "{folder}-met"
            open(here, "w").close()
            until = time.monotonic() + {patience_s}
            while not os.path.exists(met) and time.monotonic() < until:
                if len(os.listdir("{folder}")) > 1:
                    open(met, "w").close()
                time.sleep(0.02)
            os.remove(here)
        if record["data"].startswith("raise"):
            raise ValueError("poison")
        if record["data"].startswith("bad"):
            return {{"batchItemFailures": [{{"itemIdentifier": record["sequence"]}}]}}
"""


class Mapped:
    """A stream, a function that reports what it receives, and a mapping between them."""

    def __init__(self, aws: GapAws, shards: int = 1, **options: Any) -> None:
        self.aws = aws
        self.kinesis = aws.client("kinesis")
        self.stream = aws.stream(shards)
        self.arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{self.stream}"
        self._seen: list[list[dict[str, Any]]] = []
        self._queue = aws.queue()
        self._folder = tempfile.TemporaryDirectory(prefix="fleet-sim-together-")
        self.folder = Path(self._folder.name) / "of"
        self.folder.mkdir()
        source = REPORTER.format(
            queue=self._queue, folder=self.folder, patience_s=min(20.0, aws.patience_s)
        )
        self.function = aws.function(source, Timeout=60)
        self.failures = aws.queue()
        self.options = {"StartingPosition": "TRIM_HORIZON"} | options
        self.uuid = ""

    def start(self) -> Mapped:
        name = self.failures.rpartition("/")[2]
        destination = {"OnFailure": {"Destination": f"arn:aws:sqs:us-east-1:000000000000:{name}"}}
        self.uuid = self.aws.client("lambda").create_event_source_mapping(
            EventSourceArn=self.arn,
            FunctionName=self.function,
            DestinationConfig=destination,
            **self.options,
        )["UUID"]
        return self

    def put(self, *data: str, key: str = "k") -> list[str]:
        """Sequence numbers of the records, which are appended at once."""
        records = [{"Data": one, "PartitionKey": key} for one in data]
        answer = self.kinesis.put_records(StreamName=self.stream, Records=records)
        return [record["SequenceNumber"] for record in answer["Records"]]

    def batches(self) -> list[list[str]]:
        """The data of each invocation so far."""
        for body in iter(lambda: self.aws.messages(self._queue), []):
            self._seen += [json.loads(one) for one in body]
        return [[record["data"] for record in batch] for batch in self._seen]

    def wait(self, done: Callable[[list[list[str]]], bool]) -> list[list[str]]:
        return self.aws.wait_for(lambda: seen if done(seen := self.batches()) else None)

    def records(self) -> list[dict[str, Any]]:
        return [record for batch in self._seen for record in batch]

    def met(self) -> bool:
        """Whether two invocations were under way at once, with records that wait for that."""
        return self.folder.with_name("of-met").exists()

    def given_up(self) -> dict[str, Any]:
        body = self.aws.wait_for(lambda: next(iter(self.aws.messages(self.failures)), None))
        document: dict[str, Any] = json.loads(body)
        return document


@pytest.fixture
def mapped(aws: GapAws) -> Any:
    """Makes mappings, and removes them: a forgotten one would retry for ever."""
    made: list[Mapped] = []

    def make(shards: int = 1, **options: Any) -> Mapped:
        made.append(Mapped(aws, shards, **options))
        return made[-1]

    yield make
    for one in made:
        if one.uuid:
            aws.client("lambda").delete_event_source_mapping(UUID=one.uuid)


@against_stock
def test_partial_failures_bisect_and_give_up_alone(aws: GapAws, mapped: Any) -> None:
    one = mapped(
        MaximumRetryAttempts=1,
        BisectBatchOnFunctionError=True,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    sequences = one.put("1", "2", "bad", "4", "5")
    one.start()
    seen = one.wait(lambda seen: bool(seen) and seen[-1][-1] == "5" and "bad" not in seen[-1])
    # From the reported record on; split until it is alone; retried once; given up.
    assert seen == [["1", "2", "bad", "4", "5"], ["bad", "4", "5"], ["bad"], ["bad"], ["4", "5"]]
    document = one.given_up()
    information = document.pop("KinesisBatchInfo")
    assert information["startSequenceNumber"] == information["endSequenceNumber"] == sequences[2]
    assert information["batchSize"] == 1
    assert information["streamArn"] == one.arn
    assert information["shardId"] == "shardId-000000000000"
    assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert document["requestContext"]["functionArn"].endswith(one.function)
    assert document["responseContext"]["functionError"] == "Unhandled"
    assert "bad" not in json.dumps(document)


@against_stock
def test_a_batch_that_raises_is_given_up_whole_without_bisecting(aws: GapAws, mapped: Any) -> None:
    one = mapped(MaximumRetryAttempts=0)
    one.put("1", "raise", "3")
    one.start()
    assert one.given_up()["KinesisBatchInfo"]["batchSize"] == 3
    one.put("4")
    assert one.wait(lambda seen: ["4"] in seen) == [["1", "raise", "3"], ["4"]]


@against_stock
def test_a_window_gathers_records_into_one_batch(aws: GapAws, mapped: Any) -> None:
    one = mapped(MaximumBatchingWindowInSeconds=8).start()
    for number in range(5):  # over 2 s, or more where time is short: stock polls each second
        one.put(str(number))
        time.sleep(0.5)
    assert one.wait(bool) == [["0", "1", "2", "3", "4"]]


@against_stock
def test_parallel_batches_keep_the_order_of_each_key(aws: GapAws, mapped: Any) -> None:
    one = mapped(ParallelizationFactor=10, BatchSize=1)
    keys = ["a", "b", "c", "d"]
    for number in range(2):
        for key in keys:
            one.put(f"together {key} {number}", key=key)
    one.start()
    seen = one.wait(lambda seen: len(seen) == 8)
    # One after the other, none would have met another.
    assert one.met()
    for key in keys:
        assert [data for (data,) in seen if f" {key} " in data] == [
            f"together {key} 0",
            f"together {key} 1",
        ]


def test_a_stuck_shard_stops_no_other(aws: GapAws, mapped: Any) -> None:
    one = mapped(shards=2).start()
    one.put("raise", key="a")
    one.wait(bool)
    for number in range(5):
        one.put(f"good {number}", key="b")
        one.wait(lambda seen, number=number: [f"good {number}"] in seen)
    assert aws.messages(one.failures) == []


def test_the_shards_of_the_keys_above_differ(aws: GapAws, mapped: Any) -> None:
    one = mapped(shards=2)
    answer = [
        one.kinesis.put_record(StreamName=one.stream, Data=b"x", PartitionKey=key)["ShardId"]
        for key in "ab"
    ]
    assert len(set(answer)) == 2


@against_stock
def test_at_timestamp_starts_there(aws: GapAws, mapped: Any) -> None:
    one = mapped(StartingPosition="AT_TIMESTAMP")
    one.put("before")
    time.sleep(0.1)
    one.options["StartingPositionTimestamp"] = time.time()
    time.sleep(0.1)
    one.put("after")
    one.start()
    assert one.wait(bool) == [["after"]]


def test_latest_starts_when_the_mapping_is_made(aws: GapAws, mapped: Any) -> None:
    one = mapped(StartingPosition="LATEST")
    one.put("before")
    one.start()
    one.put("after")
    assert one.wait(bool) == [["after"]]


def test_a_disabled_mapping_goes_on_where_it_was(aws: GapAws, mapped: Any) -> None:
    one, functions = mapped().start(), aws.client("lambda")
    one.put("1")
    one.wait(lambda seen: seen == [["1"]])
    stopped = functions.update_event_source_mapping(UUID=one.uuid, Enabled=False)
    assert stopped["State"] in ("Disabling", "Disabled")
    aws.wait_for(
        lambda: functions.get_event_source_mapping(UUID=one.uuid)["State"] == "Disabled" or None
    )
    time.sleep(0.3)
    one.put("2", "3")
    time.sleep(0.3)
    assert one.batches() == [["1"]]
    functions.update_event_source_mapping(UUID=one.uuid, Enabled=True)
    assert one.wait(lambda seen: len(seen) > 1) == [["1"], ["2", "3"]]


def test_a_deleted_mapping_reads_no_more(aws: GapAws, mapped: Any) -> None:
    one = mapped().start()
    one.put("1")
    one.wait(bool)
    aws.client("lambda").delete_event_source_mapping(UUID=one.uuid)
    one.uuid = ""
    time.sleep(0.3)
    one.put("2")
    time.sleep(0.5)
    assert one.batches() == [["1"]]


def test_the_event_is_kinesis(aws: GapAws, mapped: Any) -> None:
    one = mapped().start()
    began = time.time()
    (sequence,) = one.put("hello")
    put = time.time()
    one.wait(bool)
    (record,) = one.records()
    assert (record["sequence"], record["key"]) == (sequence, "k")
    assert isinstance(record["arrival"], float)
    assert began - 1 < record["arrival"] < put + 1
    assert record["event"] == {
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/test",
        "awsRegion": "us-east-1",
        "eventSourceARN": one.arn,
    }


@against_stock
def test_the_defaults_are_those_of_streams(aws: GapAws, mapped: Any) -> None:
    one = mapped().start()
    stored = aws.client("lambda").get_event_source_mapping(UUID=one.uuid)
    expected = {
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "MaximumRetryAttempts": -1,
        "MaximumRecordAgeInSeconds": -1,
        "BisectBatchOnFunctionError": False,
    }
    assert {name: stored.get(name) for name in expected} == expected


@against_stock
@pytest.mark.parametrize(
    "wrong",
    [{"MaximumRecordAgeInSeconds": 30}, {"ParallelizationFactor": 10, "BatchSize": 10_000}],
)
def test_settings_out_of_range_are_refused(aws: GapAws, mapped: Any, wrong: dict[str, int]) -> None:
    if "BatchSize" in wrong:
        mapped(**wrong).start()
        wrong = {"MaximumRecordAgeInSeconds": 604_801}
    with pytest.raises(ClientError, match="InvalidParameterValueException"):
        mapped(**wrong).start()
