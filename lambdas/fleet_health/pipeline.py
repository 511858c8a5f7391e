"""What is done about archived objects, lifecycle events and the clock's minute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import ClientError

from fleet_health import logic, presence
from fleet_health.store import Claims, Flags, PresenceTable

_GONE = ("NoSuchKey", "404")


class Outcome(NamedTuple):
    """What became of a batch of messages."""

    failed: dict[str, str]
    """Message id → reason, of those that must be delivered again."""
    log: dict[str, int]


class Health:
    """The function's work. One a process; not thread-safe."""

    def __init__(
        self,
        *,
        s3: Any,
        cloudwatch: Any,
        claims: Claims,
        presences: PresenceTable,
        flags: Flags,
        wanted: str,
        min_soc: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._s3, self._cloudwatch = s3, cloudwatch
        self._claims, self._presences, self._flags = claims, presences, flags
        self._wanted, self._min_soc = wanted, min_soc
        self._now_ms = now_ms

    def archived(self, messages: Mapping[str, str], lease_ms: int) -> Outcome:
        """Counts the objects that events of S3 name. `messages`: id → body.

        Each object is claimed first and marked as counted last. A process that dies between the
        two counts it again when the lease is over: PutMetricData cannot be undone, so what is least
        often repeated comes last, the counting.
        """
        failed: dict[str, str] = {}
        counted: dict[str, str] = {}
        summary = logic.Summary()
        repeated = gone = 0
        for message_id, body in messages.items():
            try:
                bucket, key = _object(body)
            except msgspec.MsgspecError as error:
                failed[message_id] = f"no event of S3: {error}"
                continue
            name = f"{bucket}/{key}"
            state = self._claims.take(name, self._now_ms(), lease_ms)
            if state == "done" or name in counted.values():
                repeated += 1
            elif state == "busy":
                failed[message_id] = f"{key}: another process counts it"
            else:
                try:
                    summary.add(self._read(bucket, key))
                except logic.NotAnArchiveError as error:
                    failed[message_id] = f"{key}: {error}"
                    continue
                except ClientError as error:
                    if error.response["Error"]["Code"] not in _GONE:
                        raise
                    gone += 1
                counted[message_id] = name
        flagged = self._flag(summary)
        if counted:
            self._put([*logic.presence_metrics(*self._presences.counts()),
                       *logic.archive_metrics(summary)])  # fmt: skip
            self._claims.finish(counted.values(), self._now_ms())
        log = {"objects": len(counted), "repeated": repeated, "gone": gone,
               "points": summary.points, "invalid": summary.invalid,
               "flagged": flagged[0], "unflagged": flagged[1]}  # fmt: skip
        return Outcome(failed, log)

    def connected(self, messages: Mapping[str, str]) -> Outcome:
        """Takes lifecycle events. `messages`: id → body."""
        failed: dict[str, str] = {}
        events = []
        for message_id, body in messages.items():
            try:
                events.append(presence.decode(body))
            except msgspec.MsgspecError as error:
                failed[message_id] = f"no lifecycle event: {error}"
        ours = [event for event in events if event is not None]
        by_vehicle = defaultdict(list)
        for event in ours:
            by_vehicle[event.client_id].append(event)

        def fold(known: Mapping[str, Any]) -> Mapping[str, presence.Change]:
            return presence.fold(known, [event for vin in known for event in by_vehicle[vin]])

        changed = self._presences.apply(list(by_vehicle), fold)
        others = len(events) - len(ours)
        return Outcome(failed, {"events": len(ours), "changed": changed, "others": others})

    def minute(self) -> dict[str, int]:
        """Says how many are connected, whether telemetry comes or not."""
        online, lost = self._presences.counts()
        self._put(logic.presence_metrics(online, lost))
        return {"online": online, "lost": lost}

    def _read(self, bucket: str, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def _flag(self, summary: logic.Summary) -> tuple[int, int]:
        if not self._wanted:
            return 0, 0
        vehicles = summary.vehicles.items()
        wanted = logic.flags(vehicles, self._wanted, self._min_soc, self._now_ms())
        current = [vin for vin, seen in vehicles if logic.is_current(seen.fw, self._wanted)]
        return self._flags.apply(wanted, current)

    def _put(self, data: Iterable[tuple[str, dict[str, Any]]]) -> None:
        by_namespace = defaultdict(list)
        for namespace, datum in data:
            by_namespace[namespace].append(datum)
        # Gauges first (FleetHealth): said twice they are as true as said once.
        for namespace in sorted(by_namespace):
            self._cloudwatch.put_metric_data(
                Namespace=namespace, MetricData=by_namespace[namespace]
            )


class _Name(msgspec.Struct, frozen=True):
    name: str = ""
    key: str = ""


class _Detail(msgspec.Struct, frozen=True):
    bucket: _Name
    object: _Name


class _ObjectCreated(msgspec.Struct, frozen=True):
    """EventBridge's event of S3, as far as it is read here. Its keys are not URL-encoded."""

    detail: _Detail


def _object(body: str) -> tuple[str, str]:
    event = msgspec.json.decode(body, type=_ObjectCreated)
    return event.detail.bucket.name, event.detail.object.key
