"""The short way of a message: to the socket and back, past the session, while nothing is unusual.

Most vehicles most of the time have nothing in flight when their next message is due. Then a message
needs no window, store or order, and its PUBACK no packet: one entry in arrays that all vehicles
share says that it flies. Whatever else happens to a connection ends that first: the vehicle leaves
the lane, and what flies becomes the session's, as if it had sent it.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fleet_sim.transport import packing
from fleet_sim.transport.air import AirLayer
from fleet_sim.transport.base import Listener
from fleet_sim.transport.sockets import Wire
from fleet_sim.vehicle import Message
from fleet_sim.vehicle.session import MAX_PACKET_ID


class Line(NamedTuple):
    """What the lane needs of a connection."""

    send: Callable[[bytes], int]
    """The socket's own, or the radio's before it."""
    topic: str
    """The only one that goes this way ..."""
    topic_bytes: bytes
    """... and as `packing.text` has it."""
    properties: bytes
    size: int
    """Of the two."""
    most: int
    """Remaining length that the broker takes."""
    blocked: Callable[[bytes, int, OSError | None], None]
    """The socket took only so many bytes of a packet, or refused with an error. The vehicle leaves
    the lane."""


class Lane:
    """The lane of `vehicles` vehicles; who is in it has a `lines` entry."""

    def __init__(self, vehicles: int, listener: Listener, now_ns: Callable[[], int]) -> None:
        self.lines: list[Line | None] = [None] * vehicles
        self.wrote_s = [0.0] * vehicles
        """When the lane last wrote for each, on the caller's clock."""
        self.heard = bytearray(vehicles)
        """Whether it heard of each since the caller last cleared this."""
        self._flying: list[Message | None] = [None] * vehicles
        self._ids = [0] * vehicles
        self._id = 0  # of the last batch: unused by everyone in the lane
        self._listener = listener
        self._now_ns = now_ns

    @property
    def in_flight(self) -> int:
        """Messages of the lane without acknowledgement."""
        return len(self._flying) - self._flying.count(None)

    def leave(self, i: int) -> tuple[int, Message] | None:
        """Take vehicle i out: what flies, with its packet id, if anything does."""
        self.lines[i] = None
        message = self._flying[i]
        if message is None:
            return None
        self._flying[i] = None
        return self._ids[i], message

    def publish(
        self,
        vehicles: Iterable[int],
        messages: Iterable[Message],
        tick_s: float,
        long_way: Callable[[int, Message], None],
    ) -> None:
        """Send each message of its vehicle, those that cannot go this way by `long_way`, in order.
        `tick_s` is now, for `wrote_s`."""
        lines, flying, ids, wrote_s = self.lines, self._flying, self._ids, self.wrote_s
        now_ns, on_sent = self._now_ns, self._listener.on_sent
        # One id for all: nothing else of theirs is in flight.
        self._id = packet_id = self._id % MAX_PACKET_ID + 1
        id_bytes = packet_id.to_bytes(2, "big")
        for i, message in zip(vehicles, messages, strict=True):
            line = lines[i]
            if line is None or flying[i] is not None:
                long_way(i, message)
                continue
            send, topic, topic_bytes, properties, size, most, blocked = line
            payload = message.payload
            size += len(payload)
            if message.topic is not topic or size > most:
                long_way(i, message)
                continue
            if message.qos:
                data = b"".join((_head_1(size), topic_bytes, id_bytes, properties, payload))
                ids[i] = packet_id
                flying[i] = message
            else:
                data = b"".join((_head_0(size), topic_bytes, properties, payload))
            wrote_s[i] = tick_s
            t_ns = now_ns()
            try:
                sent = send(data)
            except (BlockingIOError, InterruptedError):
                blocked(data, 0, None)
            except OSError as error:
                blocked(data, 0, error)
            else:
                if sent != len(data):
                    blocked(data, sent, None)
            on_sent(message.token, t_ns, False)

    def acknowledged(self, i: int, data: bytes | bytearray, size: int, t_ns: int) -> bool:
        """The first `size` bytes of `data` came in for vehicle i, by `t_ns`. Whether they are the
        PUBACK of what flies, and nothing else; then it is told."""
        message = self._flying[i]
        if (
            message is None
            or size < 4
            or data[0] != packing.PUBACK
            or data[1] != size - 2
            or data[2] << 8 | data[3] != self._ids[i]
        ):
            return False
        reason = 0
        if size > 4:
            reason = data[4]
            if size > 5 or reason not in packing.PUBACK_REASONS:
                return False
        self._flying[i] = None
        self.heard[i] = 1
        self._listener.on_acknowledged(message.token, t_ns, reason)
        return True


@functools.cache
def _head_1(size: int) -> bytes:
    """Of a PUBLISH with QoS 1, and so much of topic, properties and payload."""
    return b"\x32" + packing.varint(size + 2)


@functools.cache
def _head_0(size: int) -> bytes:
    """... with QoS 0."""
    return b"\x30" + packing.varint(size)


def line_of(
    wire: Wire | AirLayer,
    topic: str,
    topic_bytes: bytes,
    properties: bytes,
    max_packet_size: int | None,
    blocked: Callable[[bytes, int, OSError | None], None],
) -> Line:
    """For an open connection on which nothing waits."""
    size = len(topic_bytes) + len(properties)
    most = packing.MAX_REMAINING - 2
    if max_packet_size is not None:
        most = max_packet_size - 7  # a head is 5 bytes at most, and an id 2
    return Line(wire.send, topic, topic_bytes, properties, size, most, blocked)
