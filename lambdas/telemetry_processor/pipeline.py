"""One batch through its stages: archive, refusals, vehicles planned, spots, vehicles.

The archive comes first: what follows can be made again from it. Spots are written before vehicles:
a sequence number in a vehicle's `applied` says that all of the message's work is done or waits in
its `track`, which is written with it. Every stage may be repeated with the same or another cut of
the same records: a vehicle's item is written only if it is still the one that was planned from, and
the same records make the same looks, which a spot takes once.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import h3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fleet_sim.contract import SpotRegistry, VehicleView, counters
from fleet_sim.contract.registry import REGISTRY_KEY, SPOT_CELL_RESOLUTION
from fleet_sim.contract.tables import (
    AttributeMap,
    Observation,
    SpotBelief,
    new_spot,
    text_attribute,
)
from telemetry_processor import logic, matching, spots, track
from telemetry_processor.logic import Accepted, Incoming, Refused
from telemetry_processor.store import Table, Write

_TRANSACTION = 100
"""Items of a TransactWriteItems at most."""
_ROUNDS = 5
"""Of planning a vehicle whose item another process has written meanwhile."""


class Outcome(NamedTuple):
    """What became of a batch."""

    failed: dict[str, str]
    """Sequence number → reason, of records that must be tried again."""
    accepted: int
    refused: int
    spots: int
    """Spots that were looked at."""
    uncounted: str = ""
    """Why the counters were not written. Trying again would not make up for it: they heal as what
    is counted ends."""


class Look(NamedTuple):
    vin: str
    run: str
    seen: Observation


class Plan(NamedTuple):
    """What a batch makes of a vehicle."""

    planned_from: str | None
    """The item's lock; None when there was no item."""
    view: VehicleView | None
    """None when nothing changes."""
    track: track.Track
    looks: list[tuple[str, Observation]]
    run: str
    refused: list[Refused]
    current: VehicleView | None = None
    """What it was planned from."""


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
        max_ahead_ms: float = logic.MAX_AHEAD_MS,
        counters_table: str = "",
    ) -> None:
        """Nothing is counted without a `counters_table`."""
        self._dynamodb, self._counters_table = dynamodb, counters_table
        self._moves = counters.Moves()
        self._s3, self._sqs = s3, sqs
        self._bucket, self._queue_url = bucket, queue_url
        self._vehicles = Table(dynamodb, vehicles_table, "vin", "state")
        self._spots = Table(dynamodb, spots_table, "id", "recent")
        self._now_ms = now_ms
        self._max_ahead_ms = max_ahead_ms
        self._run = ""
        self._index: spots.SpotIndex | None = None
        self._etag = ""
        self._ahead_ms = -math.inf

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
            decoded = logic.decode(record, self._max_ahead_ms)
            (accepted if isinstance(decoded, Accepted) else refused).append(decoded)  # type: ignore[arg-type]
        failed = self._report(refused)
        if accepted:
            self._begin_run(max(item.record.run for item in accepted))
            # The least delayed record tells how the vehicles' clock is to ours.
            # None of them may be of the newest run: an older one's last messages come late.
            self._ahead_ms = max(
                [
                    self._ahead_ms,
                    *(
                        item.record.ts - item.incoming.arrival_ms
                        for item in accepted
                        if item.record.run == self._run
                    ),
                ]
            )
        self._moves = counters.Moves()
        applied, looked_at = self._apply(accepted, processed_ms)
        failed.update(applied)
        uncounted = self._count(records[0].shard)
        return Outcome(failed, len(accepted), len(refused), looked_at, uncounted)

    def _apply(
        self, accepted: Iterable[Accepted], processed_ms: float
    ) -> tuple[dict[str, str], int]:
        """Vehicles and their looks; answers what failed, and how many spots were looked at."""
        pending: dict[str, list[Accepted]] = {}
        for item in accepted:
            pending.setdefault(item.record.vin, []).append(item)
        failed: dict[str, str] = {}
        looked_at: set[str] = set()
        for _ in range(_ROUNDS):
            if not pending:
                break
            plans = {
                vin: self._plan(vin, item, pending[vin], processed_ms)
                for vin, item in self._vehicles.read(pending).items()
            }
            overtaken = self._stale(plans)
            for vin in overtaken:
                del plans[vin]
            looks: dict[str, list[Look]] = {}
            for vin, plan in plans.items():
                for spot_id, look in plan.looks:
                    looks.setdefault(spot_id, []).append(Look(vin, plan.run, look))
            looked_at.update(looks)
            for vin, reason in self._store_spots(looks).items():
                failed.update({item.incoming.sequence: reason for item in pending.pop(vin)})
                del plans[vin]
            broken, lost = self._store_vehicles(plans)
            overtaken |= lost
            for vin, reason in broken.items():
                failed.update({item.incoming.sequence: reason for item in pending[vin]})
            refused = [
                item
                for vin, plan in plans.items()
                if vin not in broken and vin not in overtaken
                for item in plan.refused
            ]
            failed.update(self._report(refused))
            pending = {vin: pending[vin] for vin in overtaken}
        for vin, items in pending.items():
            reason = f"vehicle {vin}: overtaken {_ROUNDS} times"
            failed.update({item.incoming.sequence: reason for item in items})
        return failed, len(looked_at)

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
        self._run, self._ahead_ms = run, -math.inf
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

    def _store_spots(self, looks: dict[str, list[Look]]) -> dict[str, str]:
        """Answers the vehicles of which a look could not be stored, with the reason."""
        written: dict[str, tuple[SpotBelief, SpotBelief]] = {}

        def compute(spot_id: str, item: AttributeMap | None) -> Write | None:
            current = _spot_state(item)
            merged = spots.merge(current, ((look.run, look.seen) for look in looks[spot_id]))
            written.pop(spot_id, None)
            if merged is None:
                return None
            write = self._spot_write(spot_id, item, merged)
            written[spot_id] = _belief_of(item), _belief_of(write.attributes)
            return write

        failed = self._spots.update(looks, compute)
        for spot_id, (before, after) in written.items():
            if spot_id not in failed:
                self._moves.add(counters.spot_counts(before), counters.spot_counts(after))
        return {
            look.vin: f"spot {spot_id}: {reason}"
            for spot_id, reason in failed.items()
            for look in looks[spot_id]
        }

    def _spot_write(self, spot_id: str, item: AttributeMap | None, state: spots.SpotState) -> Write:
        ahead_ms = round(self._ahead_ms) if math.isfinite(self._ahead_ms) else 0
        belief = msgspec.structs.replace(spots.belief(state), ahead_ms=ahead_ms)
        attributes = {
            "belief": text_attribute(belief),
            "recent": text_attribute(state.recent),
        }
        if item is not None:
            return Write(attributes, {})
        assert self._index is not None
        spot = self._index.by_id[spot_id]
        cell = h3.latlng_to_cell(spot.lat, spot.lon, SPOT_CELL_RESOLUTION)
        return Write(attributes, new_spot(spot.id, cell, spot.lat, spot.lon, spot.street))

    # --- vehicles ---------------------------------------------------------------------------------

    def _plan(
        self, vin: str, item: AttributeMap | None, records: list[Accepted], processed_ms: float
    ) -> Plan:
        """What this batch makes of a vehicle whose item is `item`."""
        current = None if item is None else _view.decode(item["state"]["S"])
        fold = logic.fold_vehicle(current, records, processed_ms)
        if fold.view is None:
            return Plan(_locked(item), None, track.Track(), [], "", fold.refused)
        assert self._index is not None
        held = track.Track()
        if item is not None and "track" in item:
            held = _track.decode(item["track"]["S"])
        run = fold.view.run
        kept, stretches = track.advance(
            held, run, (of.record for of in fold.fresh), self._index.near_cm
        )
        looks: list[tuple[str, Observation]] = []
        error = kept.error
        for stretch in stretches:
            found, error = matching.judge(self._index, vin, stretch, error)
            looks += found
        if error is not kept.error:
            kept = msgspec.structs.replace(kept, error=error)
        return Plan(_locked(item), fold.view, kept, looks, run, fold.refused, current)

    def _stale(self, plans: dict[str, Plan]) -> set[str]:
        """Vehicles whose looks rest on an item that another process has replaced.

        A shard's batches may go to several processes in turns, each remembering items. A failed
        condition would find that out too, but after the looks were stored.
        """
        judged = [vin for vin, plan in plans.items() if plan.looks]
        if not judged:
            return set()
        now = self._vehicles.read(judged, anew=True)
        return {vin for vin, item in now.items() if _locked(item) != plans[vin].planned_from}

    def _store_vehicles(self, plans: dict[str, Plan]) -> tuple[dict[str, str], set[str]]:
        """Answers those that failed, with the reason, and those whose item is another by now."""
        overtaken: set[str] = set()

        def compute(vin: str, item: AttributeMap | None) -> Write | None:
            plan = plans[vin]
            overtaken.discard(vin)
            if plan.view is None:
                return None
            if _locked(item) != plan.planned_from:
                overtaken.add(vin)
                return None
            view = plan.view
            if not view.stored_ms:  # a late record leaves the newest message's times as they are
                view = msgspec.structs.replace(view, stored_ms=self._now_ms())
            return Write({"state": text_attribute(view), "track": text_attribute(plan.track)}, {})

        failed = self._vehicles.update(plans, compute)
        for vin, plan in plans.items():
            if plan.view is not None and vin not in failed and vin not in overtaken:
                self._moves.add_vehicle(plan.current, plan.view)
        return {vin: f"vehicle {vin}: {reason}" for vin, reason in failed.items()}, overtaken

    # --- counters ---------------------------------------------------------------------------------

    def _count(self, shard: str) -> str:
        """Write what has moved, as a whole or not at all; answers why it was not."""
        if not self._counters_table:
            return ""
        updates = [
            {"Update": counters.update_of(self._counters_table, slot, shard, moved)}
            for slot, moved in self._moves.items(self._now_ms())
        ]
        try:
            for start in range(0, len(updates), _TRANSACTION):
                self._dynamodb.transact_write_items(
                    TransactItems=updates[start : start + _TRANSACTION]
                )
        except (ClientError, BotoCoreError) as error:
            return str(error)
        return ""


def _locked(item: AttributeMap | None) -> str | None:
    """The text that a write of this item is conditional on."""
    return None if item is None else str(item["state"]["S"])


_view = msgspec.json.Decoder(VehicleView)
_track = msgspec.json.Decoder(track.Track)
_belief = msgspec.json.Decoder(SpotBelief)
_recent = msgspec.json.Decoder(tuple[Observation, ...])


def _belief_of(item: AttributeMap | None) -> SpotBelief:
    return SpotBelief() if item is None else _belief.decode(item["belief"]["S"])


def _spot_state(item: AttributeMap | None) -> spots.SpotState:
    if item is None:
        return spots.SpotState("", ())
    run = _belief.decode(item["belief"]["S"]).run
    return spots.SpotState(run, _recent.decode(item["recent"]["S"]))
