"""From a workload to what AWS would ask for it, line by line."""

import math
from collections.abc import Iterator

import msgspec

from fleet_sim.measure.cost.prices import MONTH_H, Prices
from fleet_sim.measure.cost.workload import (
    GB,
    IOT_UNIT,
    KB,
    PUT_UNIT,
    RULE_BYTES,
    TOPIC_BYTES,
    Workload,
)

UPDATE_MESSAGES = 14
"""MQTT messages of one update: notification, document, status reports and their answers."""
UPDATE_WRITES = 10
"""Write request units of one update in the campaign's tables."""
UPDATE_QUEUE_REQUESTS = 6
CLAIM_WRITES = 2
"""Write request units by archived object: fleet health takes it, and is done with it."""
HEALTH_METRIC_CALLS = 3
"""PutMetricData by invocation of fleet health: one a namespace."""
QUEUE_REQUESTS = 1.2
"""By message through a queue: sent; received and deleted in tens."""
LEFT_OUT = (
    "the free tier, taxes, discounts and support",
    "KMS requests for the stream's key, point-in-time recovery, dashboards, the website, trends",
    "what the API answers, as data out",
    "cold starts and retries: the workload is what arrives",
)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One position of a bill."""

    service: str
    item: str
    figure: str
    """Name in the price table."""
    quantity: float
    unit: str
    usd: float
    usd_per_month: float
    """Of the same over 730 hours."""


class Bill(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a workload costs; `lines` add up to `usd`."""

    region: str
    dated: str
    """ISO date of the price table."""
    hours: float
    usd: float
    usd_per_month: float
    """Of the same workload over 730 hours; its updates come once, however long it is."""
    usd_per_vehicle_month: float
    lines: list[Line]
    by_service: dict[str, float]
    """USD, dearest first."""
    unchecked: list[str]
    """Figures that matter here and were not compared with a quotation of their source."""


def bill(work: Workload, prices: Prices) -> Bill:
    """Of all of `work.hours`."""
    lines = _lines(work, prices)
    usd = sum(line.usd for line in lines)
    monthly = sum(line.usd_per_month for line in lines)
    services: dict[str, float] = {}
    for line in lines:
        services[line.service] = services.get(line.service, 0.0) + line.usd
    return Bill(
        region=prices.region,
        dated=prices.dated.isoformat(),
        hours=work.hours,
        usd=usd,
        usd_per_month=monthly,
        usd_per_vehicle_month=monthly / work.vehicles,
        lines=lines,
        by_service=dict(sorted(services.items(), key=lambda entry: -entry[1])),
        unchecked=list(
            dict.fromkeys(line.figure for line in lines if not prices.figures[line.figure].seen)
        ),
    )


def _lines(work: Workload, prices: Prices) -> list[Line]:
    month = msgspec.structs.replace(work, hours=MONTH_H)  # with its updates, once
    lines = []
    for (service, item, figure, quantity), (*_, monthly) in zip(
        _quantities(work), _quantities(month), strict=True
    ):
        if quantity > 0:
            lines.append(
                Line(
                    service,
                    item,
                    figure,
                    quantity,
                    prices.figures[figure].unit,
                    prices.usd(figure, quantity, work.hours),
                    prices.usd(figure, monthly, MONTH_H),
                )
            )
    return lines


def _quantities(work: Workload) -> Iterator[tuple[str, str, str, float]]:
    """Service, item, figure and units, in the order in which a message passes them."""
    seconds, months = work.hours * 3600, work.hours / MONTH_H
    units = work.messages * work.metered(IOT_UNIT, TOPIC_BYTES)
    connects = work.vehicles + work.connects_per_s * seconds
    published = 0.0 if work.basic_ingest else units
    yield "IoT Core", "connectivity", "iot_connection", work.vehicles * work.hours * 60
    yield (
        "IoT Core",
        "messages",
        "iot_message",
        published + connects + work.updates * UPDATE_MESSAGES,
    )
    # Presence: each connection and its end is an event that goes through a rule to a queue.
    events = 2 * connects if work.health else 0.0
    acted = work.messages * work.metered(IOT_UNIT, RULE_BYTES)
    yield "IoT Core", "rules", "iot_rule", units + events
    yield "IoT Core", "actions", "iot_action", acted + events
    if work.stream == "provisioned":
        yield "Kinesis", "shards", "kinesis_shard", work.shards * work.hours
        puts = work.messages * work.metered(PUT_UNIT, RULE_BYTES)
        yield "Kinesis", "records", "kinesis_put", puts
    else:
        gigabytes = work.messages * work.metered(KB, RULE_BYTES) * KB / GB
        yield "Kinesis", "stream", "kinesis_stream", work.hours
        yield "Kinesis", "data in", "kinesis_in", gigabytes
        yield "Kinesis", "data out", "kinesis_out", gigabytes
    invocations = work.invocations_per_s * seconds
    requests = work.api_per_s * seconds
    gb_s = invocations * work.invocation_ms / 1e3 * work.memory_mb / 1024
    gb_s += requests * work.api_ms / 1e3 * 0.5
    objects = invocations if work.health else 0.0
    gathered = work.health_invocations_per_s * seconds
    gb_s += objects * work.health_ms_per_object / 1e3 * 0.5
    yield "Lambda", "requests", "lambda_request", invocations + requests + gathered
    yield "Lambda", "duration", f"lambda_{work.architecture}", gb_s
    yield "DynamoDB", "vehicles", "dynamodb_write", work.vehicle_writes_per_s * seconds
    yield "DynamoDB", "spots", "dynamodb_write", work.spot_writes_per_s * seconds
    yield "DynamoDB", "counters", "dynamodb_write", work.counter_writes_per_s * seconds
    yield "DynamoDB", "fleet health", "dynamodb_write", objects * CLAIM_WRITES + events
    yield "DynamoDB", "campaigns", "dynamodb_write", work.updates * UPDATE_WRITES
    # Eventually consistent: half a unit by 4 KB begun.
    reads = requests * 0.5 * math.ceil(work.vehicle_bytes / (4 * KB))
    yield "DynamoDB", "API reads", "dynamodb_read", reads
    stored = work.vehicles * work.vehicle_bytes / GB * months
    yield "DynamoDB", "storage", "dynamodb_storage", stored
    yield "S3", "archive objects", "s3_put", invocations
    # What is written stays for `archive_days`, whenever it is paid.
    kept_months = work.archive_days * 24 / MONTH_H
    yield "S3", "archive", "s3_storage", work.messages * work.archive_bytes / GB * kept_months
    yield "S3", "archive reads", "s3_get", objects
    yield "S3", "firmware requests", "s3_get", work.updates
    yield "S3", "firmware downloads", "transfer_out", work.updates * work.firmware_bytes / GB
    yield "API Gateway", "requests", "http_api", requests
    logged = (invocations + requests + gathered) * work.log_bytes / GB
    yield "CloudWatch", "logs", "logs_in", logged
    yield "CloudWatch", "logs kept", "logs_storage", logged * work.log_days * 24 / MONTH_H
    yield "CloudWatch", "metrics", "metric", work.metrics * months
    yield "CloudWatch", "metric calls", "metric_call", gathered * HEALTH_METRIC_CALLS
    yield "CloudWatch", "alarms", "alarm", work.alarms * months
    queued = (objects + events) * QUEUE_REQUESTS + work.updates * UPDATE_QUEUE_REQUESTS
    yield "SQS", "requests", "sqs", queued
    yield "IoT Jobs", "remote actions", "iot_job", work.updates
