"""Lambda entry point: messages of two queues, or the clock's minute, in; failed messages out."""

from __future__ import annotations

import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config

from fleet_health.pipeline import Health, Outcome
from fleet_health.store import Claims, Flags, PresenceTable

logger = Logger()
_SLACK_MS = 5_000


def _health() -> Health:
    config = Config(
        connect_timeout=2,
        read_timeout=10,
        retries={"total_max_attempts": 3, "mode": "standard"},
        parameter_validation=False,
    )
    dynamodb = boto3.client("dynamodb", config=config)
    return Health(
        s3=boto3.client("s3", config=config),
        cloudwatch=boto3.client("cloudwatch", config=config),
        claims=Claims(dynamodb, os.environ["OBJECTS_TABLE"]),
        presences=PresenceTable(dynamodb, os.environ["PRESENCE_TABLE"]),
        flags=Flags(dynamodb, os.environ["FLAGS_TABLE"]),
        wanted=os.environ["CURRENT_FIRMWARE"],
        min_soc=float(os.environ["UPDATE_MIN_SOC"]),
        now_ms=lambda: int(time.time() * 1e3),
    )


_shared: Health | None = None


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    global _shared
    # The first invocation builds it, not the import: a test can set the environment first.
    _shared = _shared or _health()
    if "Records" not in event:
        logger.info("minute", extra=_shared.minute())
        return {}
    records = event["Records"]
    messages = {record["messageId"]: record["body"] for record in records}
    if records and records[0]["eventSourceARN"] == os.environ["PRESENCE_QUEUE_ARN"]:
        return _answer("presence", _shared.connected(messages))
    lease_ms = int(context.get_remaining_time_in_millis()) + _SLACK_MS
    return _answer("archive", _shared.archived(messages, lease_ms))


def _answer(what: str, outcome: Outcome) -> dict[str, Any]:
    reasons = sorted(set(outcome.failed.values()))
    said = {**outcome.log, "failed": len(outcome.failed), "reasons": reasons[:5]}
    (logger.warning if reasons else logger.info)(what, extra=said)
    return {"batchItemFailures": [{"itemIdentifier": key} for key in outcome.failed]}
