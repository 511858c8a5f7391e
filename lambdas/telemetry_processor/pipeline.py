"""One batch through its stages: archive, refusals, spots, vehicles.

The archive comes first: what follows can be made again from it. Spots come before vehicles: a
sequence number in a vehicle's `applied` says that all of the message's work is done. Every stage
may be repeated with the same or another cut of the same records.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import h3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fleet_sim.contract import SpotRegistry, VehicleView
from fleet_sim.contract.registry import REGISTRY_KEY, SPOT_CELL_RESOLUTION
from fleet_sim.contract.tables import (
    AttributeMap,
    Observation,
    SpotBelief,
    new_spot,
    text_attribute,
)
from telemetry_processor import logic, spots
from telemetry_processor.logic import Accepted, Incoming, Refused
from telemetry_processor.store import Table, Write


class Outcome(NamedTuple):
    """What became of a batch."""

    failed: dict[str, str]
    """Sequence number → reason, of records that must be tried again."""
    accepted: int
    refused: int
    spots: int
    """Spots that were looked at."""


class Pipeline:
    """The processor's stages and what they keep between batches. One a process; not thread-safe."""

    def __init__(
        self,
        *,
        s3: Any,
        dynamodb: Any,
        sqs: Any,
        bucket: str,
        vehicles_table: str,
        spots_table: str,
        queue_url: str,
        now_ms: Callable[[], float],
    ) -> None:
        self._s3, self._sqs = s3, sqs
        self._bucket, self._queue_url = bucket, queue_url
        self._vehicles = Table(dynamodb, vehicles_table, "vin", "state")
        self._spots = Table(dynamodb, spots_table, "id", "recent")
        self._now_ms = now_ms
        self._run = ""
        self._index: spots.SpotIndex | None = None
        self._etag = ""

    def process(self, records: Sequence[Incoming]) -> Outcome:
        """Take one batch through all stages. An exception means: try the whole batch again."""
        processed_ms = self._now_ms()
        if not records:
            return Outcome({}, 0, 0, 0)
        self._s3.put_object(
            Bucket=self._bucket,
            Key=logic.archive_key(records),
            Body=logic.archive_body(records, processed_ms),
            ContentType="application/gzip",
        )
        accepted: list[Accepted] = []
        refused: list[Refused] = []
        for record in records:
            decoded = logic.decode(record)
            (accepted if isinstance(decoded, Accepted) else refused).append(decoded)  # type: ignore[arg-type]
        failed = self._report(refused)
        if accepted:
            self._begin_run(max(item.record.run for item in accepted))
        looks = self._observe(accepted)
        failed.update(self._store_spots(looks))
        ready = [item for item in accepted if item.incoming.sequence not in failed]
        failed.update(self._store_vehicles(ready, processed_ms))
        return Outcome(failed, len(accepted), len(refused), len(looks))

    # --- refusals ---------------------------------------------------------------------------------

    def _report(self, refused: Sequence[Refused]) -> dict[str, str]:
        """Send refusals to the failure queue; those that the queue did not take failed."""
        failed = {}
        for start in range(0, len(refused), 10):
            chunk = refused[start : start + 10]
            entries = [
                {"Id": str(i), "MessageBody": msgspec.json.encode(logic.refusal(item)).decode()}
                for i, item in enumerate(chunk)
            ]
            try:
                answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            except (ClientError, BotoCoreError) as error:
                # The batch's good records do not wait for the queue.
                failed.update({r.incoming.sequence: f"failure queue: {error}" for r in chunk})
                continue
            for entry in answer.get("Failed", ()):
                item = chunk[int(entry["Id"])]
                failed[item.incoming.sequence] = f"failure queue: {entry.get('Message', '')}"
        return failed

    # --- spots ------------------------------------------------------------------------------------

    def _begin_run(self, run: str) -> None:
        """A newer run may come with another registry."""
        if self._index is not None and run <= self._run:
            return
        self._run = run
        try:
            condition = {"IfNoneMatch": self._etag} if self._etag else {}
            answer = self._s3.get_object(Bucket=self._bucket, Key=REGISTRY_KEY, **condition)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 304:
                return
            if status != 404:
                raise
            self._index, self._etag = spots.SpotIndex(SpotRegistry("", [])), ""
            return
        body = gzip.decompress(answer["Body"].read())
        self._index = spots.SpotIndex(msgspec.json.decode(body, type=SpotRegistry))
        self._etag = answer["ETag"]

    def _observe(
        self, accepted: Iterable[Accepted]
    ) -> dict[str, list[tuple[Accepted, Observation]]]:
        """Spot id → what the batch's records saw of it."""
        looks: dict[str, list[tuple[Accepted, Observation]]] = {}
        for item in accepted:
            assert self._index is not None
            for spot_id, look in spots.observe(self._index, item.record):
                looks.setdefault(spot_id, []).append((item, look))
        return looks

    def _store_spots(self, looks: dict[str, list[tuple[Accepted, Observation]]]) -> dict[str, str]:
        def compute(spot_id: str, item: AttributeMap | None) -> Write | None:
            current = _spot_state(item)
            seen = ((source.record.run, look) for source, look in looks[spot_id])
            merged = spots.merge(current, seen)
            return None if merged is None else self._spot_write(spot_id, item, merged)

        failed = self._spots.update(looks, compute)
        return {
            source.incoming.sequence: f"spot {spot_id}: {reason}"
            for spot_id, reason in failed.items()
            for source, _ in looks[spot_id]
        }

    def _spot_write(self, spot_id: str, item: AttributeMap | None, state: spots.SpotState) -> Write:
        attributes = {
            "belief": text_attribute(spots.belief(state)),
            "recent": text_attribute(state.recent),
        }
        if item is not None:
            return Write(attributes, {})
        assert self._index is not None
        spot = self._index.by_id[spot_id]
        cell = h3.latlng_to_cell(spot.lat, spot.lon, SPOT_CELL_RESOLUTION)
        return Write(attributes, new_spot(spot.id, cell, spot.lat, spot.lon, spot.street))

    # --- vehicles ---------------------------------------------------------------------------------

    def _store_vehicles(self, accepted: Iterable[Accepted], processed_ms: float) -> dict[str, str]:
        by_vin: dict[str, list[Accepted]] = {}
        for item in accepted:
            by_vin.setdefault(item.record.vin, []).append(item)
        refused: dict[str, list[Refused]] = {}

        def compute(vin: str, item: AttributeMap | None) -> Write | None:
            current = None if item is None else _view.decode(item["state"]["S"])
            fold = logic.fold_vehicle(current, by_vin[vin], processed_ms)
            refused[vin] = fold.refused
            if fold.view is None:
                return None
            view = fold.view
            if not view.stored_ms:  # a late record leaves the newest message's times as they are
                view = msgspec.structs.replace(view, stored_ms=self._now_ms())
            return Write({"state": text_attribute(view)}, {})

        failed = self._vehicles.update(by_vin, compute)
        answer = self._report([item for items in refused.values() for item in items])
        for vin, reason in failed.items():
            for item in by_vin[vin]:
                answer[item.incoming.sequence] = f"vehicle {vin}: {reason}"
        return answer


_view = msgspec.json.Decoder(VehicleView)
_belief = msgspec.json.Decoder(SpotBelief)
_recent = msgspec.json.Decoder(tuple[Observation, ...])


def _spot_state(item: AttributeMap | None) -> spots.SpotState:
    if item is None:
        return spots.SpotState("", ())
    run = _belief.decode(item["belief"]["S"]).run
    return spots.SpotState(run, _recent.decode(item["recent"]["S"]))
