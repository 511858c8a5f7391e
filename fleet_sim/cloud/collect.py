"""What the cloud recorded of a run: archive, vehicle states, spots, failures.

Everything is read as a user of AWS would read it: objects from S3, items from DynamoDB, spots from
the public API, messages from the queue.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.target import Target
from fleet_sim.contract import (
    ArchivedRecord,
    BBox,
    FleetSummary,
    Spot,
    SpotPage,
    SpotRegistry,
    VehicleView,
)
from fleet_sim.contract.failures import RefusedRecord
from fleet_sim.contract.registry import REGISTRY_KEY

_GETS = 8
"""Objects fetched at once, and twice as many ahead of the reader."""
_QUEUE_HOLD_S = 120
"""How long messages of the failure queue are hidden from others while they are read."""


class CollectError(RuntimeError):
    """The cloud's record could not be read; the message names what and why."""


class ArchivedRow(NamedTuple):
    """One line of the archive that is telemetry of the run."""

    vin: str
    seq: int
    shard: str
    sequence: int
    """Kinesis sequence number; with the shard it names the record."""
    arrival_ms: float
    processed_ms: float


class Failure(NamedTuple):
    """One message of the failure queue."""

    source: str
    """`processor`: it refused the record. `rule`: the stream did not take it. `mapping`: the
    processor failed on the batch at every try. `unknown`: none of ours."""
    reason: str
    record: bytes
    """What the vehicle published, as far as the message holds it; empty for `mapping`."""
    message: str
    """The whole message."""
    sent_ms: float = 0.0
    """When it was put into the queue, ms since the epoch by SQS's clock."""


# --- archive --------------------------------------------------------------------------------------


class _Name(msgspec.Struct, gc=False):
    """Of a record, only what names it: the processor has validated the rest, or refused it."""

    run: str
    vin: str
    seq: int
    thing: str


class _RunOf(msgspec.Struct, gc=False):
    run: str


_line = msgspec.json.Decoder(ArchivedRecord)
_name = msgspec.json.Decoder(_Name)
_view = msgspec.json.Decoder(VehicleView)


def archive(
    target: Target,
    outputs: StackOutputs,
    run: str,
    problems: list[str] | None = None,
    *,
    since_ms: float | None = None,
) -> Iterator[ArchivedRow]:
    """Rows of the run, object by object. A retry may have archived a record twice: it comes twice.

    Lines that are not telemetry, of whatever run, are appended to `problems`, one text each.
    `since_ms` (ms since the epoch) spares reading what arrived in earlier hours.
    """
    problems = problems if problems is not None else []
    s3 = target.client("s3")

    def fetch(key: str) -> bytes:
        return s3.get_object(Bucket=outputs.data_bucket, Key=key)["Body"].read()

    with ThreadPoolExecutor(_GETS, thread_name_prefix="archive") as pool:
        ahead: deque[tuple[str, Future[bytes]]] = deque()
        for key in _archive_keys(target, outputs, since_ms):
            ahead.append((key, pool.submit(fetch, key)))
            if len(ahead) > 2 * _GETS:
                key, future = ahead.popleft()
                yield from _rows(key, future.result(), run, problems)
        for key, future in ahead:
            yield from _rows(key, future.result(), run, problems)


def _archive_keys(target: Target, outputs: StackOutputs, since_ms: float | None) -> Iterator[str]:
    """Keys in order of arrival; the partition's name tells the hour."""
    start = ""
    if since_ms is not None:
        # The hour before it too: an object is filed by the arrival of its first record.
        then = dt.datetime.fromtimestamp(since_ms / 1e3, dt.UTC) - dt.timedelta(hours=1)
        start = f"telemetry/dt={then:%Y-%m-%d}/hour={then:%H}/"
    pages = target.client("s3").get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=outputs.data_bucket, Prefix="telemetry/", StartAfter=start):
        yield from (item["Key"] for item in page.get("Contents", ()))


def _rows(key: str, body: bytes, run: str, problems: list[str]) -> Iterator[ArchivedRow]:
    try:
        lines = gzip.decompress(body).splitlines()
    except (OSError, EOFError) as error:
        problems.append(f"{key}: not gzip: {error}")
        return
    for number, text in enumerate(lines, 1):
        try:
            line = _line.decode(text)
            name = _name.decode(line.record)
        except msgspec.MsgspecError as error:
            problems.append(f"{key}:{number}: not telemetry: {error}")
            continue
        if name.thing != name.vin:
            problems.append(f"{key}:{number}: vin {name.vin} was published by {name.thing}")
        elif name.run == run:
            yield ArchivedRow(
                name.vin,
                name.seq,
                line.shard,
                int(line.sequence),
                line.arrival_ms,
                line.processed_ms,
            )


# --- tables ---------------------------------------------------------------------------------------


def vehicles(target: Target, outputs: StackOutputs, run: str) -> dict[str, VehicleView]:
    """States that this run's messages made, by VIN."""
    views = {}
    pages = target.client("dynamodb").get_paginator("scan")
    for page in pages.paginate(
        TableName=outputs.vehicles_table,
        ProjectionExpression="#s",
        ExpressionAttributeNames={"#s": "state"},
        ConsistentRead=True,
    ):
        for item in page["Items"]:
            view = _view.decode(item["state"]["S"])
            if view.run == run:
                views[view.vin] = view
    return views


def applied_count(target: Target, outputs: StackOutputs, run: str) -> int:
    """Messages of the run that are applied so far: how far the pipeline has come."""
    return sum(_count(view.applied) for view in vehicles(target, outputs, run).values())


def _count(applied: str) -> int:
    """Numbers in `1-118,120`."""
    total = 0
    for part in applied.split(",") if applied else ():
        low, _, high = part.partition("-")
        total += int(high or low) - int(low) + 1
    return total


# --- API ------------------------------------------------------------------------------------------


def spots(target: Target, outputs: StackOutputs, box: BBox | None = None) -> list[Spot]:
    """All spots as the API serves them; without a box, those around the deployed registry."""
    if box is None:
        box = _registry_box(target, outputs)
        if box is None:
            return []
    found: list[Spot] = []
    query = {
        "bbox": f"{box.west!r},{box.south!r},{box.east!r},{box.north!r}",
        "limit": "1000",
    }
    while True:
        url = f"{outputs.api_url}/spots?{urllib.parse.urlencode(query)}"
        page = msgspec.json.decode(_get(url), type=SpotPage)
        found += page.spots
        if page.next is None:
            return found
        query["next"] = page.next


def summary(outputs: StackOutputs) -> FleetSummary:
    """The fleet as the API sums it up. Raises `CollectError`."""
    return msgspec.json.decode(_get(f"{outputs.api_url}/fleet/summary"), type=FleetSummary)


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        detail = error.read(500).decode(errors="replace")
        raise CollectError(f"GET {url}: {error.code}: {detail}") from error
    except (OSError, http.client.HTTPException) as error:
        raise CollectError(f"GET {url}: {error}") from error


def _registry_box(target: Target, outputs: StackOutputs) -> BBox | None:
    s3 = target.client("s3")
    try:
        body = s3.get_object(Bucket=outputs.data_bucket, Key=REGISTRY_KEY)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    registry = msgspec.json.decode(gzip.decompress(body), type=SpotRegistry)
    if not registry.spots:
        return None
    lats = [spot.lat for spot in registry.spots]
    lons = [spot.lon for spot in registry.spots]
    return BBox(min(lons), min(lats), max(lons), max(lats))


# --- failures -------------------------------------------------------------------------------------


def failures_of(
    target: Target, outputs: StackOutputs, run: str, since_ms: float
) -> list[tuple[str, str]]:
    """`(source, reason)` of each message of the failure queue that is about the run: by the record
    it holds or, where it holds none that can be read, because it came after `since_ms`."""
    found = []
    for failure in failures(target, outputs):
        try:
            ours = msgspec.json.decode(failure.record, type=_RunOf).run == run
        except msgspec.MsgspecError:
            ours = failure.sent_ms >= since_ms
        if ours:
            found.append((failure.source, failure.reason))
    return found


def failures(target: Target, outputs: StackOutputs) -> list[Failure]:
    """Messages of the failure queue. They stay in it: they are hidden while this reads them, and
    shown again at the end (or after two minutes, should this process die).
    """
    sqs = target.client("sqs")
    url = outputs.failure_queue_url
    held: dict[str, tuple[str, Failure]] = {}
    try:
        # A short poll may miss messages on some of SQS's servers; a long one asks them all.
        while messages := sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=_QUEUE_HOLD_S,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages"):
            for message in messages:
                sent_ms = float(message["Attributes"]["SentTimestamp"])
                failure = _failure(message["Body"])._replace(sent_ms=sent_ms)
                held[message["MessageId"]] = message["ReceiptHandle"], failure
    finally:
        for receipt, _ in held.values():
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    return [failure for _, failure in held.values()]


def _failure(body: str) -> Failure:
    try:
        refused = msgspec.json.decode(body, type=RefusedRecord)
        return Failure("processor", refused.reason, base64.b64decode(refused.record), body)
    except (msgspec.MsgspecError, ValueError):
        pass  # one of the other two senders
    try:
        message = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return Failure("unknown", "not JSON", b"", body)
    if not isinstance(message, dict):
        return Failure("unknown", "not a JSON object", b"", body)
    # AWS IoT Core Developer Guide, "Error handling (error action)".
    if "base64OriginalPayload" in message:
        reasons = "; ".join(
            f"{item.get('failedAction')}: {item.get('errorMessage')}"
            for item in message.get("failures", ())
        )
        return Failure("rule", reasons, base64.b64decode(message["base64OriginalPayload"]), body)
    # AWS Lambda Developer Guide, "Retain discarded batch records" of a Kinesis source.
    if "KinesisBatchInfo" in message:
        condition = message.get("requestContext", {}).get("condition", "unknown")
        batch = message["KinesisBatchInfo"]
        where = f"{batch.get('shardId')} {batch.get('startSequenceNumber')}"
        return Failure("mapping", f"{condition}: {batch.get('batchSize')} from {where}", b"", body)
    return Failure("unknown", "not a message of ours", b"", body)
