"""Protocol state machines of a vehicle: events in, commands out. They never await, and know no
socket, no clock and no truth."""

from fleet_sim.vehicle.session import (
    TRANSITIONS,
    Backoff,
    Event,
    InvalidTransitionError,
    Jitter,
    Message,
    Send,
    Session,
    State,
)

__all__ = [
    "TRANSITIONS",
    "Backoff",
    "Event",
    "InvalidTransitionError",
    "Jitter",
    "Message",
    "Send",
    "Session",
    "State",
]
