"""Appending to a stream from inside the process, as PutRecord does through the API."""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from bisect import bisect_right
from typing import Any

from fleet_sim.cloud.local.gaps import _seam

_EXPIRY_EVERY = 1024


class StreamMissingError(LookupError):
    """There is no such stream, or it is not active."""


class StreamWriter:
    """Appends records; keeps each stream's hash ranges in a form that is quick to search."""

    def __init__(self) -> None:
        self._kinesis = _seam.service("kinesis")
        _seam.expect(self._kinesis, "_streams", "_next_sequence_number", "_expire_records")
        # id of a stream's shards -> (the shards, their ids, first hash of each, shards by hash)
        self._routes: dict[int, tuple[Any, list[str], list[int], list[Any]]] = {}
        self._appended = 0

    def append(
        self, account_id: str, region: str, stream_name: str, partition_key: str, data: bytes
    ) -> None:
        """Raises `StreamMissingError`, and ValueError for a key that Kinesis would refuse."""
        stream = self._kinesis._streams.get_scoped(account_id, region, stream_name)
        if stream is None or stream["StreamStatus"] != "ACTIVE":
            raise StreamMissingError(f"Stream {stream_name} under account {account_id} not found.")
        if not 0 < len(partition_key) <= 256:
            raise ValueError("the partition key must have 1 to 256 characters")
        # The oldest are looked at now and then, not for every record.
        self._appended += 1
        if self._appended % _EXPIRY_EVERY == 0:
            self._kinesis._expire_records(stream)
        self._shard(stream, partition_key)["records"].append(
            {
                "SequenceNumber": self._kinesis._next_sequence_number(),
                "ApproximateArrivalTimestamp": round(time.time(), 3),
                "Data": b64encode(data).decode("ascii"),
                "PartitionKey": partition_key,
            }
        )

    def _shard(self, stream: Any, partition_key: str) -> Any:
        shards = stream["shards"]
        route = self._routes.get(id(shards))
        if route is None or route[0] is not shards or route[1] != list(shards):
            ordered = sorted(shards.values(), key=lambda shard: int(shard["starting_hash_key"]))
            starts = [int(shard["starting_hash_key"]) for shard in ordered]
            route = (shards, list(shards), starts, ordered)
            self._routes[id(shards)] = route
        digest = hashlib.md5(partition_key.encode(), usedforsecurity=False).digest()
        return route[3][bisect_right(route[2], int.from_bytes(digest)) - 1]
