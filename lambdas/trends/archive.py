"""The data bucket: hours of the archive in, counted hours out."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from fleet_sim.contract import SpotRegistry
from fleet_sim.contract.registry import REGISTRY_KEY
from fleet_sim.contract.trends import HOURLY_PREFIX, HourlyOccupancy
from telemetry_processor.spots import SpotIndex
from trends import hours
from trends.looks import Replay

READS = 16
"""Objects fetched at once."""
OPEN_H = 2
"""An hour's partition may still change so many hours after the newest one that was counted: an
object is filed by its first record's arrival, and a batch may be tried again for a while."""

_lines = msgspec.json.Decoder(HourlyOccupancy)


class Bucket:
    """The data bucket. Counting is by hour and may be repeated: the same archive makes the same
    object, and an hour whose object is there is not counted again."""

    def __init__(self, s3: Any, name: str, sample_percent: int = 100) -> None:
        self._s3, self._name, self._sample = s3, name, sample_percent
        self._pool = ThreadPoolExecutor(READS)

    def city(self) -> SpotIndex | None:
        """The deployed stalls; None where there are none."""
        try:
            body = self._get(REGISTRY_KEY)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return SpotIndex(msgspec.json.decode(body, type=SpotRegistry))

    def stale(self, city: str, since: str) -> Iterator[tuple[str, list[str]]]:
        """Partitions from `since` (`dt=…/hour=…/`, or empty) on whose count is missing or of other
        objects: the key it will have, and the archive's keys."""
        counted = set(self._keys(HOURLY_PREFIX, since))
        partitions: dict[str, list[str]] = {}
        for key in self._keys(hours.ARCHIVE_PREFIX, since):
            partition = hours.partition_of(key)
            if partition is not None:
                partitions.setdefault(partition, []).append(key)
        for partition, keys in partitions.items():
            wanted = hours.hourly_key(partition, city, keys, self._sample)
            if wanted not in counted:
                yield wanted, sorted(keys, key=hours.replay_order)

    def newest(self) -> str:
        """The newest partition that was counted; empty when there is none."""
        partitions = [hours.partition_of(key) or "" for key in self._keys(HOURLY_PREFIX, "")]
        return max(partitions, default="")

    def count(self, city: SpotIndex, into: str, keys: Iterable[str]) -> int:
        """Count one partition; answers how many records it took."""
        tally, replay = hours.Tally(city.city), Replay(city, self._sample)
        for body in self._each(keys, self._get):
            tally.add(replay.take(body))
        tally.add(replay.end())
        body = b"\n".join(msgspec.json.encode(line) for line in tally.lines())
        self._s3.put_object(
            Bucket=self._name,
            Key=into,
            Body=gzip.compress(body, mtime=0),
            ContentType="application/gzip",
        )
        # Those made of less. Last: dying in between leaves two, and the newest counts.
        folder = into.rsplit("/", 1)[0] + "/"
        for key, _ in self._objects(folder, ""):
            if key != into:
                self._s3.delete_object(Bucket=self._name, Key=key)
        return replay.records

    def fold(self, weeks: hours.Weeks) -> None:
        """Take all counted hours into `weeks`."""
        newest: dict[str, tuple[Any, str]] = {}
        for key, modified in self._objects(HOURLY_PREFIX, ""):
            partition = hours.partition_of(key)
            if partition is not None:
                newest[partition] = max(newest.get(partition, (modified, key)), (modified, key))
        for body in self._each([key for _, key in newest.values()], self._get):
            weeks.add(_lines.decode(line) for line in body.splitlines())

    def _each(self, keys: Iterable[str], read: Callable[[str], bytes]) -> Iterator[bytes]:
        """Bodies in order, some ahead of the reader but not all: an hour may be gigabytes."""
        waiting: list[Any] = []
        for key in keys:
            waiting.append(self._pool.submit(read, key))
            if len(waiting) >= READS:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def _get(self, key: str) -> bytes:
        body = self._s3.get_object(Bucket=self._name, Key=key)["Body"].read()
        return gzip.decompress(body)

    def _keys(self, prefix: str, since: str) -> Iterator[str]:
        return (key for key, _ in self._objects(prefix, since))

    def _objects(self, prefix: str, since: str) -> Iterator[tuple[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(
            Bucket=self._name, Prefix=prefix, StartAfter=prefix + since if since else ""
        ):
            for item in page.get("Contents", ()):
                yield item["Key"], item["LastModified"]
