"""Poison in bulk through the deployed processor: all good applied, each bad one reported."""

import base64
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from test_pipeline import Deployed, telemetry, until

from fleet_sim.cloud import collect
from fleet_sim.contract import RuleRecord

pytestmark = pytest.mark.scale

GOOD, BAD = 50_000, 10_000
VEHICLES = 500
RUN = "20260601T180000Z-bulk"
_AT_ONCE = 500
"""Records of a PutRecords request at most."""
KINDS = ("not JSON", "cut short", "too large", "another type", "another's", "the future")


def good(number: int) -> RuleRecord:
    """A vehicle's next message; each vehicle sends in order."""
    vehicle, seq = number % VEHICLES, number // VEHICLES + 1
    vin = f"1FSMZ91C0T1{vehicle:06d}"
    message = msgspec.structs.replace(telemetry(vin, seq), run=RUN)
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return RuleRecord(**fields, thing=vin)


def bad(number: int) -> bytes:
    """Each kind in turn, of a vehicle that is in good order."""
    kind = KINDS[number % len(KINDS)]
    record = msgspec.structs.replace(good(number), seq=10_000 + number)
    if kind == "not JSON":
        return b"\xff\x00 not JSON %d" % number
    text = msgspec.json.encode(record)
    if kind == "cut short":
        return text[: len(text) // 2]
    if kind == "too large":
        return msgspec.json.encode(msgspec.to_builtins(record) | {"fw": "x" * 9_000})
    if kind == "another type":
        return msgspec.json.encode(msgspec.to_builtins(record) | {"speed_mps": "fast"})
    if kind == "another's":
        return msgspec.json.encode(msgspec.structs.replace(record, thing="1FSMZ91C0T0000001"))
    ahead_ms = round(time.time() * 1e3) + 2 * 366 * 86_400_000
    return msgspec.json.encode(msgspec.structs.replace(record, ts=ahead_ms))


def mixed() -> Iterator[dict[str, Any]]:
    """Good and bad, and each tenth good one a second time."""
    every = GOOD // BAD
    for number in range(GOOD):
        record = good(number)
        entry = {"Data": msgspec.json.encode(record), "PartitionKey": record.vin}
        yield entry
        if number % 10 == 0:
            yield entry
        if number % every == 0:
            yield {"Data": bad(number // every), "PartitionKey": record.vin}


def refused(deployed: Deployed) -> Counter[str]:
    """Reasons of the reports in the queue, which are taken out of it."""
    target, outputs = deployed
    sqs, url = target.client("sqs"), outputs.failure_queue_url
    found: Counter[str] = Counter()
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            report = msgspec.json.decode(message["Body"])
            found[_kind(report["reason"], base64.b64decode(report["record"]))] += 1
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def _kind(reason: str, record: bytes) -> str:
    for part, kind in (
        ("bytes (allowed", "too large"),
        ("$.speed_mps", "another type"),
        ("published by thing", "another's"),
        ("after its arrival", "the future"),
    ):
        if part in reason:
            return kind
    return "not JSON" if record.startswith(b"\xff") else "cut short"


@pytest.mark.timeout(1_800)
def test_ten_thousand_bad_records_among_fifty_thousand(deployed: Deployed) -> None:
    target, outputs = deployed
    kinesis = target.client("kinesis")
    refused(deployed)
    entries = list(mixed())
    for start in range(0, len(entries), _AT_ONCE):
        answer = kinesis.put_records(
            StreamName=outputs.stream, Records=entries[start : start + _AT_ONCE]
        )
        assert answer["FailedRecordCount"] == 0
    count = until(
        lambda: collect.applied_count(*deployed, RUN), lambda n: n >= GOOD, timeout_s=1_200
    )
    assert count == GOOD
    views = collect.vehicles(*deployed, RUN)
    assert {view.applied for view in views.values()} == {f"1-{GOOD // VEHICLES}"}
    found: Counter[str] = Counter()
    end = time.monotonic() + 600
    while found.total() < BAD and time.monotonic() < end:
        found += refused(deployed)
    expected = Counter(KINDS[number % len(KINDS)] for number in range(BAD))
    assert found == expected
