"""What the Lambda tests share: records as Lambda gets them, and a DynamoDB of two calls."""

import base64
import re
from collections.abc import Callable
from typing import Any

import msgspec

from fleet_sim.contract import RuleRecord, SonarBurst
from fleet_sim.contract.tables import AttributeMap
from telemetry_processor.logic import Incoming

VIN = "1FSMZ91C0T0000001"
RUN = "20260601T170000Z-1a2b"
SHARD = "shardId-000000000000"


def record(seq: int = 1, vin: str = VIN, run: str = RUN, **fields: Any) -> RuleRecord:
    values: dict[str, Any] = {
        "ts": 1_780_000_000_000 + 1_000 * seq,
        "lat": 37.8,
        "lon": -122.27,
        "speed_mps": 10.0,
        "heading_deg": 90.0,
        "soc": 0.5,
        "mode": "driving",
        "odo_km": 12.0 + 0.01 * seq,
        "iot_ms": 1_780_000_000_000,
    }
    return RuleRecord(run=run, vin=vin, thing=vin, seq=seq, **(values | fields))


def incoming(data: bytes | RuleRecord, sequence: int, arrival_ms: float = 1.78e12) -> Incoming:
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    return Incoming(SHARD, str(sequence), arrival_ms, raw)


def kinesis_event(records: list[Incoming]) -> dict[str, Any]:
    """The event of an event source mapping (AWS Lambda Developer Guide, "Using Kinesis")."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": VIN,
                    "sequenceNumber": item.sequence,
                    "data": base64.b64encode(item.data).decode(),
                    "approximateArrivalTimestamp": item.arrival_ms / 1e3,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{item.shard}:{item.sequence}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/r",
                "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s",
            }
            for item in records
        ]
    }


SONAR_CAR = SonarBurst("right", 20, [170] * 20)
SONAR_NONE = SonarBurst("right", 20, [0, 0, 0, 480] * 5)

_INSERT = re.compile(r'INSERT INTO "(?P<table>[^"]+)" VALUE \{(?P<names>.*)\}')
_UPDATE = re.compile(
    r'UPDATE "(?P<table>[^"]+)" (?P<sets>(?:SET "\w+" = \? )+)'
    r'WHERE "(?P<key>\w+)" = \? AND "(?P<lock>\w+)" = \?'
)


class FakeDynamoDb:
    """The two calls of the processor, as DynamoDB documents them.

    The local tests run the same statements against a full implementation; moto has no PartiQL
    conditions. `before_write` is called before each batch: a test changes items there.
    """

    def __init__(self, **keys: str) -> None:
        self.tables: dict[str, dict[str, AttributeMap]] = {table: {} for table in keys}
        self._keys = keys
        self.before_write: Callable[[], None] = lambda: None
        self.errors: list[dict[str, str] | None] = []
        """Answers of the next statements; None lets one through."""
        self.uncountable: Exception | None = None
        """What counts fail with."""
        self.reads = 0
        self.statements = 0

    def batch_get_item(self, **request: Any) -> Any:
        ((table, asked),) = request["RequestItems"].items()
        assert len(asked["Keys"]) <= 100
        assert asked["ConsistentRead"]
        self.reads += 1
        names = [key[self._keys[table]]["S"] for key in asked["Keys"]]
        held = self.tables[table]
        return {"Responses": {table: [dict(held[name]) for name in names if name in held]}}

    def batch_execute_statement(self, **request: Any) -> Any:
        statements = request["Statements"]
        assert 1 <= len(statements) <= 25
        self.before_write()
        self.statements += len(statements)
        return {"Responses": [self._execute(item) for item in statements]}

    def transact_write_items(self, **request: Any) -> Any:
        """Only `ADD … SET gone_s = …`, into tables whose key is `kind` and `at`."""
        if self.uncountable:
            raise self.uncountable
        assert 1 <= len(request["TransactItems"]) <= 100
        for action in request["TransactItems"]:
            update = action["Update"]
            added, end = update["UpdateExpression"].split(" SET ")
            assert end == "gone_s = :gone"
            key = "/".join(part["S"] for part in update["Key"].values())
            item = self.tables[update["TableName"]].setdefault(key, dict(update["Key"]))
            for pair in added.removeprefix("ADD ").split(", "):
                name, value = pair.split()
                name = update["ExpressionAttributeNames"][name]
                before = float(item.get(name, {"N": "0"})["N"])
                more = float(update["ExpressionAttributeValues"][value]["N"])
                item[name] = {"N": repr(before + more)}
        return {}

    def _execute(self, item: dict[str, Any]) -> dict[str, Any]:
        if self.errors and (error := self.errors.pop(0)):
            return {"Error": error}
        text, parameters = item["Statement"], list(item["Parameters"])
        if match := _INSERT.fullmatch(text):
            names = re.findall(r"'(\w+)': \?", match["names"])
            assert len(names) == len(parameters)
            new = dict(zip(names, parameters, strict=True))
            held, name = self.tables[match["table"]], new[self._keys[match["table"]]]["S"]
            if name in held:
                return {"Error": {"Code": "DuplicateItem", "Message": "exists"}}
            held[name] = new
            return {}
        match = _UPDATE.fullmatch(text)
        assert match, text
        names = re.findall(r'SET "(\w+)"', match["sets"])
        *values, key, lock = parameters
        assert len(values) == len(names)
        there = self.tables[match["table"]].get(key["S"])
        if there is None or there.get(match["lock"]) != lock:
            return {"Error": {"Code": "ConditionalCheckFailed", "Message": "the condition failed"}}
        there.update(zip(names, values, strict=True))
        return {}
