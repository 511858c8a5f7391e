"""What a transport is to the engine, and the engine to a transport."""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import mqtt5

from fleet_sim.vehicle import Message


class ConnectError(RuntimeError):
    """Not all vehicles could be connected; the message counts the reasons."""


class Listener(Protocol):
    """What a transport tells. Calls come on the event loop's thread and must return quickly.
    A call that raises ends the connection it came from, and `Transport.close` raises its error.

    `i` is the vehicle's index in the shard, `token` the caller's name for a message, `t_ns` ns
    since the epoch.
    """

    def on_online(self, i: int) -> None: ...

    def on_offline(self, i: int, reason: str) -> None: ...

    def on_sent(self, token: int, t_ns: int, duplicate: bool) -> None: ...

    def on_acknowledged(self, token: int, t_ns: int, reason_code: int) -> None: ...

    def on_evicted(self, token: int) -> None: ...

    def on_refused(self, token: int, reason: str) -> None:
        """Not sent: the broker said at the connection's start that it takes no such message."""

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None: ...


class Transport(Protocol):
    """Connections of a shard's vehicles, by index."""

    failures: Counter[str]
    """Why attempts failed and connections ended, counted."""
    attempts: int
    """Attempts to connect begun so far."""

    def open(self, i: int) -> None:
        """Start connecting vehicle i, and keep it connected from now on."""

    def publish(self, i: int, message: Message) -> None:
        """Send, or store and forward; every message ends in one `Listener` call or in `close`."""

    def publish_many(self, vehicles: Iterable[int], messages: Iterable[Message]) -> None:
        """`publish` for one message each of several vehicles, in this order."""

    def sever(self, i: int, reason: str) -> None:
        """The radio is gone: cut the connection and do not try again until `restore`."""

    def restore(self, i: int) -> None:
        """The radio is back: reconnect as the backoff says."""

    def backlog(self) -> tuple[int, int]:
        """Messages in flight and stored, over all vehicles."""

    def discard(self) -> list[Message]:
        """Give up what is stored, and return it; what is in flight may still be acknowledged."""

    def stranded(self) -> list[Message]:
        """Messages that were sent on connections which are gone, of vehicles that are not back."""

    async def close(self, timeout_s: float) -> list[Message]:
        """Disconnect all. Returns the messages that were never acknowledged. Raises the first error
        of a listener that was met where nobody waited for it."""


@runtime_checkable
class RadioTransport(Transport, Protocol):
    """A transport whose connections cross a radio: it can delay and stall them. The engine cuts
    those of any other at every outage, and does not delay them."""

    def shape(
        self,
        vehicles: Iterable[int],
        rtt_s: Iterable[float],
        uplink_bps: Iterable[float],
        downlink_bps: Iterable[float],
    ) -> None:
        """Round trip times and throughputs of some vehicles from now on, all finite; where one is 0
        the rates stay as they were. A connection that was opened before the first call has no radio
        to cross."""

    def stall(self, i: int) -> None:
        """No byte of vehicle i passes, either way, until `restore`. Its connection stays, unless
        keepalive finds it dead; new attempts wait."""
