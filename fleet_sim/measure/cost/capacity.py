"""Which of AWS's default quotas a workload would meet. All of them are by account and region."""

import math

import msgspec

from fleet_sim.measure.cost.workload import IOT_UNIT, TOPIC_BYTES, Workload

CONNECT_WITHIN_S = 600.0
"""In which a whole fleet should be able to come back after an outage."""
LARGE = ("us-east-1", "us-west-2", "eu-west-1")
"""Regions in which Kinesis gives an account more."""
PARALLELIZATION = 10
"""Most batches of one shard at once."""

_IOT = "docs.aws.amazon.com/general/latest/gr/iot-core.html"
_KINESIS = "docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html"
_LAMBDA = "docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"
_DYNAMODB = "docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"
_GATEWAY = "docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"


class Need(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quota, what the workload needs of it, and what an account has to begin with."""

    quota: str
    """As AWS names it."""
    needed: float
    default: float
    hit: bool
    """More is needed than there is."""
    adjustable: bool
    note: str
    source: str


def needs(work: Workload, region: str) -> list[Need]:
    """Every quota that a fleet can meet, the most exhausted first."""
    shards = work.shards
    busy = work.invocations_per_s * work.invocation_ms / 1e3
    back_s = work.vehicles / 500
    per_vehicle = work.messages_per_s / work.vehicles
    published = work.messages_per_s * work.metered(IOT_UNIT, TOPIC_BYTES)
    found = [
        _need("IoT Core: concurrent client connections per account", work.vehicles, 500_000, _IOT),
        _need(
            "IoT Core: connect requests per second per account",
            work.vehicles / CONNECT_WITHIN_S + work.connects_per_s,
            500,
            _IOT,
            f"when all come back within {CONNECT_WITHIN_S / 60:g} min; at the default they take "
            f"{back_s / 60:,.1f} min",
        ),
        _need(
            "IoT Core: inbound publish requests per second per account",
            work.messages_per_s,
            20_000,
            _IOT,
            "2,000 in the smaller regions",
        ),
        _need(
            "IoT Core: rule evaluations per second per account", work.messages_per_s, 20_000, _IOT
        ),
        _need(
            "IoT Core: publish requests per second per connection",
            per_vehicle,
            100,
            _IOT,
            adjustable=False,
        ),
        _need(
            "IoT Core: throughput per second per connection (KB)",
            per_vehicle * published / max(work.messages_per_s, 1e-12) * 5,
            512,
            _IOT,
            "by metered units: at most",
            adjustable=False,
        ),
        _need(
            "Lambda: concurrent executions",
            max(busy, 1.0),
            1_000,
            _LAMBDA,
            f"{shards} shards run {_factor(busy, shards)} at once each; ParallelizationFactor is 1 "
            "in infra/pipeline.yaml",
        ),
        _need(
            "Lambda: batches of a shard at once",
            busy / shards,
            PARALLELIZATION,
            _LAMBDA,
            "of the highest ParallelizationFactor; more shards beyond",
            adjustable=False,
        ),
        _need(
            "DynamoDB: table-level write request units (vehicles)",
            work.vehicle_writes_per_s,
            40_000,
            _DYNAMODB,
            "a new table begins with 4,000",
        ),
        _need(
            "DynamoDB: table-level write request units (spots)",
            work.spot_writes_per_s / 2,
            40_000,
            _DYNAMODB,
            "a new table begins with 4,000",
        ),
        _need("API Gateway: requests per second per account", work.api_per_s, 10_000, _GATEWAY),
    ]
    large = region in LARGE
    if work.stream == "provisioned":
        note = "" if large else "1,000 or 6,000, by region"
        default = 20_000 if large else 1_000
        found.append(_need("Kinesis: shards per account", shards, default, _KINESIS, note))
    else:
        written = work.messages_per_s * work.record_bytes / 1024**2
        quota = "Kinesis: on-demand write throughput (MB/s)"
        note = "a new stream begins with 4"
        found.append(_need(quota, written, 10_000 if large else 200, _KINESIS, note))
    return sorted(found, key=lambda need: -need.needed / need.default)


def _factor(busy: float, shards: int) -> int:
    return max(1, math.ceil(busy / shards))


def _need(
    quota: str,
    needed: float,
    default: float,
    source: str,
    note: str = "",
    *,
    adjustable: bool = True,
) -> Need:
    return Need(quota, needed, default, needed > default, adjustable, note, source)
