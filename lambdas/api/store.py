"""What the API reads: items of the tables, and the street network in the data bucket."""

from __future__ import annotations

import functools
import gzip
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import boto3
import botocore.session
import msgspec
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import JSONParser, ResponseParserFactory

from api.cells import AT_ONCE, Stalls
from api.walking import Walks
from fleet_sim.contract import StreetNetwork
from fleet_sim.contract.counters import KINDS, since
from fleet_sim.contract.registry import CELLS_KEY, STREETS_KEY, SpotCells
from fleet_sim.contract.tables import SPOTS_BY_CELL, AttributeMap

CITY_KEPT_S = 1.0
"""How long the city's streets and cells are used before S3 is asked whether there are others: as
long as an answer may be kept."""

pool = ThreadPoolExecutor(AT_ONCE)


_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    max_pool_connections=AT_ONCE,
    retries={"total_max_attempts": 3, "mode": "standard"},
    parameter_validation=False,
)


class _AsSent(JSONParser):
    """Items stay as DynamoDB sends them: to take each attribute's value apart and put it together
    again costs three quarters of a query. Ours hold texts and numbers; binaries would stay
    base64."""

    def _parse_shape(self, shape: Any, node: Any) -> Any:
        stock: Any = super()
        return node if shape.name in _ITEMS else stock._parse_shape(shape, node)

    def _parse_body_as_json(self, body_contents: bytes) -> Any:
        stock: Any = super()
        try:
            return msgspec.json.decode(body_contents)
        except msgspec.MsgspecError:  # nothing, or what a proxy answers
            return stock._parse_body_as_json(body_contents)


_ITEMS = frozenset(("AttributeMap", "ItemList", "Key"))


class _Parsers(ResponseParserFactory):
    def create_parser(self, protocol_name: str) -> Any:
        return _as_sent if protocol_name == "json" else super().create_parser(protocol_name)


_as_sent = _AsSent()


@functools.cache
def dynamodb() -> Any:
    session = botocore.session.get_session()
    session.register_component("response_parser_factory", _Parsers())
    return boto3.Session(botocore_session=session).client("dynamodb", config=_CONFIG)


@functools.cache
def s3() -> Any:
    return boto3.client("s3", config=_CONFIG)


def item(table: str, key: str, value: str) -> AttributeMap | None:
    """`table` is the environment variable that names it."""
    answer = dynamodb().get_item(TableName=os.environ[table], Key={key: {"S": value}})
    found: AttributeMap | None = answer.get("Item")
    return found


def cell(name: str, after: str = "", unlike: Sequence[str] = ()) -> list[AttributeMap]:
    """Spots of one H3 cell, by id: those after `after` when it is given, and without those whose
    belief contains one of the texts `unlike`."""
    request: dict[str, Any] = {
        "TableName": os.environ["SPOTS_TABLE"],
        "IndexName": SPOTS_BY_CELL,
        "KeyConditionExpression": "cell = :cell",
        "ExpressionAttributeValues": {":cell": {"S": name}},
    }
    if after:
        request["KeyConditionExpression"] += " AND id > :after"
        request["ExpressionAttributeValues"][":after"] = {"S": after}
    if unlike:
        names = [f":unlike{k}" for k in range(len(unlike))]
        request["FilterExpression"] = " AND ".join(f"NOT contains(belief, {n})" for n in names)
        request["ExpressionAttributeValues"].update(
            (name, {"S": text}) for name, text in zip(names, unlike, strict=True)
        )
    return list(_pages(dynamodb().query, request))


def vehicles(limit: int, after: str) -> tuple[list[AttributeMap], str]:
    """Up to so many states, and the VIN that the next ones come after; empty at the end.

    One page of a Scan: it reads as many items as it answers.
    """
    request: dict[str, Any] = {
        "TableName": os.environ["VEHICLES_TABLE"],
        "Limit": limit,
        "ProjectionExpression": "#s",
        "ExpressionAttributeNames": {"#s": "state"},
    }
    if after:
        request["ExclusiveStartKey"] = {"vin": {"S": after}}
    answer = dynamodb().scan(**request)
    last = answer.get("LastEvaluatedKey")
    return answer["Items"], last["vin"]["S"] if last else ""


def counts(now_ms: float) -> list[AttributeMap]:
    """Items of the counters table whose end is to come: some tens a shard of the stream."""
    return [item for found in pool.map(lambda kind: _counts(kind, now_ms), KINDS) for item in found]


def _counts(kind: str, now_ms: float) -> list[AttributeMap]:
    # The number of spots has no end: its `at` is a word, which sorts after all numbers.
    request = {
        "TableName": os.environ["COUNTERS_TABLE"],
        "KeyConditionExpression": "kind = :kind AND #at > :since",
        "ExpressionAttributeNames": {"#at": "at"},
        "ExpressionAttributeValues": {":kind": {"S": kind}, ":since": {"S": since(now_ms)}},
    }
    return list(_pages(dynamodb().query, request))


def _pages(call: Any, request: dict[str, Any]) -> Iterator[AttributeMap]:
    while True:
        answer = call(**request)
        yield from answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


class Deployed(NamedTuple):
    """What is deployed with the city. None: there is none, or nothing is known."""

    walks: Walks | None = None
    stalls: Stalls | None = None
    """Which cells have how many."""


class City:
    """The deployed city, looked for anew now and then."""

    def __init__(self) -> None:
        self._deployed = Deployed()
        self._etag = ""
        self._good_until = 0.0

    def get(self) -> Deployed:
        if time.monotonic() < self._good_until:
            return self._deployed
        found = _object(STREETS_KEY, self._etag)
        if found is None:
            self._deployed, self._etag = Deployed(), ""
        elif found.etag != self._etag:
            network = msgspec.json.decode(found.body, type=StreetNetwork)
            self._deployed = Deployed(Walks(network), _stalls(network.city))
            self._etag = found.etag
        self._good_until = time.monotonic() + CITY_KEPT_S
        return self._deployed


def _stalls(city: str) -> Stalls | None:
    found = _object(CELLS_KEY)
    cells = msgspec.json.decode(found.body, type=SpotCells) if found else None
    # Of another city: whoever uploaded this one's streets did not know of cells.
    return cells.stalls if cells and cells.city == city else None


class _Object(NamedTuple):
    etag: str
    body: bytes


def _object(key: str, etag: str = "") -> _Object | None:
    """An object of the data bucket, decompressed; without a body when it is the one of `etag`. None
    when there is none."""
    condition = {"IfNoneMatch": etag} if etag else {}
    try:
        answer = s3().get_object(Bucket=os.environ["DATA_BUCKET"], Key=key, **condition)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return None
        if status != 304:
            raise
        return _Object(etag, b"")
    return _Object(answer["ETag"], gzip.decompress(answer["Body"].read()))


city = City()
