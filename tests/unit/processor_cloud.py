"""The services of the telemetry processor for its tests: S3 and SQS by moto, a fake DynamoDB."""

import contextlib
import gzip
import importlib
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import msgspec
import pytest
from lambda_fakes import (
    VIN,
    FakeDynamoDb,
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
from fleet_sim.contract.failures import RefusedRecord
from fleet_sim.contract.registry import REGISTRY_KEY
from fleet_sim.contract.tables import SpotBelief
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


@contextlib.contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    with mock_aws():
        yield Cloud()
