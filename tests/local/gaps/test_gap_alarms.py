"""CloudWatch alarms fire, return to OK, and say so; Lambda's metrics count every invocation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gap_harness import GapAws, against_stock, unique


class Watched:
    """An alarm of one metric, and a queue that hears of its changes."""

    def __init__(self, aws: GapAws, **options: Any) -> None:
        self.aws, self.name, self.namespace = aws, unique("alarm"), unique("space")
        self._queue = aws.queue()
        self._told: list[str] = []
        topic = aws.client("sns").create_topic(Name=unique("topic"))["TopicArn"]
        arn = aws.client("sqs").get_queue_attributes(
            QueueUrl=self._queue, AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        one: dict[str, Any] = {"Namespace": self.namespace, "MetricName": "m",
                               "Statistic": "Maximum", "Period": 60}  # fmt: skip
        settings: dict[str, Any] = {
            "EvaluationPeriods": 1, "Threshold": 5, "TreatMissingData": "missing",
            "ComparisonOperator": "GreaterThanThreshold",
        }  # fmt: skip
        if "Metrics" not in options:
            settings |= one
        settings |= options
        aws.client("cloudwatch").put_metric_alarm(
            AlarmName=self.name, AlarmActions=[topic], OKActions=[topic],
            InsufficientDataActions=[topic], **settings,
        )  # fmt: skip

    def put(self, value: float, **datum: Any) -> None:
        self.put_all({"Value": value, **datum})

    def put_all(self, *data: dict[str, Any]) -> None:
        """In one call: no evaluation comes between them."""
        self.aws.client("cloudwatch").put_metric_data(
            Namespace=self.namespace, MetricData=[{"MetricName": "m", **datum} for datum in data]
        )

    def described(self) -> dict[str, Any]:
        answer = self.aws.client("cloudwatch").describe_alarms(AlarmNames=[self.name])
        (alarm,) = answer["MetricAlarms"]
        return dict(alarm)

    def told(self) -> str:
        """The next state that the topic tells."""
        while not self._told:
            self._told += self.aws.wait_for(lambda: self.aws.messages(self._queue) or None)
        return str(json.loads(json.loads(self._told.pop(0))["Message"])["NewStateValue"])

    def told_after(self, put: Callable[[], object]) -> str:
        """The next state but INSUFFICIENT_DATA. On a busy machine the minute of what `put` puts,
        which lasts a second here, may be over before anybody looks: then it is put again."""
        until = time.monotonic() + self.aws.patience_s
        while True:
            put()
            again = min(until, time.monotonic() + 3)
            while not self._told and time.monotonic() < again:
                self._told += self.aws.messages(self._queue)
                time.sleep(0.02)
            if self._told and (state := self.told()) != "INSUFFICIENT_DATA":
                return state
            assert time.monotonic() < until, "no state was told"


@against_stock
def test_an_alarm_fires_and_clears_by_itself(aws: GapAws) -> None:
    watched = Watched(aws)
    assert watched.told_after(lambda: watched.put(9)) == "ALARM"
    # Nothing is put any more: what breached leaves the evaluation range.
    assert watched.told() == "INSUFFICIENT_DATA"
    assert watched.told_after(lambda: watched.put(1)) == "OK"


@against_stock
def test_data_that_mend_it_clear_it(aws: GapAws) -> None:
    watched = Watched(aws, TreatMissingData="ignore")
    assert watched.told_after(lambda: watched.put(9)) == "ALARM"
    time.sleep(1.1)  # a minute of metrics
    assert watched.told_after(lambda: watched.put(1)) == "OK"


@against_stock
def test_missing_data_may_breach(aws: GapAws) -> None:
    watched = Watched(aws, TreatMissingData="breaching")
    assert watched.told() == "ALARM"
    assert "no datapoints were received" in watched.described()["StateReason"]


@against_stock
def test_only_the_metric_with_its_dimensions_counts(aws: GapAws) -> None:
    mine = [{"Name": "FunctionName", "Value": "mine"}]
    watched = Watched(aws, Dimensions=mine)

    def put() -> None:
        watched.put(9, Dimensions=[{"Name": "FunctionName", "Value": "other"}])
        watched.put(1, Dimensions=mine)

    assert watched.told_after(put) == "OK"


@against_stock
def test_datapoints_to_alarm(aws: GapAws) -> None:
    watched = Watched(aws, EvaluationPeriods=3, DatapointsToAlarm=2)

    def put(*values: tuple[float, float]) -> None:
        now = datetime.now(UTC)
        watched.put_all(
            *(
                {"Value": value, "Timestamp": now + timedelta(seconds=at_s)}
                for at_s, value in values
            )
        )

    assert watched.told_after(lambda: put((-3.2, 9), (-2.2, 1), (-1.2, 1))) == "OK"
    assert watched.told_after(lambda: put((0, 9), (1, 9))) == "ALARM"


def share(namespace: str) -> list[dict[str, Any]]:
    return [
        {"Id": "share", "Expression": "100 * SUM([a]) / (a + b)", "ReturnData": True},
        *(
            {
                "Id": name,
                "ReturnData": False,
                "MetricStat": {
                    "Metric": {"Namespace": namespace, "MetricName": name},
                    "Period": 60,
                    "Stat": "Average",
                },
            }
            for name in "ab"
        ),
    ]


@against_stock
def test_an_alarm_on_metric_maths(aws: GapAws) -> None:
    space = unique("space")
    watched = Watched(aws, Metrics=share(space), Threshold=80,
                      ComparisonOperator="LessThanThreshold")  # fmt: skip
    for online, lost in ((70, 30), (80, 20)):
        data = [{"MetricName": "a", "Value": online}, {"MetricName": "b", "Value": lost}]
        found = watched.told_after(
            lambda data=data: aws.client("cloudwatch").put_metric_data(
                Namespace=space, MetricData=data
            )
        )
        assert found == ("ALARM" if online < 80 else "OK")
        time.sleep(1.1)
    queries = watched.described()["Metrics"]
    assert [query["Id"] for query in queries] == ["share", "a", "b"]


def test_maths_that_are_not_understood_are_refused(gap_aws: GapAws) -> None:
    odd = share("x")
    odd[0]["Expression"] = "ANOMALY_DETECTION_BAND(a)"
    with pytest.raises(ClientError, match="not understood"):
        Watched(gap_aws, Metrics=odd)


FAILS = """
def handler(event, context):
    raise ValueError("on purpose")
"""


@against_stock
def test_the_errors_of_a_stream_reader_count(aws: GapAws) -> None:
    name, stream = aws.function(FAILS), aws.stream()
    aws.client("kinesis").put_record(StreamName=stream, Data=b"{}", PartitionKey="k")
    arn = aws.client("kinesis").describe_stream_summary(StreamName=stream)[
        "StreamDescriptionSummary"
    ]["StreamARN"]
    aws.client("lambda").create_event_source_mapping(
        EventSourceArn=arn, FunctionName=name, StartingPosition="TRIM_HORIZON",
        MaximumRetryAttempts=1,
    )  # fmt: skip

    def total(metric: str, stat: str) -> float | None:
        points = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda", MetricName=metric, Period=60, Statistics=[stat],
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=datetime.now(UTC) - timedelta(hours=1),
            EndTime=datetime.now(UTC) + timedelta(hours=1),
        )["Datapoints"]  # fmt: skip
        return sum(point[stat] for point in points) if points else None

    aws.wait_for(lambda: (total("Errors", "Sum") or 0) >= 2 or None)
    assert total("Errors", "Sum") == total("Invocations", "Sum") == 2
    age = total("IteratorAge", "Maximum")
    assert age is not None
    assert 0 <= age < 60_000


@against_stock
def test_a_direct_invocation_counts_once(aws: GapAws) -> None:
    name = aws.function(FAILS)
    for kind in ("RequestResponse", "Event"):
        aws.client("lambda").invoke(FunctionName=name, InvocationType=kind, Payload=b"{}")

    def errors() -> float | None:
        points = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda", MetricName="Errors", Period=60, Statistics=["Sum"],
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=datetime.now(UTC) - timedelta(hours=1),
            EndTime=datetime.now(UTC) + timedelta(hours=1),
        )["Datapoints"]  # fmt: skip
        found = sum(point["Sum"] for point in points)
        return found if found >= 2 else None

    assert aws.wait_for(errors) == 2


COUNTS = """
import boto3, os
sqs = boto3.client("sqs")
def handler(event, context):
    sqs.send_message(QueueUrl=os.environ["TO"], MessageBody=str(len(event["Records"])))
"""


@against_stock
def test_a_queue_is_read_in_batches_of_a_window(aws: GapAws) -> None:
    source, to = aws.queue(), aws.queue()
    name = aws.function(COUNTS, Environment={"Variables": {"TO": to}})
    arn = aws.client("sqs").get_queue_attributes(QueueUrl=source, AttributeNames=["QueueArn"])[
        "Attributes"
    ]["QueueArn"]
    for _ in range(3):
        for number in range(10):
            aws.client("sqs").send_message(QueueUrl=source, MessageBody=str(number))
    aws.client("lambda").create_event_source_mapping(
        EventSourceArn=arn, FunctionName=name, BatchSize=30, MaximumBatchingWindowInSeconds=20
    )
    assert aws.wait_for(lambda: aws.messages(to) or None) == ["30"]
