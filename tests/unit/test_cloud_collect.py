"""Reading back: archive objects, failure messages, paging; the cloud is a few lines of fake."""

import base64
import io
import json
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from lambda_fakes import RUN, VIN, incoming, record

from fleet_sim.cloud import collect
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.contract import BBox, Spot, SpotPage
from telemetry_processor import logic

OUTPUTS = StackOutputs(
    **{name: name for name in StackOutputs.__struct_fields__} | {"api_url": "http://127.0.0.1:1"}
)


class FakeS3:
    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.exceptions = SimpleNamespace(NoSuchKey=KeyError)

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        return {"Body": io.BytesIO(self.objects[Key])}

    def get_paginator(self, _: str) -> Any:
        def paginate(Bucket: str, Prefix: str, StartAfter: str) -> Any:  # noqa: N803
            keys = sorted(k for k in self.objects if k.startswith(Prefix) and k > StartAfter)
            for start in range(0, len(keys), 2):
                yield {"Contents": [{"Key": key} for key in keys[start : start + 2]]}

        return SimpleNamespace(paginate=paginate)


def target(**clients: Any) -> Any:
    return SimpleNamespace(client=lambda name: clients[name])


def archived(*sequences: int, run: str = RUN) -> dict[str, bytes]:
    records = [incoming(record(n, run=run), n, 1_780_279_200_000.0) for n in sequences]
    return {logic.archive_key(records): logic.archive_body(records, 7.0)}


class TestArchive:
    def test_rows_of_the_run(self) -> None:
        s3 = FakeS3(archived(1, 2) | archived(3, run=RUN + "-other") | archived(4))
        rows = list(collect.archive(target(s3=s3), OUTPUTS, RUN))
        assert rows == [
            (VIN, n, "shardId-000000000000", n, 1_780_279_200_000.0, 7.0) for n in (1, 2, 4)
        ]

    def test_more_objects_than_are_fetched_ahead_come_in_order(self) -> None:
        objects: dict[str, bytes] = {}
        for number in range(100, 160):
            objects |= archived(number)
        rows = list(collect.archive(target(s3=FakeS3(objects)), OUTPUTS, RUN))
        assert [row.seq for row in rows] == list(range(100, 160))

    def test_lines_that_are_not_telemetry_are_problems(self) -> None:
        spoof = msgspec.structs.replace(record(2), thing="1FSMZ91C0T0000002")
        records = [incoming(b"\xff", 1), incoming(spoof, 2), incoming(record(3), 3)]
        key = logic.archive_key(records)
        objects = {key: logic.archive_body(records, 1.0), "telemetry/x": b"not gzip"}
        problems: list[str] = []
        rows = list(collect.archive(target(s3=FakeS3(objects)), OUTPUTS, RUN, problems))
        assert [row.seq for row in rows] == [3]
        assert [problem.split(": ")[0] for problem in problems] == [
            f"{key}:1",
            f"{key}:2",
            "telemetry/x",
        ]

    @pytest.mark.parametrize(
        ("since_ms", "found"),
        [(None, 1), (1_780_279_200_000.0, 1), (1_780_279_200_000.0 + 2 * 3_600_000, 0)],
    )
    def test_earlier_hours_are_not_read(self, since_ms: float | None, found: int) -> None:
        s3 = FakeS3(archived(1))
        rows = list(collect.archive(target(s3=s3), OUTPUTS, RUN, since_ms=since_ms))
        assert len(rows) == found


class TestFailures:
    def read(self, *bodies: str) -> list[collect.Failure]:
        return collect.failures(self.queue(*bodies), OUTPUTS)

    def queue(self, *bodies: str) -> Any:
        """A target whose failure queue holds these messages, sent a millisecond apart from 1 s."""
        queue = [
            {
                "MessageId": str(i),
                "ReceiptHandle": f"r{i}",
                "Body": body,
                "Attributes": {"SentTimestamp": f"{1_000 + i}"},
            }
            for i, body in enumerate(bodies)
        ]
        self.shown_again: list[str] = []
        hidden: list[Any] = []

        def receive(**_: Any) -> dict[str, Any]:
            taken, queue[:] = queue[:2], queue[2:]
            hidden.extend(taken)
            return {"Messages": taken} if taken else {}

        def show(ReceiptHandle: str, VisibilityTimeout: int, **_: Any) -> None:  # noqa: N803
            assert VisibilityTimeout == 0
            self.shown_again.append(ReceiptHandle)

        return target(sqs=SimpleNamespace(receive_message=receive, change_message_visibility=show))

    def test_those_of_a_run_are_told_by_their_record_or_their_time(self) -> None:
        def refused(data: bytes, reason: str) -> str:
            refusal = logic.refusal(logic.Refused(incoming(data, 5), reason))
            return msgspec.json.encode(refusal).decode()

        bodies = (
            refused(b'{"run": "mine", "soc": 7}', "soc of mine"),
            refused(b'{"run": "other", "soc": 7}', "soc of other"),
            refused(b"\xff", "not JSON, before"),
            refused(b"\xff", "not JSON"),
        )
        found = collect.failures_of(self.queue(*bodies), OUTPUTS, "mine", since_ms=1_003)
        assert found == [("processor", "soc of mine"), ("processor", "not JSON")]

    def test_the_three_senders_are_told_apart(self) -> None:
        refused = logic.refusal(logic.Refused(incoming(b"\xffx", 5), "not telemetry"))
        by_rule = {
            "ruleName": "r",
            "topic": "fleet/V/telemetry",
            "clientId": "V",
            "base64OriginalPayload": base64.b64encode(b"sent").decode(),
            "failures": [{"failedAction": "KinesisAction", "errorMessage": "throttled"}],
        }
        by_mapping = {
            "requestContext": {"condition": "RetryAttemptsExhausted"},
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000001",
                "startSequenceNumber": "42",
                "batchSize": 3,
            },
        }
        found = self.read(
            msgspec.json.encode(refused).decode(), json.dumps(by_rule), json.dumps(by_mapping), "?"
        )
        assert [(f.source, f.reason, f.record) for f in found] == [
            ("processor", "not telemetry", b"\xffx"),
            ("rule", "KinesisAction: throttled", b"sent"),
            ("mapping", "RetryAttemptsExhausted: 3 from shardId-000000000001 42", b""),
            ("unknown", "not JSON", b""),
        ]

    def test_every_message_is_shown_again(self) -> None:
        self.read("1", "[]", "{}")
        assert self.shown_again == ["r0", "r1", "r2"]


class TestSpots:
    def test_pages_are_followed_to_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def get(url: str) -> bytes:
            asked.append(url)
            spot = Spot(f"s{len(asked)}", 0, 0, "x", "free", 0.1, 0.8, 1, 1)
            return msgspec.json.encode(SpotPage([spot], "T" if len(asked) < 3 else None))

        monkeypatch.setattr(collect, "_get", get)
        spots = collect.spots(target(), OUTPUTS, BBox(-1, -2, 3, 4))
        assert [spot.id for spot in spots] == ["s1", "s2", "s3"]
        assert "bbox=-1%2C-2%2C3%2C4" in asked[0]
        assert ["next=T" in url for url in asked] == [False, True, True]

    def test_an_error_names_the_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(url: str, timeout: float) -> None:
            raise urllib.error.HTTPError(url, 500, "x", None, io.BytesIO(b"boom"))  # type: ignore[arg-type]

        monkeypatch.setattr(urllib.request, "urlopen", refuse)
        with pytest.raises(collect.CollectError, match=r"GET http://127.0.0.1:1/spots.*500: boom"):
            collect.spots(target(), OUTPUTS, BBox(0, 0, 1, 1))


@pytest.mark.parametrize(("text", "count"), [("", 0), ("7", 1), ("1-118,120-121,130", 121)])
def test_applied_numbers_are_counted(text: str, count: int) -> None:
    assert collect._count(text) == count
