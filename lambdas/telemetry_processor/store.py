"""Conditional writes to a DynamoDB table, many in one request.

An update names the text it has read of one attribute, the lock; one that meets another text is
computed again from what is there now. Requests are PartiQL batches of 25: each statement succeeds
or fails by itself and costs what a single write costs (a transaction costs twice that).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

from fleet_sim.contract.tables import AttributeMap

_READ = 100
"""Keys of a BatchGetItem at most."""
_WRITE = 25
"""Statements of a BatchExecuteStatement at most."""
_CACHED = 100_000

_CONFLICTS = frozenset({"ConditionalCheckFailed", "DuplicateItem", "TransactionConflict"})
_PASSING = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
    }
)

T = TypeVar("T")


class StoreError(RuntimeError):
    """DynamoDB refused a statement for a reason that a retry does not change."""


class DynamoDb(Protocol):
    """The two calls used of a boto3 client."""

    def batch_get_item(self, **request: Any) -> Any: ...
    def batch_execute_statement(self, **request: Any) -> Any: ...


class Write(NamedTuple):
    """New values of an item's attributes. `insert` completes them where there is no item yet."""

    attributes: AttributeMap
    insert: AttributeMap


class Table:
    """One table, and the items of it that this process has seen last.

    The cache saves reads: a vehicle is always written from the same shard. A stale entry costs one
    failed condition, even when the table was emptied or filled anew.
    """

    def __init__(
        self,
        client: DynamoDb,
        name: str,
        key: str,
        lock: str,
        *,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._name = name
        self._key = key
        self._lock = lock
        self._attempts = attempts
        self._sleep = sleep
        self._cache: dict[str, AttributeMap | None] = {}

    def forget(self) -> None:
        """Drop the cache."""
        self._cache.clear()

    def read(self, keys: Iterable[str], *, anew: bool = False) -> dict[str, AttributeMap | None]:
        """The items of these keys, None for those that are not there: as this process saw them
        last, or `anew`."""
        asked = list(dict.fromkeys(keys))
        self._read([key for key in asked if anew or key not in self._cache])
        return {key: self._cache[key] for key in asked}

    def update(
        self, keys: Iterable[str], compute: Callable[[str, AttributeMap | None], Write | None]
    ) -> dict[str, str]:
        """Write `compute(key, item)` for each key; None leaves the item alone.

        `compute` is called again with the new item after a conflict. Answers the keys that could
        not be written in the allowed attempts, with the last reason. `StoreError` and the client's
        own errors are for the caller.
        """
        pending = list(dict.fromkeys(keys))
        failed: dict[str, str] = {}
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(0.02 * 2**attempt)
            self._read([key for key in pending if key not in self._cache])
            writes = []
            for key in pending:
                item = self._cache[key]
                write = compute(key, item)
                if write is not None:
                    writes.append((key, item, write))
            failed = {}
            for chunk in _chunks(writes, _WRITE):
                failed.update(self._execute(chunk))
            if not failed:
                break
            pending = list(failed)
        if len(self._cache) > _CACHED:
            self.forget()
        return failed

    def _read(self, keys: Sequence[str]) -> None:
        for chunk in _chunks(keys, _READ):
            for key in chunk:
                self._cache[key] = None
            request = {self._name: {"Keys": [{self._key: {"S": key}} for key in chunk]}}
            request[self._name]["ConsistentRead"] = True  # type: ignore[assignment]
            for attempt in range(self._attempts):
                answer = self._client.batch_get_item(RequestItems=request)
                for item in answer["Responses"].get(self._name, ()):
                    self._cache[item[self._key]["S"]] = item
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
                self._sleep(0.02 * 2**attempt)
            else:
                for key in chunk:
                    del self._cache[key]
                raise StoreError(f"{self._name}: BatchGetItem left keys unprocessed")

    def _execute(self, writes: Sequence[tuple[str, AttributeMap | None, Write]]) -> dict[str, str]:
        """Run one batch; answers the keys that must be tried again."""
        statements, items = [], []
        for key, item, write in writes:
            if item is None:
                new = {self._key: {"S": key}, **write.insert, **write.attributes}
                statements.append(self._insert(new))
            else:
                new = {**item, **write.attributes}
                statements.append(self._update(key, item[self._lock], write.attributes))
            items.append(new)
        answer = self._client.batch_execute_statement(Statements=statements)
        failed = {}
        for (key, _, _), new, response in zip(writes, items, answer["Responses"], strict=True):
            error = response.get("Error")
            if error is None:
                self._cache[key] = new
                continue
            code, message = error.get("Code", "unknown"), error.get("Message", "")
            if code not in _CONFLICTS and code not in _PASSING:
                self._cache.pop(key, None)
                raise StoreError(f"{self._name} {key}: {code}: {message}")
            failed[key] = f"{code}: {message}"
            self._cache.pop(key, None)
        return failed

    def _insert(self, item: AttributeMap) -> dict[str, Any]:
        names = ", ".join(f"'{name}': ?" for name in item)
        return {
            "Statement": f'INSERT INTO "{self._name}" VALUE {{{names}}}',
            "Parameters": list(item.values()),
        }

    def _update(self, key: str, was: AttributeMap, attributes: AttributeMap) -> dict[str, Any]:
        assignments = " ".join(f'SET "{name}" = ?' for name in attributes)
        return {
            "Statement": (
                f'UPDATE "{self._name}" {assignments} '
                f'WHERE "{self._key}" = ? AND "{self._lock}" = ?'
            ),
            "Parameters": [*attributes.values(), {"S": key}, was],
        }


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
