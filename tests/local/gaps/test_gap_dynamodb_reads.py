"""DynamoDB's pages: what is found is MiniStack's to say, what that costs is ours."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from gap_harness import GapAws, unique
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.cloud.local.gaps import _seam, dynamodb_reads

TABLE: dict[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("id", "cell")],
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-cell",
            "KeySchema": [
                {"AttributeName": "cell", "KeyType": "HASH"},
                {"AttributeName": "id", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["lat", "belief"]},
        }
    ],
}


def item(number: int, cell: str | None = "a") -> dict[str, Any]:
    """One of a few shapes; without a cell it is in no index."""
    found: dict[str, Any] = {"id": {"S": f"s{number:03}"}, "lat": {"N": f"{number / 7:.5f}"}}
    if cell is not None:
        found["cell"] = {"S": cell}
    if number % 3:
        found["belief"] = {"S": "x" * (number % 5)}
    if number % 4:
        found["recent"] = {"L": [{"N": "-1.50E+2"}, {"M": {"é": {"BOOL": True}}}]}
    return found


class Both:
    """The same requests to ours and to stock MiniStack."""

    def __init__(self, *sides: GapAws) -> None:
        self.clients = [side.client("dynamodb") for side in sides]
        self.name = unique("table")
        for client in self.clients:
            client.create_table(TableName=self.name, **TABLE)

    def ask(self, call: str, **request: Any) -> Any:
        """The answer, or the error, which must be the same of both."""
        ours, stock = (self._ask(client, call, request) for client in self.clients)
        assert ours == stock
        return ours

    def _ask(self, client: Any, call: str, request: dict[str, Any]) -> Any:
        try:
            answer = getattr(client, call)(TableName=self.name, **request)
        except ClientError as error:
            return error.response["Error"]
        del answer["ResponseMetadata"]
        return answer

    def query(self, condition: str, **request: Any) -> Any:
        values = {":cell": {"S": "a"}} | request.pop("values", {})
        return self.ask(
            "query",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            **({"IndexName": "by-cell"} | request),
        )


@pytest.fixture(scope="module")
def both(gap_aws: GapAws, stock_aws: GapAws) -> Both:
    made = Both(gap_aws, stock_aws)
    for number in range(40):
        made.ask("put_item", Item=item(number, ("a", "b", None)[number % 5 // 2]))
    return made


def ids(answer: Any) -> list[str]:
    return [found["id"]["S"] for found in answer["Items"]]


AFTER = {"values": {":x": {"S": "s010"}}}


def test_pages_and_conditions_are_those_of_stock(both: Both) -> None:
    everything = both.query("cell = :cell")
    assert len(everything["Items"]) == 16
    assert "recent" not in everything["Items"][0]  # not in the index
    assert ids(both.query("cell = :cell AND id > :x", **AFTER)) == [
        name for name in ids(everything) if name > "s010"
    ]
    assert ids(both.query("cell = :cell", ScanIndexForward=False)) == ids(everything)[::-1]
    both.query("begins_with(id, :x) AND :cell = cell", values={":x": {"S": "s01"}})
    both.query(
        "cell = :cell AND id BETWEEN :x AND :y", values={":x": {"S": "s01"}, ":y": {"S": "s02"}}
    )
    both.query("#c = :cell", ExpressionAttributeNames={"#c": "cell"})
    late = "attribute_exists(belief) AND (lat > :n OR lat = :n)"
    both.query("cell = :cell", FilterExpression=late, values={":n": {"N": "2"}})
    for text in ({"S": "xx"}, {"S": ""}, {"N": "2"}, {"SS": ["x"]}):
        for attribute in ("belief", "lat", "recent", "cell"):
            for condition in (
                "contains({}, :t)",
                "NOT contains({}, :t) AND NOT contains(cell, :t)",
            ):
                both.query("cell = :cell", FilterExpression=condition.format(attribute),
                           values={":t": text})  # fmt: skip
    for text in ({"S": "a"}, {"S": "b"}, {"N": "0.0"}):
        both.ask("scan", FilterExpression="lat = :t AND cell = :u",
                 ExpressionAttributeValues={":t": text, ":u": {"S": "a"}})  # fmt: skip
    both.query("cell = :cell", ProjectionExpression="id, recent")
    both.query("cell = :cell", Select="COUNT")
    both.query("cell = :cell", ReturnConsumedCapacity="INDEXES")
    both.query("id = :cell", IndexName="by-cell")
    both.ask(
        "scan",
        FilterExpression="recent[1].é = :t",
        ExpressionAttributeValues={":t": {"BOOL": True}},
    )
    both.ask("scan", IndexName="by-cell", Limit=7)
    pages, start = [], {}
    while start is not None:
        answer = both.query("cell = :cell", Limit=5, **start)
        pages += ids(answer)
        last = answer.get("LastEvaluatedKey")
        start = {"ExclusiveStartKey": last} if last else None
    assert pages == ids(everything)


@pytest.mark.parametrize(
    "condition",
    ["", "cell", "((cell = :cell))", "cell = :cell AND", "cell = :none", "cell > :cell",
     "name = :cell", "cell = :cell AND id BETWEEN :y AND :x",
     "lat = :cell", "NOT contains(belief, :none)", "contains(belief :cell)", "NOT cell = :cell AND",
      "cell.a = :cell", "size(cell) = :cell"],
)  # fmt: skip
def test_errors_are_those_of_stock(both: Both, condition: str) -> None:
    values = {":x": {"S": "a"}, ":y": {"S": "b"}} if ":x" in condition else {}
    assert "Code" in both.query(condition, values=values)
    both.query("cell = :cell", FilterExpression=condition, values=values)
    both.ask("scan", FilterExpression=condition, ExpressionAttributeValues={":cell": {"S": "a"}})


def test_what_is_written_is_found_at_once(both: Both) -> None:
    before = ids(both.query("cell = :cell"))
    both.ask("put_item", Item=item(90))
    assert ids(both.query("cell = :cell")) == [*before, "s090"]
    change = {"UpdateExpression": "SET belief = :b", "ConditionExpression": "id = :i"}
    values = {":b": {"S": "new"}, ":i": {"S": "s090"}}
    both.ask("update_item", Key={"id": {"S": "s090"}}, ExpressionAttributeValues=values, **change)
    assert both.query("cell = :cell")["Items"][-1]["belief"] == {"S": "new"}
    values[":i"] = {"S": "s091"}
    refused = both.ask(
        "update_item", Key={"id": {"S": "s090"}}, ExpressionAttributeValues=values, **change
    )
    assert refused["Code"] == "ConditionalCheckFailedException"
    both.ask("put_item", Item=item(90, "b"))
    assert ids(both.query("cell = :cell")) == before
    both.ask("delete_item", Key={"id": {"S": "s090"}})
    assert "s090" not in ids(both.query("cell = :cell", values={":cell": {"S": "b"}}))


def test_a_page_ends_at_a_megabyte_as_it_did(both: Both) -> None:
    for number in range(4):
        both.ask("put_item", Item=item(number, "big") | {"belief": {"S": "é" * 150_000}})
    answer = both.query("cell = :cell", values={":cell": {"S": "big"}})
    assert len(answer["Items"]) == 3
    assert answer["LastEvaluatedKey"]["id"] == {"S": "s002"}
    assert len(both.query("cell = :cell", values={":cell": {"S": "big"}}, Limit=2)["Items"]) == 2
    for number in range(4):
        both.ask("put_item", Item=item(number, ("a", "b", None)[number % 5 // 2]))


TEXTS = st.text(max_size=5)
NUMBERS = (
    st.decimals(allow_nan=False, allow_infinity=False, places=5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.builds(lambda text: {"S": text}, TEXTS)
    | st.builds(lambda number: {"N": str(number)}, NUMBERS)
    | st.builds(lambda raw: {"B": base64.b64encode(raw).decode()}, st.binary(max_size=5))
    | st.sampled_from([{"BOOL": True}, {"NULL": True}, {"SS": ["a", "é"]}, {"NS": ["1", "-2E+9"]}]),
    lambda value: (
        st.builds(lambda found: {"L": found}, st.lists(value, max_size=3))
        | st.builds(lambda found: {"M": found}, st.dictionaries(TEXTS, value, max_size=3))
    ),
)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_no_item_is_larger_than_its_json(found: dict[str, Any]) -> None:
    assert _seam.service("dynamodb")._item_size_bytes(found) <= len(msgspec.json.encode(found))


def test_a_condition_is_parsed_once_and_not_for_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    service = _seam.service("dynamodb")
    for name in ("_apply_index_projection", "_evaluate_condition", "_paginate_evaluated_items",
                 "_query", "_scan", "_tokenize", "json_response"):  # fmt: skip
        monkeypatch.setattr(service, name, getattr(service, name))  # put back afterwards
    calls: Counter[str] = Counter()
    parse, project = service._condition_syntax_error, service._apply_index_projection

    def parsing(expr: str, slot: str) -> Any:
        calls["parsed"] += 1
        return parse(expr, slot)

    def projecting(item: Any, table: Any, index_name: Any) -> Any:
        calls["projected"] += 1
        return project(item, table, index_name)

    monkeypatch.setattr(service, "_condition_syntax_error", parsing)
    monkeypatch.setattr(service, "_apply_index_projection", projecting)
    name = unique("table")
    service._create_table({"TableName": name, **TABLE})
    for number in range(60):
        service._put_item({"TableName": name, "Item": item(number)})
    request = {
        "TableName": name,
        "IndexName": "by-cell",
        "KeyConditionExpression": "cell = :cell",
        "ExpressionAttributeValues": {":cell": {"S": "a"}},
    }
    calls.clear()
    stock = json.loads(service._query(request)[2])
    assert calls == {"parsed": 60, "projected": 120}  # of stock; less: the module may go
    dynamodb_reads.apply()
    calls.clear()
    for _ in range(3):
        assert json.loads(service._query(request)[2]) == stock
    assert calls == {"parsed": 1, "projected": 3 * 4}  # items of four shapes
    service._delete_table({"TableName": name})
