"""What the API reads: items of the tables, and the street network in the data bucket."""

from __future__ import annotations

import functools
import gzip
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import ClientError

from api.walking import Walks
from fleet_sim.contract import StreetNetwork
from fleet_sim.contract.counters import KINDS, since
from fleet_sim.contract.registry import STREETS_KEY
from fleet_sim.contract.tables import SPOTS_BY_CELL, AttributeMap

CELLS_AT_ONCE = 16
"""Queries in flight: a screenful of map in one round trip."""
STREETS_KEPT_S = 10.0
"""How long the network is used before S3 is asked whether there is another."""

pool = ThreadPoolExecutor(CELLS_AT_ONCE)


_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    max_pool_connections=CELLS_AT_ONCE,
    retries={"total_max_attempts": 3, "mode": "standard"},
    parameter_validation=False,
)


@functools.cache
def dynamodb() -> Any:
    return boto3.client("dynamodb", config=_CONFIG)


@functools.cache
def s3() -> Any:
    return boto3.client("s3", config=_CONFIG)


def item(table: str, key: str, value: str) -> AttributeMap | None:
    """`table` is the environment variable that names it."""
    answer = dynamodb().get_item(TableName=os.environ[table], Key={key: {"S": value}})
    found: AttributeMap | None = answer.get("Item")
    return found


def cell(name: str, after: str = "") -> list[AttributeMap]:
    """Spots of one H3 cell, by id; those after `after` when it is given."""
    request: dict[str, Any] = {
        "TableName": os.environ["SPOTS_TABLE"],
        "IndexName": SPOTS_BY_CELL,
        "KeyConditionExpression": "cell = :cell",
        "ExpressionAttributeValues": {":cell": {"S": name}},
    }
    if after:
        request["KeyConditionExpression"] += " AND id > :after"
        request["ExpressionAttributeValues"][":after"] = {"S": after}
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


class Streets:
    """The deployed network, looked for anew now and then. None where none is deployed."""

    def __init__(self) -> None:
        self._walks: Walks | None = None
        self._etag = ""
        self._good_until = 0.0

    def get(self) -> Walks | None:
        if time.monotonic() < self._good_until:
            return self._walks
        condition = {"IfNoneMatch": self._etag} if self._etag else {}
        try:
            answer = s3().get_object(Bucket=os.environ["DATA_BUCKET"], Key=STREETS_KEY, **condition)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                self._walks, self._etag = None, ""
            elif status != 304:
                raise
        else:
            body = gzip.decompress(answer["Body"].read())
            self._walks = Walks(msgspec.json.decode(body, type=StreetNetwork))
            self._etag = answer["ETag"]
        self._good_until = time.monotonic() + STREETS_KEPT_S
        return self._walks


streets = Streets()
