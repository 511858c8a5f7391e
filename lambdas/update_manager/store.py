"""A campaign's records in DynamoDB: one partition a campaign.

`item` is `meta` (the campaign, its revision, and what is still to be told), `vehicles#00` and so on
(the list of the request, if it had one), `v#WAVE#THING` (a vehicle), `audit#TIME#…`. The partition
`#campaigns` lists them. Every write is conditional: a campaign's on its revision, a vehicle's on
the text that was read. Whoever writes second has decided on old news, and reads again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import ClientError

from fleet_sim.contract.campaign_records import AuditEntry, Target
from fleet_sim.contract.campaigns import Candidate
from update_manager.logic import Campaign, Tell

INDEX = "#campaigns"
AT_ONCE = 8
MAX_WAVES = 20
TOGETHER = 100
"""Items of a transaction, and keys of a BatchGetItem, at most (DynamoDB quotas)."""
LIST_BYTES, LISTS_BYTES = 300_000, 3_500_000
"""Of a part of the request's list, and of all: an item has 400 KB at most, and a transaction
4 MB (DynamoDB quotas)."""
_encode = msgspec.json.encode


class ExistsError(RuntimeError):
    """There is a campaign of this id already."""


class TooLongError(ValueError):
    """The list of vehicles does not fit into the table."""


class Held(NamedTuple):
    """A campaign as it was read."""

    campaign: Campaign
    revision: int
    untold: list[tuple[str, str]]
    """Actions and details that operators have not been told yet."""


class Store:
    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb, self._table = dynamodb, table
        self._pool = ThreadPoolExecutor(AT_ONCE)

    # -- campaigns --------------------------------------------------------------------------------

    def create(
        self, campaign: Campaign, vehicles: Sequence[Candidate] | None, audit: AuditEntry
    ) -> None:
        """`ExistsError`, `TooLongError`."""
        items = [
            self._meta(campaign, 1, []),
            {"campaign": {"S": INDEX}, "item": {"S": campaign.id}},
            _audit(campaign.id, audit, 1, 0),
        ]
        if vehicles is not None:
            items += [
                {**_key(campaign.id, f"vehicles#{i:02d}"), "record": {"S": text}}
                for i, text in enumerate(_lists(vehicles))
            ]
        first: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(campaign)"}
        puts: list[dict[str, Any]] = [{"TableName": self._table, "Item": item} for item in items]
        puts[0] |= first
        try:
            self._dynamodb.transact_write_items(TransactItems=[{"Put": put} for put in puts])
        except ClientError as error:
            if _condition_failed(error):
                raise ExistsError(campaign.id) from None
            raise

    def read(self, campaign_id: str) -> Held | None:
        item = self._get(campaign_id, "meta")
        if item is None:
            return None
        campaign = msgspec.json.decode(item["record"]["S"], type=Campaign)
        untold = msgspec.json.decode(item["untold"]["S"], type=list[tuple[str, str]])
        return Held(campaign, int(item["revision"]["N"]), untold)

    def write(
        self,
        held: Held,
        campaign: Campaign,
        told: Iterable[Tell] = (),
        audit: Iterable[AuditEntry] = (),
    ) -> Held | None:
        """The campaign moves on, with what is to be told; None when somebody was faster."""
        untold = [*held.untold, *((tell.action, tell.detail) for tell in told)]
        revision = held.revision + 1
        items = [_audit(campaign.id, entry, revision, i) for i, entry in enumerate(audit)]
        puts = [{"TableName": self._table, "Item": item} for item in items]
        meta = {
            "TableName": self._table,
            "Item": self._meta(campaign, revision, untold),
            "ConditionExpression": "revision = :old",
            "ExpressionAttributeValues": {":old": {"N": str(held.revision)}},
        }
        try:
            self._dynamodb.transact_write_items(
                TransactItems=[{"Put": meta}, *({"Put": put} for put in puts)]
            )
        except ClientError as error:
            if _condition_failed(error):
                return None
            raise
        return Held(campaign, revision, untold)

    def was_told(self, held: Held) -> Held | None:
        """Operators know: it is struck off. None when the campaign has moved on meanwhile."""
        return self.write(held._replace(untold=[]), held.campaign)

    def note(self, campaign_id: str, entry: AuditEntry) -> None:
        """Into the audit log, without a step of the campaign: behind all steps of its moment."""
        item = _audit(campaign_id, entry, 999_999, 0)
        self._dynamodb.put_item(TableName=self._table, Item=item)

    def ids(self) -> list[str]:
        return [item["item"]["S"] for item in self._query(INDEX, "", "\uffff")]

    def vehicles(self, campaign_id: str) -> list[Candidate] | None:
        """The request's list; None when it had none."""
        items = list(self._query(campaign_id, "vehicles#", "vehicles#\uffff"))
        if not items:
            return None
        lists = [msgspec.json.decode(i["record"]["S"], type=list[Candidate]) for i in items]
        return [vehicle for some in lists for vehicle in some]

    def audit(self, campaign_id: str) -> list[AuditEntry]:
        items = self._query(campaign_id, "audit#", "audit#\uffff")
        return [msgspec.json.decode(item["record"]["S"], type=AuditEntry) for item in items]

    # -- vehicles ---------------------------------------------------------------------------------

    def plan(self, campaign_id: str, targets: Sequence[Target]) -> None:
        """Write the vehicles' first records, for one planner at a time: what another one has left
        goes where it does not fit."""
        left, wanted = self.targets(campaign_id, MAX_WAVES), set(targets)
        for target in left:
            if target not in wanted:
                item = f"v#{target.wave:02d}#{target.thing}"
                self._dynamodb.delete_item(TableName=self._table, Key=_key(campaign_id, item))
        puts = [self._first(campaign_id, target) for target in wanted.difference(left)]
        for start in range(0, len(puts), TOGETHER):
            some = puts[start : start + TOGETHER]
            if not self._together([{"Put": put} for put in some]):
                list(self._pool.map(self._put_new, some))

    def targets(self, campaign_id: str, waves: int) -> list[Target]:
        """The vehicles of the first `waves` waves."""
        items = self._query(campaign_id, "v#", f"v#{waves:02d}")
        return [msgspec.json.decode(item["record"]["S"], type=Target) for item in items]

    def page(
        self, campaign_id: str, last: tuple[int, str] | None, limit: int
    ) -> tuple[list[Target], bool]:
        """Vehicles in the order of waves, from behind wave and thing `last`; whether there are
        more."""
        first = "v#" if last is None else f"v#{last[0]:02d}#{last[1]}\0"
        answer = self._dynamodb.query(**self._between(campaign_id, first, "v#\uffff"), Limit=limit)
        found = [msgspec.json.decode(i["record"]["S"], type=Target) for i in answer["Items"]]
        return found, "LastEvaluatedKey" in answer

    def target(self, campaign_id: str, wave: int, thing: str) -> Target | None:
        item = self._get(campaign_id, f"v#{wave:02d}#{thing}")
        return None if item is None else msgspec.json.decode(item["record"]["S"], type=Target)

    def read_targets(
        self, campaign_id: str, wanted: Iterable[tuple[int, str]]
    ) -> dict[str, Target]:
        """By thing; `wanted` names wave and thing."""
        keys = [_key(campaign_id, f"v#{wave:02d}#{thing}") for wave, thing in wanted]
        found: dict[str, Target] = {}
        for start in range(0, len(keys), TOGETHER):
            some = {"Keys": keys[start : start + TOGETHER], "ConsistentRead": True}
            pending: dict[str, Any] = {self._table: some}
            while pending:
                answer = self._dynamodb.batch_get_item(RequestItems=pending)
                for item in answer["Responses"].get(self._table, ()):
                    target = msgspec.json.decode(item["record"]["S"], type=Target)
                    found[target.thing] = target
                pending = answer.get("UnprocessedKeys") or {}
        return found

    def save(self, campaign_id: str, old: Target, new: Target) -> bool:
        """The vehicle's record moves on, if it still is `old`."""
        if old == new:
            return True
        try:
            self._dynamodb.update_item(**self._move(campaign_id, old, new))
        except ClientError as error:
            if _condition_failed(error):
                return False
            raise
        return True

    def save_all(self, campaign_id: str, moves: Sequence[tuple[Target, Target]]) -> list[bool]:
        """Which of them did: all together, and if one does not each for itself."""
        done: list[bool] = []
        for start in range(0, len(moves), TOGETHER):
            some = moves[start : start + TOGETHER]
            updates = [
                {"Update": self._move(campaign_id, old, new)} for old, new in some if old != new
            ]
            if self._together(updates):
                done += [True] * len(some)
            else:
                done += self._pool.map(lambda move: self.save(campaign_id, *move), some)
        return done

    def save_together(self, campaign_id: str, moves: Sequence[tuple[Target, Target]]) -> bool:
        """All of them move on, `TOGETHER` at most, or none does."""
        if len(moves) == 1:
            return self.save(campaign_id, *moves[0])
        return self._together([{"Update": self._move(campaign_id, *move)} for move in moves])

    # -- inside -----------------------------------------------------------------------------------

    def _together(self, writes: list[dict[str, Any]]) -> bool:
        """A transaction is one request for a hundred; False when one of its conditions fails."""
        if len(writes) < 2:
            return not writes
        try:
            self._dynamodb.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if _condition_failed(error):
                return False
            raise
        return True

    def _first(self, campaign_id: str, target: Target) -> dict[str, Any]:
        key = _key(campaign_id, f"v#{target.wave:02d}#{target.thing}")
        return {
            "TableName": self._table,
            "Item": {**key, "record": _text(target)},
            "ConditionExpression": "attribute_not_exists(campaign)",
        }

    def _put_new(self, put: dict[str, Any]) -> None:
        try:
            self._dynamodb.put_item(**put)
        except ClientError as error:
            if not _condition_failed(error):
                raise

    def _move(self, campaign_id: str, old: Target, new: Target) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Key": _key(campaign_id, f"v#{old.wave:02d}#{old.thing}"),
            "UpdateExpression": "SET #r = :new",
            "ConditionExpression": "#r = :old",
            "ExpressionAttributeNames": {"#r": "record"},
            "ExpressionAttributeValues": {":old": _text(old), ":new": _text(new)},
        }

    def _get(self, campaign_id: str, item: str) -> dict[str, Any] | None:
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(campaign_id, item), ConsistentRead=True
        )
        found: dict[str, Any] | None = answer.get("Item")
        return found

    def _between(self, campaign_id: str, first: str, last: str) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "KeyConditionExpression": "campaign = :c AND #i BETWEEN :first AND :last",
            "ExpressionAttributeNames": {"#i": "item"},
            "ExpressionAttributeValues": {
                ":c": {"S": campaign_id},
                ":first": {"S": first or "\0"},
                ":last": {"S": last},
            },
            "ConsistentRead": True,
        }

    def _query(self, campaign_id: str, first: str, last: str) -> Iterator[dict[str, Any]]:
        request = self._between(campaign_id, first, last)
        while True:
            answer = self._dynamodb.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _meta(
        self, campaign: Campaign, revision: int, untold: list[tuple[str, str]]
    ) -> dict[str, Any]:
        return {
            **_key(campaign.id, "meta"),
            "record": _text(campaign),
            "revision": {"N": str(revision)},
            "untold": {"S": _encode(untold).decode()},
        }


def _lists(vehicles: Sequence[Candidate]) -> list[str]:
    """The list in parts that fit into an item each; one part when it is empty."""
    parts: list[list[Candidate]] = [[]]
    size = total = 0
    for vehicle in vehicles:
        more = len(_encode(vehicle)) + 1
        if parts[-1] and size + more > LIST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(vehicle)
        size, total = size + more, total + more
    if total > LISTS_BYTES:
        raise TooLongError(f"vehicles: {total:,} bytes of names (allowed: {LISTS_BYTES:,})")
    return [_encode(part).decode() for part in parts]


def _audit(campaign_id: str, entry: AuditEntry, revision: int, place: int) -> dict[str, Any]:
    """In the order of time, and of one moment's entries in that of the decisions."""
    record = _encode(entry)
    digest = hashlib.sha256(record).hexdigest()[:8]
    item = f"audit#{entry.at_ms:015d}#{revision:06d}#{place:02d}#{digest}"
    return {**_key(campaign_id, item), "record": {"S": record.decode()}}


def _key(campaign_id: str, item: str) -> dict[str, Any]:
    return {"campaign": {"S": campaign_id}, "item": {"S": item}}


def _text(record: msgspec.Struct) -> dict[str, Any]:
    return {"S": _encode(record).decode()}


def _condition_failed(error: ClientError) -> bool:
    """A condition did not hold, or another transaction is at the same item: read again."""
    code = error.response["Error"]["Code"]
    if code != "TransactionCanceledException":
        return code in ("ConditionalCheckFailedException", "TransactionConflictException")
    reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", ())}
    return bool(reasons & {"ConditionalCheckFailed", "TransactionConflict"})
