"""The tables of fleet health: which objects were counted, who is connected, who is flagged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec

from fleet_health.presence import Change
from fleet_sim.contract.health import FLEET_ITEM, Presence, UpdateFlag
from fleet_sim.contract.tables import AttributeMap, text_attribute

T = TypeVar("T")
_READ = 100
"""Keys of a BatchGetItem."""
_WRITE = 25
"""Requests of a BatchWriteItem."""
_TRANSACTION = 99
"""Vehicles of a TransactWriteItems: it takes 100, and the counts are one."""
_ATTEMPTS = 6
KEPT_S = 7 * 86_400
"""How long it is known that an object was counted: longer than an event can be delivered late."""


class StoreError(RuntimeError):
    """The tables or the queue did not take what was to be written."""


class Claims:
    """Objects of the archive, each to be counted once however often its event comes."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb, self._table = dynamodb, table

    def take(self, key: str, now_ms: int, lease_ms: int) -> str:
        """`taken`: it is the caller's to count, for `lease_ms`. `done`: it was counted. `busy`:
        another counts it, or died while it did."""
        lease = {"id": {"S": key}, "lease_ms": {"N": str(now_ms + lease_ms)},
                 "expires": {"N": str(now_ms // 1000 + KEPT_S)}}  # fmt: skip
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=lease,
                ConditionExpression="attribute_not_exists(id) OR lease_ms < :now",
                ExpressionAttributeValues={":now": {"N": str(now_ms)}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            return "busy" if "lease_ms" in error.response.get("Item", {}) else "done"
        return "taken"

    def finish(self, keys: Iterable[str], now_ms: int) -> None:
        """They were counted. An item without a lease is taken by nobody."""
        expires = {"N": str(now_ms // 1000 + KEPT_S)}
        items = [{"id": {"S": key}, "expires": expires} for key in keys]
        _write(self._dynamodb, self._table, [{"PutRequest": {"Item": item}} for item in items])


class PresenceTable:
    """Who is connected, and how many are: an item changes together with the counts, or neither."""

    def __init__(
        self, dynamodb: Any, table: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._dynamodb, self._table, self._sleep = dynamodb, table, sleep

    def apply(
        self,
        vins: Sequence[str],
        fold: Callable[[Mapping[str, Presence | None]], Mapping[str, Change]],
    ) -> int:
        """Writes `fold(what is known of the vehicles)`; answers how many changed.

        `fold` is called again with newer knowledge after a conflict. Raises `StoreError`.
        """
        changed = 0
        for part in _chunks(vins, _TRANSACTION):
            for attempt in range(_ATTEMPTS):
                if attempt:
                    self._sleep(0.02 * 2**attempt)
                texts = self._read(part)
                changes = fold({vin: _presence(texts[vin]) for vin in part})
                if not changes or self._write(texts, changes):
                    changed += len(changes)
                    break
            else:
                raise StoreError(f"{self._table}: {_ATTEMPTS} conflicts in a row")
        return changed

    def counts(self) -> tuple[int, int]:
        """Vehicles that are connected, and vehicles that are lost."""
        key = {"thing": {"S": FLEET_ITEM}}
        item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        found = item.get("Item", {})
        online, lost = (int(found.get(name, {"N": "0"})["N"]) for name in ("online", "lost"))
        return online, lost

    def _read(self, vins: Sequence[str]) -> dict[str, str | None]:
        items = _get(self._dynamodb, self._table, "thing", vins)
        return {vin: items[vin]["presence"]["S"] if vin in items else None for vin in vins}

    def _write(self, texts: Mapping[str, str | None], changes: Mapping[str, Change]) -> bool:
        """False when somebody was faster with one of them."""
        operations = [self._put(vin, texts[vin], changes[vin].presence) for vin in changes]
        online = sum(change.online for change in changes.values())
        lost = sum(change.lost for change in changes.values())
        if online or lost:
            counts = {
                "TableName": self._table,
                "Key": {"thing": {"S": FLEET_ITEM}},
                # `online` is one of DynamoDB's reserved words.
                "UpdateExpression": "ADD #online :online, lost :lost",
                "ExpressionAttributeNames": {"#online": "online"},
                "ExpressionAttributeValues": {
                    ":online": {"N": str(online)},
                    ":lost": {"N": str(lost)},
                },
            }
            operations.append({"Update": counts})
        try:
            self._dynamodb.transact_write_items(TransactItems=operations)
        except self._dynamodb.exceptions.TransactionCanceledException:
            return False
        return True

    def _put(self, vin: str, was: str | None, presence: Presence) -> dict[str, Any]:
        put: dict[str, Any] = {
            "TableName": self._table,
            "Item": {"thing": {"S": vin}, "presence": text_attribute(presence)},
            "ConditionExpression": "attribute_not_exists(thing)",
        }
        if was is not None:
            put["ConditionExpression"] = "presence = :was"
            put["ExpressionAttributeValues"] = {":was": {"S": was}}
        return {"Put": put}


class Flags:
    """Vehicles that need an update: who plans a campaign reads them from the table.

    A vehicle's flag is read once a process, and then known.
    """

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb, self._table = dynamodb, table
        self._known: dict[str, str] = {}
        """Vehicle → the firmware it is flagged for, or nothing."""

    def apply(self, wanted: Sequence[UpdateFlag], current: Iterable[str]) -> tuple[int, int]:
        """Flags the ones, takes the flags of `current` vehicles away; answers how many of each."""
        current = list(current)
        self._learn([*(flag.vin for flag in wanted), *current])
        new = [flag for flag in wanted if self._known[flag.vin] != flag.wanted]
        old = [vin for vin in current if self._known[vin]]
        items: list[AttributeMap] = [
            {"vin": {"S": flag.vin}, "flag": text_attribute(flag)} for flag in new
        ]
        _write(self._dynamodb, self._table,
               [*({"PutRequest": {"Item": item}} for item in items),
                *({"DeleteRequest": {"Key": {"vin": {"S": vin}}}} for vin in old)])  # fmt: skip
        self._known |= {flag.vin: flag.wanted for flag in new} | dict.fromkeys(old, "")
        return len(new), len(old)

    def _learn(self, vins: Iterable[str]) -> None:
        unknown = [vin for vin in dict.fromkeys(vins) if vin not in self._known]
        for part in _chunks(unknown, _READ):
            items = _get(self._dynamodb, self._table, "vin", part)
            for vin in part:
                text = items[vin]["flag"]["S"] if vin in items else None
                flag = None if text is None else msgspec.json.decode(text, type=UpdateFlag)
                self._known[vin] = flag.wanted if flag else ""


def _presence(text: str | None) -> Presence | None:
    return None if text is None else msgspec.json.decode(text, type=Presence)


def _get(dynamodb: Any, table: str, key: str, values: Sequence[str]) -> dict[str, AttributeMap]:
    """At most 100 items, read consistently, by key; without those that are not there."""
    request: Any = {
        table: {"Keys": [{key: {"S": value}} for value in values], "ConsistentRead": True}
    }
    found = {}
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(0.02 * 2**attempt)
        answer = dynamodb.batch_get_item(RequestItems=request)
        found.update({item[key]["S"]: item for item in answer["Responses"].get(table, ())})
        request = answer.get("UnprocessedKeys")
        if not request:
            return found
    raise StoreError(f"{table}: BatchGetItem left keys unprocessed")


def _write(dynamodb: Any, table: str, requests: Sequence[dict[str, Any]]) -> None:
    for part in _chunks(requests, _WRITE):
        left: Any = {table: part}
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(0.02 * 2**attempt)
            left = dynamodb.batch_write_item(RequestItems=left).get("UnprocessedItems")
            if not left:
                break
        else:
            raise StoreError(f"{table}: BatchWriteItem left items unprocessed")


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
