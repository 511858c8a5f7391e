"""AWS IoT topic rules."""

from __future__ import annotations

import base64
import json

import pytest
from gap_harness import ROLE, GapAws, against_stock, unique

from fleet_sim.cloud.local.gaps import _seam
from fleet_sim.cloud.local.gaps._rule_sql import Compiler, Message, UndecodablePayloadError
from fleet_sim.cloud.local.gaps.rule_actions import RuleEngine

TELEMETRY = "SELECT *, topic(2) AS thing, timestamp() AS iot_ms FROM '{}/+/telemetry'"


def to_stream(stream: str, key: str = "${topic(2)}") -> dict[str, object]:
    return {"kinesis": {"streamName": stream, "partitionKey": key, "roleArn": ROLE}}


def to_queue(queue: str) -> dict[str, object]:
    return {"sqs": {"queueUrl": queue, "roleArn": ROLE}}


def rule(aws: GapAws, sql: str, *actions: object, error: object | None = None) -> str:
    """Creates a rule whose SQL names a topic root of its own for `{}`; returns the root."""
    root = unique("fleet")
    payload = {"sql": sql.format(root), "awsIotSqlVersion": "2016-03-23", "actions": list(actions)}
    if error is not None:
        payload["errorAction"] = error
    aws.client("iot").create_topic_rule(ruleName=unique("rule"), topicRulePayload=payload)
    return root


@against_stock
async def test_the_kinesis_action_appends_the_selected_event(aws: GapAws) -> None:
    stream = aws.stream(shards=2)
    root = rule(aws, TELEMETRY, to_stream(stream))
    async with aws.mqtt() as device:
        await device.publish(f"{root}/v7/telemetry", json.dumps({"seq": 1, "x": 1.5}), qos=1)
    (record,) = aws.records(stream)
    event = json.loads(record["Data"])
    assert abs(event.pop("iot_ms") / 1000 - record["ApproximateArrivalTimestamp"].timestamp()) < 5
    assert event == {"seq": 1, "x": 1.5, "thing": "v7"}
    assert record["PartitionKey"] == "v7"


@against_stock
async def test_templates_read_the_message_not_the_selection(aws: GapAws) -> None:
    stream = aws.stream()
    root = rule(aws, "SELECT seq FROM '{}/#'", to_stream(stream, "${topic(2)}-${at.row}-x"))
    async with aws.mqtt() as device:
        await device.publish(f"{root}/v7", json.dumps({"seq": 1, "at": {"row": 3}}), qos=1)
    (record,) = aws.records(stream)
    assert record["PartitionKey"] == "v7-3-x"
    assert json.loads(record["Data"]) == {"seq": 1}


@against_stock
async def test_newuuid_gives_each_record_its_own_key(aws: GapAws) -> None:
    stream = aws.stream()
    root = rule(aws, "SELECT * FROM '{}/#'", to_stream(stream, "${newuuid()}"))
    async with aws.mqtt() as device:
        for _ in range(3):
            await device.publish(f"{root}/v", b"{}", qos=1)
    assert len({record["PartitionKey"] for record in aws.records(stream)}) == 3


@against_stock
async def test_a_lone_star_passes_a_binary_payload_unchanged(aws: GapAws) -> None:
    stream = aws.stream()
    root = rule(aws, "SELECT * FROM '{}/#'", to_stream(stream))
    async with aws.mqtt() as device:
        await device.publish(f"{root}/v", b"\xff\x00\xfe", qos=1)
    assert [record["Data"] for record in aws.records(stream)] == [b"\xff\x00\xfe"]


@against_stock
async def test_a_binary_payload_goes_to_the_error_action(aws: GapAws) -> None:
    await undecodable(aws, b"\xff\xfe")


@pytest.mark.parametrize("payload", [b"{truncated", b'"text"', b"[1]"])
async def test_other_payloads_that_are_no_object_do_too(aws: GapAws, payload: bytes) -> None:
    await undecodable(aws, payload)


async def undecodable(aws: GapAws, payload: bytes) -> None:
    stream, errors = aws.stream(), aws.queue()
    root = rule(aws, TELEMETRY, to_stream(stream), error=to_queue(errors))
    async with aws.mqtt(identifier="poisoned") as device:
        await device.publish(f"{root}/v7/telemetry", payload, qos=1)
    document = json.loads(aws.wait_for(lambda: next(iter(aws.messages(errors)), None)))
    assert base64.b64decode(document["base64OriginalPayload"]) == payload
    assert document["topic"] == f"{root}/v7/telemetry"
    assert document["clientId"] == "poisoned"
    assert document["cloudwatchTraceId"]
    (failure,) = document["failures"]
    assert failure["failedAction"] == "KinesisAction"
    assert failure["failedResource"] == stream
    assert failure["errorMessage"]
    assert aws.records(stream) == []


@against_stock
async def test_two_failed_actions_make_one_error_message(aws: GapAws) -> None:
    errors, good = aws.queue(), aws.queue()
    missing = {"dynamoDBv2": {"putItem": {"tableName": "no-such-table"}, "roleArn": ROLE}}
    root = rule(
        aws,
        "SELECT * FROM '{}/#'",
        to_stream("no-such-stream"),
        missing,
        to_queue(good),
        error=to_queue(errors),
    )
    async with aws.mqtt() as device:
        await device.publish(f"{root}/v", b'{"a":1}', qos=1)
    document = json.loads(aws.wait_for(lambda: next(iter(aws.messages(errors)), None)))
    failed = [failure["failedAction"] for failure in document["failures"]]
    assert failed == ["KinesisAction", "DynamoDBv2Action"]
    assert [json.loads(body) for body in aws.messages(good)] == [{"a": 1}]
    assert aws.messages(errors) == []


@against_stock
async def test_where_and_basic_ingest_select_what_reaches_the_stream(aws: GapAws) -> None:
    stream = aws.stream()
    root = rule(
        aws, "SELECT seq FROM '{}/#' WHERE soc < 0.2 AND topic(2) <> 'w'", to_stream(stream)
    )
    (name,) = [
        found["ruleName"]
        for found in aws.client("iot").list_topic_rules()["rules"]
        if root in found.get("topicPattern", "")
    ]
    async with aws.mqtt() as device:
        for seq, (topic, soc) in enumerate(
            [
                (f"{root}/v", 0.5),
                (f"{root}/v", 0.1),
                (f"{root}/w", 0.1),
                (f"$aws/rules/{name}/any/v", 0.1),
            ]
        ):
            await device.publish(topic, json.dumps({"seq": seq, "soc": soc}), qos=1)
    assert [json.loads(record["Data"])["seq"] for record in aws.records(stream)] == [1, 3]


async def test_a_disabled_or_replaced_rule_takes_effect_at_once(aws: GapAws) -> None:
    iot, first, second = aws.client("iot"), aws.stream(), aws.stream()
    name, root = unique("rule"), unique("fleet")
    payload = {"sql": f"SELECT * FROM '{root}/#'", "actions": [to_stream(first)]}
    iot.create_topic_rule(ruleName=name, topicRulePayload=payload)
    async with aws.mqtt() as device:
        await device.publish(f"{root}/v", b"1", qos=1)
        iot.disable_topic_rule(ruleName=name)
        await device.publish(f"{root}/v", b"2", qos=1)
        payload["actions"] = [to_stream(second)]
        iot.replace_topic_rule(ruleName=name, topicRulePayload=payload)
        await device.publish(f"{root}/v", b"3", qos=1)
        iot.delete_topic_rule(ruleName=name)
        await device.publish(f"{root}/v", b"4", qos=1)
    assert [record["Data"] for record in aws.records(first)] == [b"1"]
    assert [record["Data"] for record in aws.records(second)] == [b"3"]


async def test_sql_is_parsed_once_for_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    iot = _seam.service("iot")
    parsed: list[str] = []
    stock = iot._rule_select_clause
    monkeypatch.setattr(iot, "_rule_select_clause", lambda sql: parsed.append(sql) or stock(sql))
    with _seam.core("responses").request_scope("000000000000", "us-east-1"):
        iot.put_topic_rule("once", {"sql": "SELECT * FROM 'once/#'", "actions": []})
        parsed.clear()
        engine = RuleEngine()
        for number in range(5):
            message = Message(f"once/{number}", b"{}", "client", None)
            engine.publish(("000000000000", "us-east-1"), message)
        iot.delete_topic_rule("once")
    assert parsed == ["SELECT * FROM 'once/#'"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a.b AS c, 'it''s' AS d, 3 AS e FROM 't'", {"c": 5, "d": "it's", "e": 3}),
        ("SELECT missing, a.none AS n FROM 't'", {}),
        ("SELECT topic() AS t, topic(2) AS l, topic(9) AS none FROM 't'", {"t": "x/y", "l": "y"}),
        ("SELECT clientid() AS c, principal() AS p FROM 't'", {"c": "me", "p": "cert"}),
        ("SELECT encode(*, 'base64') AS raw FROM 't'", {"raw": "eyJhIjp7ImIiOjV9fQ=="}),
        ("SELECT a.b * 2 AS twice FROM 't'", {"twice": 10}),
        ("SELECT *, 1 AS a FROM 't'", {"a": 1}),
    ],
)
def test_select(sql: str, expected: object) -> None:
    select = Compiler().select(sql)
    assert select(Message("x/y", b'{"a":{"b":5}}', "me", "cert")) == expected


def test_select_star_with_more_takes_an_empty_payload_but_no_other_kind() -> None:
    select = Compiler().select("SELECT *, topic(1) AS t FROM 't'")
    assert select(Message("x", b"", None, None)) == {"t": "x"}
    with pytest.raises(UndecodablePayloadError):
        select(Message("x", b"3", None, None))
