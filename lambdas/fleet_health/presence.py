"""Who is connected, from lifecycle events in any order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from fleet_sim.contract.health import LifecycleEvent, Presence, PresenceState
from fleet_sim.contract.telemetry import Vin

CLOCKS_MS = 30 * 60_000
"""Events farther apart than this are ordered by time, closer ones by version: times are good to two
minutes, and versions begin again after an hour's absence."""

_decoder = msgspec.json.Decoder(LifecycleEvent)


class Change(NamedTuple):
    """Of one vehicle, by the events of a batch."""

    presence: Presence
    online: int
    """By how much the number of connected vehicles changes: -1, 0 or 1."""
    lost: int


def decode(body: str) -> LifecycleEvent | None:
    """The event; None when it is no vehicle's (another client of the account)."""
    event = _decoder.decode(body)
    try:
        msgspec.convert(event.client_id, Vin)
    except msgspec.ValidationError:
        return None
    return event


def fold(
    known: Mapping[str, Presence | None], events: Iterable[LifecycleEvent]
) -> dict[str, Change]:
    """What the events change, by vehicle; those that are older than what is known change nothing.

    `known` has every vehicle of the events.
    """
    now: dict[str, Presence | None] = dict(known)
    for event in events:
        before = now[event.client_id]
        if before is None or is_newer(event, before):
            now[event.client_id] = Presence(
                _state(event), event.version_number, event.timestamp, event.disconnect_reason
            )
    changes = {}
    for vin, presence in now.items():
        before = known[vin]
        if presence is not None and presence != before:
            was = None if before is None else before.state
            changes[vin] = Change(
                presence,
                (presence.state == "online") - (was == "online"),
                (presence.state == "lost") - (was == "lost"),
            )
    return changes


def is_newer(event: LifecycleEvent, known: Presence) -> bool:
    apart_ms = event.timestamp - known.at_ms
    if abs(apart_ms) > CLOCKS_MS:
        return apart_ms > 0
    # A connection's end comes after its beginning, and has the same version.
    began = known.state == "online"
    return (event.version_number, event.event_type == "disconnected") > (known.version, not began)


def _state(event: LifecycleEvent) -> PresenceState:
    if event.event_type == "connected":
        return "online"
    return "left" if event.client_initiated_disconnect else "lost"
