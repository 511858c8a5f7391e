"""The trends table: one item a street."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fleet_sim.contract.tables import AttributeMap
from fleet_sim.contract.trends import ALL_STREETS, StreetTrend, TrendIndex, trend_item

_BATCH = 25
"""Requests of a BatchWriteItem at most."""
_ATTEMPTS = 8


class TableError(RuntimeError):
    """DynamoDB did not take all items."""


def write(dynamodb: Any, table: str, streets: Iterable[StreetTrend], index: TrendIndex) -> int:
    """Make the table hold these streets and no others; answers how many. The index comes last: what
    it names is there."""
    items = [trend_item(street.street, street) for street in streets]
    _write(dynamodb, table, [{"PutRequest": {"Item": item}} for item in items])
    _write(dynamodb, table, [{"PutRequest": {"Item": trend_item(ALL_STREETS, index)}}])
    kept = {item["street"]["S"] for item in items} | {ALL_STREETS}
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="street")
    gone = [item for page in pages for item in page["Items"] if item["street"]["S"] not in kept]
    _write(dynamodb, table, [{"DeleteRequest": {"Key": key}} for key in gone])
    return len(items)


def _write(dynamodb: Any, table: str, requests: list[AttributeMap]) -> None:
    for start in range(0, len(requests), _BATCH):
        left: Any = {table: requests[start : start + _BATCH]}
        for attempt in range(_ATTEMPTS):
            left = dynamodb.batch_write_item(RequestItems=left).get("UnprocessedItems")
            if not left:
                break
            time.sleep(0.05 * 2**attempt)
        else:
            raise TableError(f"{table}: {len(left[table])} items were not taken")
