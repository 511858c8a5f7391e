"""Transports over somebody else's MQTT client: what they have in common.

The vehicle's own `Session` decides what is sent, kept, sent again and when to come back, as in the
native transport. A library's client lives for one attempt, so that its own queue and its own
reconnects never act; what is unacknowledged when it ends goes out again through the next one, as
new messages: libraries choose packet ids themselves, and offer no way to set DUP.
"""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import mqtt5

from fleet_sim.transport.base import Listener
from fleet_sim.transport.limits import Limits
from fleet_sim.transport.mailbox import Mailbox
from fleet_sim.transport.settings import LinkSettings
from fleet_sim.transport.starts import Starts, sessions_of
from fleet_sim.vehicle import Message, Send

_HEADER_BYTES = 8
"""Of a PUBLISH beside topic, payload and properties: type, length, two lengths and the id."""
TICK_S = 0.05
"""Between two looks at which attempts are due."""


class Client(ABC):
    """One attempt of vehicle i to connect, and the connection it leads to.

    Called on the engine's loop. It answers by the transport's `accepted`, `acknowledged`,
    `received` and `ended`, on the same loop, and at last, once, by `gone`.
    """

    def __init__(self, owner: "AdaptedTransport", i: int, *, first: bool) -> None:
        self.owner = owner
        self.i = i
        self.first = first
        """No broker ever accepted this vehicle."""

    @abstractmethod
    def start(self) -> None:
        """Begin to connect."""

    @abstractmethod
    def publish(self, packet_id: int, message: Message) -> None:
        """Send it; `packet_id` names it in `acknowledged`, and is 0 for QoS 0."""

    @abstractmethod
    def cut(self) -> None:
        """End without saying goodbye. May be called in any state, and twice."""

    @abstractmethod
    def disconnect(self) -> None:
        """Say goodbye and end."""


class AdaptedTransport(ABC):
    """A `Transport` whose connections are a library's clients.

    Must be made and used on one running event loop.
    """

    def __init__(
        self,
        settings: LinkSettings,
        client_ids: Sequence[str],
        listener: Listener,
        *,
        now_ns: Callable[[], int],
        uniform: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.client_ids = client_ids
        self.listener = listener
        self.loop = asyncio.get_running_loop()
        self.mailbox = Mailbox(self.loop, self._failed)
        """For what the library's threads have to say."""
        self.failures: Counter[str] = Counter()
        self.attempts = 0
        self._now_ns = now_ns
        n = len(client_ids)
        self._sessions = sessions_of(settings, n, uniform)
        self._clients: list[Client | None] = [None] * n
        self._online = bytearray(n)
        self._limits: list[Limits | None] = [None] * n
        self._waiting: dict[int, asyncio.TimerHandle] = {}  # until the backoff is over, or given up
        self._alive: set[Client] = set()  # until they say that they are gone
        self._all_gone = asyncio.Event()
        self._attempts = 0
        self._starts = Starts(
            settings, self._sessions, self._begin, lambda: self._attempts, lambda i: False
        )
        self._closing = False
        self._bug: Exception | None = None
        self._ticker = self.loop.call_later(TICK_S, self._tick)

    @abstractmethod
    def _client(self, i: int, *, first: bool) -> Client: ...

    @abstractmethod
    async def _release(self) -> None:
        """End what the clients shared. All of them are gone, or nobody waits for them any more."""

    # -- Transport --------------------------------------------------------------------------------

    def open(self, i: int) -> None:
        self._starts.open(i)

    def publish(self, i: int, message: Message) -> None:
        result = self._sessions[i].offer(message)
        if isinstance(result, Send):
            self._send(i, result)
        elif result is not None:
            self.listener.on_evicted(result.token)

    def publish_many(self, vehicles: Iterable[int], messages: Iterable[Message]) -> None:
        for i, message in zip(vehicles, messages, strict=True):
            self.publish(i, message)

    def sever(self, i: int, reason: str) -> None:
        self._starts.hold(i)
        client = self._clients[i]
        if client is not None:
            self._end(client, reason)

    def restore(self, i: int) -> None:
        if self._starts.held(i):
            idle = self._clients[i] is None and i not in self._waiting
            self._starts.let_go(i, idle=idle)

    def backlog(self) -> tuple[int, int]:
        return (
            sum(session.in_flight for session in self._sessions),
            sum(session.stored for session in self._sessions),
        )

    def discard(self) -> list[Message]:
        """As `Transport.discard`."""
        return [message for session in self._sessions for message in session.discard()]

    def stranded(self) -> list[Message]:
        """As `Transport.stranded`."""
        return [message for session in self._sessions for message in session.stranded()]

    @property
    def online(self) -> int:
        """Vehicles that are connected now."""
        return sum(self._online)

    async def close(self, timeout_s: float = 5.0) -> list[Message]:
        """As `Transport.close`."""
        if self._closing:
            return []
        self._closing = True
        self._ticker.cancel()
        for timer in self._waiting.values():
            timer.cancel()
        left: list[Message] = []
        for i, session in enumerate(self._sessions):
            left += session.close()
            client, self._clients[i] = self._clients[i], None
            if client is not None and self._online[i]:
                client.disconnect()
            elif client is not None:
                client.cut()
        await self._until_gone(timeout_s)
        for client in list(self._alive):
            client.cut()
        await self._until_gone(1.0)
        await self._release()
        self.mailbox.close()
        bug, self._bug = self._bug, None
        if bug is not None:
            raise bug
        return left

    async def _until_gone(self, timeout_s: float) -> None:
        if self._alive:
            self._all_gone.clear()
            try:
                await asyncio.wait_for(self._all_gone.wait(), timeout_s)
            except TimeoutError:
                return

    # -- attempts ---------------------------------------------------------------------------------

    def _enqueue(self, i: int) -> None:
        self._waiting.pop(i, None)
        self._starts.enqueue(i)

    def _tick(self) -> None:
        self._ticker = self.loop.call_later(TICK_S, self._tick)
        self._starts.pass_time(TICK_S)

    def _begin(self, i: int) -> None:
        session = self._sessions[i]
        self.attempts += 1
        session.begin()
        session.opened()
        self._attempts += 1
        limit = self.settings.connect_timeout_s
        client = self._clients[i] = self._client(i, first=session.fresh)
        self._alive.add(client)
        self._waiting[i] = self.loop.call_later(
            limit, functools.partial(self._end, client, f"no connection within {limit:g} s")
        )
        client.start()

    # -- what a client reports --------------------------------------------------------------------

    def accepted(self, client: Client, receive_maximum: int, limits: Limits) -> None:
        """CONNACK came, and SUBACK where something is subscribed to."""
        i = client.i
        if self._clients[i] is not client:
            return  # severed or out of time meanwhile
        self._waiting.pop(i).cancel()
        self._attempts -= 1
        self._online[i] = 1
        self._limits[i] = limits
        # The library keeps nothing over the attempt: to its next client all messages are new.
        self._sessions[i].accepted(
            self.loop.time(), session_present=False, receive_maximum=receive_maximum
        )
        self._guarded(client, self.listener.on_online, i)
        self._guarded(client, self._flush, i)

    def acknowledged(self, client: Client, packet_id: int, reason_code: int) -> None:
        i = client.i
        if self._clients[i] is not client:
            return  # cut before this was read, so the message goes out again
        session = self._sessions[i]
        message = session.acknowledged(packet_id)
        if message is not None:
            t_ns = self._now_ns()
            self._guarded(client, self.listener.on_acknowledged, message.token, t_ns, reason_code)
        if session.pending:
            self._guarded(client, self._flush, i)

    def received(self, client: Client, packet: mqtt5.PublishPacket) -> None:
        if self._clients[client.i] is client:
            self._guarded(client, self.listener.on_message, client.i, packet)

    def ended(self, client: Client, reason: str) -> None:
        """The attempt failed, or the connection is over."""
        self._end(client, reason)

    def gone(self, client: Client) -> None:
        """Nothing more comes of this client, and it holds nothing."""
        self._alive.discard(client)
        if not self._alive:
            self._all_gone.set()

    # -- inside -----------------------------------------------------------------------------------

    def _end(self, client: Client, reason: str) -> None:
        client.cut()
        i = client.i
        if self._clients[i] is not client:
            return
        self._clients[i] = None
        if (timer := self._waiting.pop(i, None)) is not None:
            timer.cancel()
            self._attempts -= 1
        was_online, self._online[i] = self._online[i], 0
        delay = self._sessions[i].lost(self.loop.time())
        if delay is None:
            return
        self.failures[reason] += 1
        self._waiting[i] = self.loop.call_later(delay, self._enqueue, i)
        if was_online:
            self._guarded(client, self.listener.on_offline, i, reason)

    def _flush(self, i: int) -> None:
        while (send := self._sessions[i].next_send()) is not None:
            self._send(i, send)

    def _send(self, i: int, send: Send) -> None:
        packet_id, message, _ = send
        client, limits = self._clients[i], self._limits[i]
        assert client is not None  # online
        assert limits is not None
        size = _HEADER_BYTES + len(message.topic.encode()) + len(message.payload)
        if reason := limits.refuses(size, message.qos):
            if packet_id:
                self._sessions[i].acknowledged(packet_id)
            self.listener.on_refused(message.token, reason)
            return
        t_ns = self._now_ns()
        client.publish(packet_id, message)
        self.listener.on_sent(message.token, t_ns, False)

    def _guarded(self, client: Client, call: Callable[..., None], *args: object) -> None:
        """A listener that raises ends the connection that the call was about, and the run."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - a listener's own
            self._failed(error)
            if self._clients[client.i] is client and not self._closing:
                self._end(client, f"{type(error).__name__}: {error}")

    def _failed(self, error: Exception) -> None:
        self._bug = self._bug or error
        self.loop.call_exception_handler(
            {"message": "a transport's listener raised", "exception": error}
        )
