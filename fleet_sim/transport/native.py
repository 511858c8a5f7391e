"""The native transport: one asyncio Protocol a vehicle, the `mqtt5` codec, no task a message.

A connection costs a socket, a `Link` and a `Session`; timers of all of them (attempts, handshake
limits, keepalive) share one wheel.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fleet_sim.transport.air import Air, AirLayer
from fleet_sim.transport.base import Listener
from fleet_sim.transport.lane import Lane
from fleet_sim.transport.link import TICK_S, Link
from fleet_sim.transport.reasons import short_reason
from fleet_sim.transport.settings import LinkSettings
from fleet_sim.transport.sockets import Sockets
from fleet_sim.transport.starts import Starts, sessions_of
from fleet_sim.transport.tls import Handshakes, Outcome, TlsClient, TlsLayer
from fleet_sim.transport.websocket import WebSocketLayer, resource
from fleet_sim.transport.wheel import TimerWheel
from fleet_sim.vehicle import Message, State


class NativeTransport:
    """Connections of the vehicles `client_ids`, one each.

    `now_ns` gives ns since the epoch for what is told to `listener`; `uniform` draws the jitter.
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
        self.listener = listener
        self.now_ns = now_ns
        self.loop = asyncio.get_running_loop()
        self.failures: Counter[str] = Counter()
        """Why attempts failed and connections ended."""
        self.attempts = 0
        self._client_ids = client_ids
        self._sessions = sessions_of(settings, len(client_ids), uniform)
        self._links: list[Link | None] = [None] * len(client_ids)
        self._attempts: dict[int, tuple[asyncio.Task[None], Link]] = {}
        self._starts = Starts(
            settings,
            self._sessions,
            self._begin,
            self._attempts.__len__,
            self._attempts.__contains__,
        )
        self.lane = Lane(len(client_ids), listener, now_ns)
        self._sockets = Sockets(self.loop, self.lane.acknowledged, now_ns)
        self._tls: TlsClient | None = None
        self._resource = resource(settings) if settings.websocket is not None else None
        self._wheel: TimerWheel[int] = TimerWheel(self.loop.time(), slot_s=TICK_S)
        self.tick_s = self.loop.time()
        """When the timers were last looked at: a clock that costs nothing to read."""
        self._air: Air | None = None
        self._closing = False
        self._bug: BaseException | None = None
        self._ticker = self.loop.call_later(TICK_S, self._tick)

    # -- Transport --------------------------------------------------------------------------------

    def open(self, i: int) -> None:
        self._starts.open(i)

    def publish(self, i: int, message: Message) -> None:
        session = self._sessions[i]
        link = self._links[i]
        if self.lane.lines[i] is not None and link is not None:
            link.leave_lane()
        packet_id = session.admit(message)
        if packet_id >= 0:
            assert link is not None  # online
            link.publish(packet_id, message)
        elif (evicted := session.keep(message)) is not None:
            self.listener.on_evicted(evicted.token)

    def publish_many(self, vehicles: Iterable[int], messages: Iterable[Message]) -> None:
        self.lane.publish(vehicles, messages, self.tick_s, self.publish)

    def shape(
        self,
        vehicles: Iterable[int],
        rtt_s: Iterable[float],
        uplink_bps: Iterable[float],
        downlink_bps: Iterable[float],
    ) -> None:
        if self._air is None:
            self._air = Air(len(self._client_ids), self.loop, self.lane.acknowledged, self.now_ns)
        self._air.shape(vehicles, rtt_s, uplink_bps, downlink_bps)

    def stall(self, i: int) -> None:
        air = self._air
        if air is None or (self._links[i] is not None and air.layers[i] is None):
            self.sever(i, "no radio")
            return
        self._starts.hold(i)
        air.stall(i)

    def sever(self, i: int, reason: str) -> None:
        self._starts.hold(i)
        link = self._links[i]
        if link is not None:
            link.fail(reason)
        elif (attempt := self._attempts.get(i)) is not None:
            task, link = attempt
            link.give_up(reason)
            task.cancel()

    def restore(self, i: int) -> None:
        if not self._starts.held(i):
            return
        if self._air is not None:
            self._air.restore(i)
        idle = self._sessions[i].state in (State.IDLE, State.WAITING)
        self._starts.let_go(i, idle=idle and i not in self._wheel)

    def backlog(self) -> tuple[int, int]:
        lines = self.lane.lines
        # In the lane they have nothing: counting thousands of them costs as much as messages do.
        others = [s for s, line in zip(self._sessions, lines, strict=True) if line is None]
        return (
            sum(session.in_flight for session in others) + self.lane.in_flight,
            sum(session.stored for session in others),
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
        return sum(session.state is State.ONLINE for session in self._sessions)

    @property
    def handshakes(self) -> Handshakes:
        """TLS handshakes that ended well so far."""
        tls = self._tls
        return Handshakes(0, 0) if tls is None else Handshakes(tls.full, tls.resumed)

    async def close(self, timeout_s: float = 5.0) -> list[Message]:
        """As `Transport.close`. Raises the first error that a listener or the making of a context
        raised: it was a bug, and some call was not made."""
        self._closing = True
        self._ticker.cancel()
        attempts = list(self._attempts.values())
        for task, link in attempts:
            if not link.accepted:  # else it ends by itself, and the link says goodbye below
                link.give_up("closed")
                task.cancel()
        await asyncio.gather(*(task for task, _ in attempts), return_exceptions=True)
        left: list[Message] = []
        ends = []
        for each in self._links:
            if each is not None:
                each.leave_lane()
        for session, online in zip(self._sessions, self._links, strict=True):
            left += session.close()
            if online is not None:
                online.disconnect()
                ends.append(online.ended)
        if ends:
            _, late = await asyncio.wait(ends, timeout=timeout_s)
            if late:
                for online in self._links:
                    if online is not None:
                        online.abort()
                await asyncio.wait(late, timeout=1.0)
        self._links = [None] * len(self._links)
        if self._air is not None:
            self._air.stop()
        # What is aborted hears of it in the loop's next turn.
        self._sockets.close()
        await asyncio.sleep(0)
        bug, self._bug = self._bug, None
        if bug is not None:
            raise bug
        return left

    # -- timers -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.tick_s = self.loop.time()
        self._ticker = self.loop.call_at(now + TICK_S, self._tick)
        for i in self._wheel.advance(now):
            link = self._links[i]
            if link is None:
                if i not in self._wheel:  # a listener's call may have lost it and set it anew
                    self._starts.enqueue(i)
                continue
            try:
                link.timer(now)
            except Exception as error:  # noqa: BLE001 - a listener's; the other timers are due too
                self.failed(error)
        self._starts.pass_time(TICK_S)

    def _begin(self, i: int) -> None:
        self.attempts += 1
        self._sessions[i].begin()
        link = Link(self, i, self._sessions[i])
        task = self.loop.create_task(self._attempt(i, link))
        self._attempts[i] = (task, link)
        # Not in the coroutine's own `finally`: cancelled before its first step, it never runs.
        task.add_done_callback(functools.partial(self._attempt_over, i, link))

    async def _attempt(self, i: int, link: Link) -> None:
        """TCP, TLS, WebSocket and MQTT handshake of vehicle i, within the time limit."""
        settings = self.settings
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                while await self._connect(i, link) == "ticket refused":
                    pass  # and the next one goes without a ticket
                # Shielded: the link reports to this future even when nobody waits any more.
                await asyncio.shield(link.handshake)
        except TimeoutError:
            link.fail(f"no connection within {settings.connect_timeout_s:g} s")
        except OSError as error:  # ssl.SSLError is one
            link.fail(short_reason(error))

    async def _connect(self, i: int, link: Link) -> Outcome:
        """Open a socket with its layers under the link."""
        settings = self.settings
        outer: asyncio.Protocol = link
        if settings.websocket is not None and self._resource is not None:
            outer = link.below = WebSocketLayer(outer, settings.websocket, self._resource)
        tls: TlsLayer | None = None
        if settings.tls is not None:
            if self._tls is None:
                self._tls = TlsClient(settings.tls, settings.host, len(self._client_ids))
            outer = tls = TlsLayer(outer, self._tls, i, self.loop)
            link.below = tls
        if self._air is not None:
            outer = air = AirLayer(outer, self._air, i)
            link.below = link.below or air
        sources = settings.source_ips
        host, port = settings.broker(i)
        source_ip = sources[i % len(sources)] if sources else None
        await self._sockets.connect(outer, host, port, source_ip)
        return "ready" if tls is None else await asyncio.shield(tls.outcome)

    def _attempt_over(self, i: int, link: Link, task: asyncio.Task[None]) -> None:
        del self._attempts[i]
        if task.cancelled():
            # Even if it was accepted in this very turn: cancelled at the wrong moment, uvloop
            # closes the socket and never calls `connection_lost`.
            link.fail("cancelled")
        elif (error := task.exception()) is not None:
            self.failed(error)
            link.fail(short_reason(error))
        if not link.accepted:
            link.abort()
            if not self._closing:
                self.lost(i, None, link.handshake.result())
        # Not at the next tick: with few at once, ticks would set the rate and not the broker.
        if not self._closing:
            self._starts.begin_due()

    # -- what a link reports ----------------------------------------------------------------------

    def client_id(self, i: int) -> str:
        return self._client_ids[i]

    def set_timer(self, i: int, at_s: float) -> None:
        """Call the link's `timer` at `at_s` on the loop's clock."""
        self._wheel.set(i, at_s)

    def failed(self, error: BaseException) -> None:
        """A bug was met where nobody waits for it: `close` raises the first."""
        self._bug = self._bug or error

    def online_now(self, i: int, link: Link) -> None:
        self._links[i] = link
        self.listener.on_online(i)

    def lost(self, i: int, link: Link | None, reason: str) -> None:
        was_online = link is not None and self._links[i] is link
        if was_online:
            self._links[i] = None
        now = self.loop.time()
        delay = self._sessions[i].lost(now)
        if delay is None:
            return
        self.failures[reason] += 1
        self._wheel.set(i, now + delay)  # replaces the keepalive timer
        if was_online:
            self.listener.on_offline(i, reason)
