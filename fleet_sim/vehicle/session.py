"""One vehicle's MQTT session: connection states, in-flight window, store and forward, reconnects.

The transport reports what happened to the socket and does what the returned commands say. Times are
seconds on the caller's monotonic clock, so a test can jump it.
"""

import enum
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

MAX_PACKET_ID = 65_535


class State(enum.Enum):
    IDLE = "idle"  # never connected
    CONNECTING = "connecting"  # TCP and TLS
    HANDSHAKE = "handshake"  # CONNECT is out, CONNACK is not in
    ONLINE = "online"
    WAITING = "waiting"  # until the next attempt
    CLOSED = "closed"  # for good


class Event(enum.Enum):
    BEGIN = "begin"
    OPENED = "opened"
    ACCEPTED = "accepted"
    LOST = "lost"
    CLOSE = "close"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.BEGIN): State.CONNECTING,
    (State.WAITING, Event.BEGIN): State.CONNECTING,
    (State.CONNECTING, Event.OPENED): State.HANDSHAKE,
    (State.HANDSHAKE, Event.ACCEPTED): State.ONLINE,
    (State.CONNECTING, Event.LOST): State.WAITING,
    (State.HANDSHAKE, Event.LOST): State.WAITING,
    (State.ONLINE, Event.LOST): State.WAITING,
    (State.IDLE, Event.CLOSE): State.CLOSED,
    (State.CONNECTING, Event.CLOSE): State.CLOSED,
    (State.HANDSHAKE, Event.CLOSE): State.CLOSED,
    (State.ONLINE, Event.CLOSE): State.CLOSED,
    (State.WAITING, Event.CLOSE): State.CLOSED,
    # The socket's end is reported after we closed it ourselves.
    (State.CLOSED, Event.LOST): State.CLOSED,
    (State.CLOSED, Event.CLOSE): State.CLOSED,
}
"""Every transition there is. The diagram in docs/session.md is drawn from this table."""


class InvalidTransitionError(RuntimeError):
    """An event that the state does not take; `story` holds the transitions that led here."""

    def __init__(
        self, state: enum.Enum, event: str, story: list[str], machine: str = "a session"
    ) -> None:
        self.story = story
        super().__init__(
            f"{machine} that is {state.value} cannot take {event!r}; before: "
            + (", ".join(story) or "nothing")
        )


Jitter = Literal["full", "none", "decorrelated"]


class Backoff(NamedTuple):
    """Reconnect delays after the n-th failure in a row, n from 0; the count starts again after
    `reset_after_s` connected.

    `full`: `U(0, min(cap, base * 2**n))`; `none`: all of that window, to show the storm;
    `decorrelated`: `min(cap, U(base, 3 * the delay before))` (Brooker, "Exponential backoff and
    jitter", 2015). The defaults are those of the AWS IoT device SDKs' documentation.
    """

    base_s: float = 1.0
    cap_s: float = 128.0
    reset_after_s: float = 20.0
    jitter: Jitter = "full"

    def delay_s(self, failures: int, uniform: Callable[[], float], before_s: float = 0.0) -> float:
        """Delay before the attempt that follows `failures` earlier ones in a row (0, 1, ...), the
        last of them after `before_s`."""
        if self.jitter == "decorrelated":
            least = self.base_s
            most = max(least, 3.0 * (before_s if failures else least))
            return min(self.cap_s, least + (most - least) * uniform())
        window = min(self.cap_s, self.base_s * 2.0 ** min(failures, 64))
        return window if self.jitter == "none" else window * uniform()


class Message(msgspec.Struct, gc=False):
    """An application message; `token` is the caller's name for it (a ledger row). Nobody changes
    one: it is not frozen only because a frozen struct takes twice as long to make."""

    token: int
    topic: str
    payload: bytes
    qos: int


class Send(NamedTuple):
    """Command: write this PUBLISH now. `packet_id` is 0 for QoS 0."""

    packet_id: int
    message: Message
    duplicate: bool


class Session:
    """State of one vehicle's session.

    `uniform` draws from [0, 1) for the jitter. `window` bounds unacknowledged QoS 1 messages (the
    broker's receive maximum may lower it); `store_limit` bounds messages kept while they cannot be
    sent, beyond which the oldest is dropped.
    """

    __slots__ = (
        "_backoff",
        "_delay_s",
        "_failures",
        "_inflight",
        "_next_id",
        "_online_since",
        "_resend",
        "_store",
        "_store_limit",
        "_story",
        "_uniform",
        "_window",
        "_window_limit",
        "_window_now",
        "fresh",
        "state",
        "stray_acks",
        "writable",
    )

    def __init__(
        self,
        uniform: Callable[[], float],
        *,
        backoff: Backoff = Backoff(),  # noqa: B008 - immutable
        window: int = 64,
        store_limit: int = 1_000,
    ) -> None:
        self.state = State.IDLE
        self.writable = True  # the socket takes bytes
        self.fresh = True  # no broker ever accepted it: there is no state that one could have kept
        self.stray_acks = 0  # acknowledgements of nothing that is in flight
        self._uniform = uniform
        self._backoff = backoff
        self._window_limit = window
        self._window_now = window  # ... and what the broker allows on this connection
        self._window = window  # ... and 0 while there are messages to resend: new ones wait
        self._store_limit = store_limit
        self._inflight: dict[int, Message] = {}  # insertion order is sending order
        self._resend: list[int] = []  # packet ids in flight to be sent again, the first one last
        self._store: deque[Message] = deque()
        self._next_id = 1
        self._failures = 0
        self._delay_s = 0.0  # before the last attempt
        self._online_since = 0.0
        self._story: deque[str] = deque(maxlen=8)

    # -- connection -------------------------------------------------------------------------------

    def begin(self) -> None:
        """An attempt to connect starts."""
        self._move(Event.BEGIN)

    def opened(self) -> None:
        """The transport is open: CONNECT goes out now."""
        self._move(Event.OPENED)

    def accepted(
        self, now_s: float, *, session_present: bool, receive_maximum: int = MAX_PACKET_ID
    ) -> None:
        """CONNACK came. `next_send` then gives everything unacknowledged first, in its old order.

        With the session kept by the broker, packet ids stay and DUP is set (MQTT 5, 4.4); without,
        the broker knows none of them and they are new messages to it. `receive_maximum` holds for
        both: it is set anew by each connection (MQTT 5, 4.9).
        """
        self._move(Event.ACCEPTED)
        self.fresh = False
        self._online_since = now_s
        self.writable = True
        self._window_now = min(self._window_limit, receive_maximum)
        if session_present:
            self._resend = list(reversed(self._inflight))
        else:
            self._resend = []
            self._store.extendleft(reversed(self._inflight.values()))
            self._inflight.clear()
        self._window = 0 if self._resend else self._window_now

    def lost(self, now_s: float) -> float | None:
        """The connection ended or the attempt failed. Returns the delay before the next attempt in
        s, or None when the session was closed and none follows."""
        was_online = self.state is State.ONLINE
        self._move(Event.LOST)
        if self.state is State.CLOSED:
            return None
        if was_online and now_s - self._online_since >= self._backoff.reset_after_s:
            self._failures = 0
        self._delay_s = self._backoff.delay_s(self._failures, self._uniform, self._delay_s)
        self._failures += 1
        return self._delay_s

    def close(self) -> list[Message]:
        """End for good. Returns what was never acknowledged: in flight first, then stored."""
        self._move(Event.CLOSE)
        left = [*self._inflight.values(), *self._store]
        self._inflight.clear()
        self._resend.clear()
        self._store.clear()
        return left

    # -- messages ---------------------------------------------------------------------------------

    def offer(self, message: Message) -> Send | Message | None:
        """A new message. Returns `Send` to write it now; None when it is stored for later; or the
        oldest stored `Message` that had to give way to it. A closed session refuses it."""
        packet_id = self.admit(message)
        return self.keep(message) if packet_id < 0 else Send(packet_id, message, False)

    def admit(self, message: Message) -> int:
        """Packet id with which a new message goes out at once, 0 for QoS 0; -1 when it may not, and
        belongs to `keep`. The two are `offer` in halves, for a caller with thousands a second."""
        if self.state is not State.ONLINE or self._store or not self.writable:
            return -1
        if message.qos and len(self._inflight) >= self._window:
            return -1
        return self._number(message)

    def keep(self, message: Message) -> Message | None:
        """Store a message that `admit` did not take; the oldest stored one when it gives way. A
        closed session refuses it."""
        if self.state is State.CLOSED:
            raise InvalidTransitionError(self.state, "offer", list(self._story))
        self._store.append(message)
        if len(self._store) > self._store_limit:
            return self._store.popleft()
        return None

    def discard(self) -> list[Message]:
        """Give up what is stored, oldest first; what is in flight still waits for its PUBACK."""
        stored = list(self._store)
        self._store.clear()
        return stored

    def stranded(self) -> list[Message]:
        """What is in flight on a connection that is gone; nothing while there is one."""
        return [] if self.state is State.ONLINE else list(self._inflight.values())

    def adopt(self, packet_id: int, message: Message) -> None:
        """A message that the caller sent by itself while the session was `idle`, under an id of its
        own, and that is not acknowledged: from now on it is in flight as any other."""
        self._inflight[packet_id] = message

    def acknowledged(self, packet_id: int) -> Message | None:
        """PUBACK came. Returns the message it ends, or None for an unknown id (counted)."""
        message = self._inflight.pop(packet_id, None)
        if message is None:
            self.stray_acks += 1
        return message

    def next_send(self) -> Send | None:
        """The next message that may go out now, to be resent or stored, or None."""
        if self.state is not State.ONLINE or not self.writable:
            return None
        while self._resend:
            if len(self._inflight) - len(self._resend) >= self._window_now:
                return None
            packet_id = self._resend.pop()
            if not self._resend:
                self._window = self._window_now
            message = self._inflight.get(packet_id)
            if message is not None:
                return Send(packet_id, message, True)
        if not self._store or (self._store[0].qos and len(self._inflight) >= self._window):
            return None
        message = self._store.popleft()
        return Send(self._number(message), message, False)

    @property
    def pending(self) -> bool:
        """Something waits for `next_send`."""
        return bool(self._store or self._resend)

    @property
    def idle(self) -> bool:
        """Online, and nothing in flight, stored or to be resent."""
        return (
            self.state is State.ONLINE
            and self.writable
            and not (self._inflight or self._store or self._resend)
        )

    @property
    def in_flight(self) -> int:
        """QoS 1 messages without acknowledgement."""
        return len(self._inflight)

    @property
    def stored(self) -> int:
        """Messages waiting to be sent."""
        return len(self._store)

    # -- inside -----------------------------------------------------------------------------------

    def _number(self, message: Message) -> int:
        """Put a message in flight: its packet id, 0 for QoS 0."""
        if message.qos == 0:
            return 0
        inflight = self._inflight
        packet_id = self._next_id
        while packet_id in inflight:
            packet_id = packet_id % MAX_PACKET_ID + 1
        self._next_id = packet_id % MAX_PACKET_ID + 1
        inflight[packet_id] = message
        return packet_id

    def _move(self, event: Event) -> None:
        target = TRANSITIONS.get((self.state, event))
        if target is None:
            raise InvalidTransitionError(self.state, event.value, list(self._story))
        self._story.append(f"{self.state.value} --{event.value}--> {target.value}")
        self.state = target
