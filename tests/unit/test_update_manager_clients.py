"""What the campaign service reads of the fleet, and what it says to others, by AWS's clients."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from campaign_fakes import FIRMWARE
from moto import mock_aws

from fleet_sim.contract.api import VehicleView
from fleet_sim.contract.campaign_records import WaveCounts
from fleet_sim.contract.campaigns import CampaignRequest, plan_of
from update_manager import clients
from update_manager.logic import Campaign
from update_manager.planning import Vehicle

HEARD = {"seq": 1, "applied": "1", "ts": 1, "lat": 1.0, "lon": 1.0, "speed_mps": 0.0}
HEARD |= {"heading_deg": 0.0, "mode": "parked", "run": "r", "arrival_ms": 1.0}
HEARD |= {"processed_ms": 1.0, "stored_ms": 1.0}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "VEHICLES_TABLE": "vehicles",
        "FLAGS_TABLE": "flags",
    }.items():
        monkeypatch.setenv(name, value)
    clients.client.cache_clear()
    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        for table in ("vehicles", "flags"):
            dynamodb.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "vin", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "vin", "KeyType": "HASH"}],
            )
        for vin, fw, soc in (("A", "1.0.0", 0.5), ("B", "0.9.0", 0.2)):
            view = msgspec.convert({**HEARD, "vin": vin, "fw": fw, "soc": soc}, VehicleView)
            item: Any = {"vin": {"S": vin}, "state": {"S": msgspec.json.encode(view).decode()}}
            dynamodb.put_item(TableName="vehicles", Item=item)
        dynamodb.put_item(TableName="vehicles", Item={"vin": {"S": "#counts"}})
        dynamodb.put_item(TableName="flags", Item={"vin": {"S": "B"}})
        yield dynamodb
    clients.client.cache_clear()


A = Vehicle("A", version="1.0.0", soc=0.5)
B = Vehicle("B", version="0.9.0", soc=0.2, flagged=True)


def test_the_fleet_is_what_telemetry_and_fleet_health_know(aws: Any) -> None:
    assert clients.fleet(None) == {"A": A, "B": B}
    assert clients.fleet(["B", "unheard"]) == {"B": B}
    assert clients.fleet([f"X{i}" for i in range(250)] + ["A"]) == {"A": A}


def test_without_fleet_health_nobody_is_flagged(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGS_TABLE", "")
    assert clients.fleet(None) == {"A": A, "B": B._replace(flagged=False)}


def test_operators_are_told_and_the_metrics_are_the_contracts(
    aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = boto3.client("sns").create_topic(Name="operators")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    boto3.client("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:q"
    )
    monkeypatch.setenv("OPERATORS_TOPIC", topic)
    request = msgspec.convert({"firmware": FIRMWARE}, CampaignRequest)
    clients.tell(Campaign("c", request, plan_of(request), "me", 0), "gate abort", "wave 0: …")
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(json.loads(message["Body"])["Message"])
    assert (told["campaign"], told["action"], told["version"]) == ("c", "gate abort", "1.1.0")
    clients.measure([WaveCounts(0, 5, {"succeeded": 3, "failed": 1, "in_progress": 1}, 0)])
    metrics = boto3.client("cloudwatch").list_metrics(Namespace="OTAUpdates")["Metrics"]
    assert {metric["MetricName"] for metric in metrics} == {"InProgress", "SuccessRate"}
