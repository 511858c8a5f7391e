"""The AWS clients behind a campaign, made once and from the environment."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable
from typing import Any

import boto3
import msgspec
from botocore.config import Config

from fleet_sim.contract.api import VehicleView
from fleet_sim.contract.campaign_records import (
    IN_PROGRESS_METRIC,
    METRICS_NAMESPACE,
    SUCCESS_RATE_METRIC,
    WaveCounts,
)
from update_manager import views
from update_manager.driver import Driver
from update_manager.jobs import Jobs
from update_manager.logic import Campaign
from update_manager.planning import Vehicle
from update_manager.store import Store

KEYS_A_READ = 100
"""Of a BatchGetItem at most."""


@functools.cache
def client(service: str) -> Any:
    config = Config(
        connect_timeout=2,
        read_timeout=10,
        max_pool_connections=16,
        # The Jobs service takes ten requests a second.
        retries={"total_max_attempts": 8, "mode": "adaptive" if service == "iot" else "standard"},
    )
    return boto3.client(service, config=config)  # type: ignore[call-overload]


@functools.cache
def store() -> Store:
    return Store(client("dynamodb"), os.environ["CAMPAIGNS_TABLE"])


@functools.cache
def driver() -> Driver:
    jobs = Jobs(
        client("iot"),
        arn_prefix=os.environ["IOT_ARN_PREFIX"],
        role_arn=os.environ["PRESIGN_ROLE_ARN"],
    )
    return Driver(store(), jobs, fleet=fleet, tell=tell, now_s=time.time)


def tell(campaign: Campaign, action: str, detail: str) -> None:
    """To the operators' topic."""
    client("sns").publish(
        TopicArn=os.environ["OPERATORS_TOPIC"],
        Subject=f"Campaign {campaign.id}: {action}"[:100],
        Message=msgspec.json.encode(
            {
                "campaign": campaign.id,
                "action": action,
                "detail": detail,
                "state": campaign.state,
                "version": campaign.request.firmware.version,
            }
        ).decode(),
    )


def measure(counts: list[WaveCounts]) -> None:
    """A campaign's samples of the two metrics."""
    data: list[dict[str, Any]] = [
        {"MetricName": IN_PROGRESS_METRIC, "Unit": "Count", "Value": views.in_progress(counts)}
    ]
    rate = views.success_rate(counts)
    if rate is not None:
        data.append({"MetricName": SUCCESS_RATE_METRIC, "Unit": "Percent", "Value": rate * 100.0})
    client("cloudwatch").put_metric_data(Namespace=METRICS_NAMESPACE, MetricData=data)


def fleet(things: Iterable[str] | None) -> dict[str, Vehicle]:
    """What telemetry and fleet health know of these vehicles, or of all."""
    vehicles_table, flags_table = os.environ["VEHICLES_TABLE"], os.environ.get("FLAGS_TABLE", "")
    flagged: set[str] = set()
    if things is None:
        items = list(_scan(vehicles_table, "#s", {"#s": "state"}))
        if flags_table:
            flagged = {item["vin"]["S"] for item in _scan(flags_table, "vin", None)}
    else:
        names = list(things)
        items = _read(vehicles_table, names)
        if flags_table:
            flagged = {item["vin"]["S"] for item in _read(flags_table, names)}
    seen = [
        msgspec.json.decode(item["state"]["S"], type=VehicleView)
        for item in items
        if "state" in item
    ]
    return {v.vin: Vehicle(v.vin, version=v.fw, soc=v.soc, flagged=v.vin in flagged) for v in seen}


def _scan(table: str, projection: str, names: dict[str, str] | None) -> Iterable[dict[str, Any]]:
    request: dict[str, Any] = {"TableName": table, "ProjectionExpression": projection}
    if names:
        request["ExpressionAttributeNames"] = names
    while True:
        answer = client("dynamodb").scan(**request)
        yield from answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _read(table: str, vins: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, len(vins), KEYS_A_READ):
        keys = [{"vin": {"S": vin}} for vin in vins[start : start + KEYS_A_READ]]
        pending: dict[str, Any] = {table: {"Keys": keys}}
        while pending:
            answer = client("dynamodb").batch_get_item(RequestItems=pending)
            found += answer["Responses"].get(table, ())
            pending = answer.get("UnprocessedKeys", {})
    return found
