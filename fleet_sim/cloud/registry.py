"""The spot registry's way to the cloud: the object that the processor reads, and the spots table.

Do it before a run's first message: the processor looks for a changed registry when it meets a newer
run.
"""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import h3
import msgspec

from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.target import Target
from fleet_sim.contract import SpotRegistry, StreetNetwork, counters
from fleet_sim.contract.registry import (
    CELLS_KEY,
    REGISTRY_KEY,
    SPOT_CELL_RESOLUTION,
    STREETS_KEY,
    SpotCells,
)
from fleet_sim.contract.tables import new_spot

_BATCH = 25
"""Requests of a BatchWriteItem at most."""
_ATTEMPTS = 10

OnProgress = Callable[[int, int], None]
T = TypeVar("T")


class RegistryError(RuntimeError):
    """The registry or the tables could not be written."""


def upload(
    target: Target,
    outputs: StackOutputs,
    registry: SpotRegistry,
    streets: StreetNetwork | None = None,
    *,
    on_progress: OnProgress = lambda *_: None,
) -> None:
    """Put the registry where the processor reads it, and make the spots table hold its spots.

    Afterwards the table holds no other spots, and nothing is known of any. `streets` goes beside it
    for the API; without it no network is deployed. `on_progress(done, total)` counts writes. Raises
    `RegistryError`.
    """
    _put(target, outputs, REGISTRY_KEY, registry)
    cell_of = {
        spot.id: h3.latlng_to_cell(spot.lat, spot.lon, SPOT_CELL_RESOLUTION)
        for spot in registry.spots
    }
    # Before the streets: the API looks for new cells when there are new streets.
    _put(target, outputs, CELLS_KEY, SpotCells(registry.city, Counter(cell_of.values())))
    if streets is None:
        target.client("s3").delete_object(Bucket=outputs.data_bucket, Key=STREETS_KEY)
    else:
        _put(target, outputs, STREETS_KEY, streets)
    items = {
        spot.id: new_spot(
            spot.id,
            cell_of[spot.id],
            spot.lat,
            spot.lon,
            spot.street,
        )
        for spot in registry.spots
    }
    stale = [key for key in _keys(target, outputs.spots_table, "id") if key not in items]
    requests: list[dict[str, Any]] = [{"PutRequest": {"Item": item}} for item in items.values()]
    requests += [{"DeleteRequest": {"Key": {"id": {"S": key}}}} for key in stale]
    _write(target, outputs.spots_table, requests, on_progress)
    _forget_counts(target, outputs, counters.CALLS)
    target.client("dynamodb").put_item(
        TableName=outputs.counters_table, Item=counters.spots_item(len(items))
    )


def deployed_city(target: Target, outputs: StackOutputs) -> str | None:
    """`city` of the registry that is deployed; None where there is none."""
    s3 = target.client("s3")
    try:
        body = s3.get_object(Bucket=outputs.data_bucket, Key=REGISTRY_KEY)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    return msgspec.json.decode(gzip.decompress(body), type=SpotRegistry).city


def _put(target: Target, outputs: StackOutputs, key: str, document: msgspec.Struct) -> None:
    target.client("s3").put_object(
        Bucket=outputs.data_bucket,
        Key=key,
        Body=gzip.compress(msgspec.json.encode(document), mtime=0),
        ContentType="application/gzip",
    )


def purge_vehicles(target: Target, outputs: StackOutputs) -> int:
    """Forget all vehicles of former runs; answers how many."""
    keys = list(_keys(target, outputs.vehicles_table, "vin"))
    requests = [{"DeleteRequest": {"Key": {"vin": {"S": key}}}} for key in keys]
    _write(target, outputs.vehicles_table, requests, lambda *_: None)
    _forget_counts(target, outputs, counters.ONLINE, counters.FLEET)
    return len(keys)


def _forget_counts(target: Target, outputs: StackOutputs, *kinds: str) -> None:
    pages = target.client("dynamodb").get_paginator("query")
    keys = [
        {"kind": item["kind"], "at": item["at"]}
        for kind in kinds
        for page in pages.paginate(
            TableName=outputs.counters_table,
            KeyConditionExpression="kind = :k",
            ExpressionAttributeValues={":k": {"S": kind}},
        )
        for item in page["Items"]
    ]
    requests = [{"DeleteRequest": {"Key": key}} for key in keys]
    _write(target, outputs.counters_table, requests, lambda *_: None)


def _keys(target: Target, table: str, key: str) -> Iterator[str]:
    pages = target.client("dynamodb").get_paginator("scan")
    for page in pages.paginate(
        TableName=table, ProjectionExpression="#k", ExpressionAttributeNames={"#k": key}
    ):
        yield from (item[key]["S"] for item in page["Items"])


def _write(
    target: Target, table: str, requests: Sequence[dict[str, Any]], on_progress: OnProgress
) -> None:
    done = 0
    with ThreadPoolExecutor(4, thread_name_prefix="registry") as pool:
        for count in pool.map(
            lambda chunk: _write_chunk(target, table, chunk), _chunks(requests, _BATCH)
        ):
            done += count
            on_progress(done, len(requests))


def _write_chunk(target: Target, table: str, chunk: list[dict[str, Any]]) -> int:
    left: Any = {table: chunk}
    for attempt in range(_ATTEMPTS):
        left = target.client("dynamodb").batch_write_item(RequestItems=left)["UnprocessedItems"]
        if not left:
            return len(chunk)
        time.sleep(0.05 * 2**attempt)
    raise RegistryError(f"{table}: {len(left[table])} items were not taken in {_ATTEMPTS} attempts")


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
