"""The native transport: one asyncio Protocol a vehicle, the `mqtt5` codec, no task a message.

A connection costs a socket, a `_Link` and a `Session`; timers of all of them (attempts, handshake
limits, keepalive) share one wheel.
"""

import asyncio
import functools
import ssl
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import cast

import mqtt5

from fleet_sim.transport.base import LinkSettings, Listener
from fleet_sim.transport.wheel import TimerWheel
from fleet_sim.vehicle import Message, Send, Session, State

_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)
_WHEEL_TICK_S = 0.05


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
        self._client_ids = client_ids
        self._sessions = [
            Session(
                uniform,
                backoff=settings.backoff,
                window=settings.window,
                store_limit=settings.store_limit,
            )
            for _ in client_ids
        ]
        self._links: list[_Link | None] = [None] * len(client_ids)
        self._wanted = bytearray(len(client_ids))  # `open` was called
        self._held = bytearray(len(client_ids))  # no radio: attempts wait for `restore`
        self._queued = bytearray(len(client_ids))  # is in `_due`
        self._due: deque[int] = deque()  # vehicles whose attempt is due, oldest first
        self._contexts: list[ssl.SSLContext | None] = [None] * len(client_ids)
        self._wheel: TimerWheel[int] = TimerWheel(self.loop.time(), slot_s=_WHEEL_TICK_S)
        self._tokens = 0.0  # attempts that the rate allows now
        self._attempts: dict[int, tuple[asyncio.Task[None], _Link]] = {}
        self._closing = False
        self._bug: BaseException | None = None
        self._ticker = self.loop.call_later(_WHEEL_TICK_S, self._tick)

    # -- Transport --------------------------------------------------------------------------------

    def open(self, i: int) -> None:
        if not self._wanted[i]:
            self._wanted[i] = 1
            self._enqueue(i)

    def publish(self, i: int, message: Message) -> None:
        result = self._sessions[i].offer(message)
        if isinstance(result, Send):
            link = self._links[i]
            assert link is not None  # online
            link.write(result)
        elif result is not None:
            self.listener.on_evicted(result.token)

    def sever(self, i: int, reason: str) -> None:
        self._held[i] = 1
        link = self._links[i]
        if link is not None:
            link.fail(reason)
        elif (attempt := self._attempts.get(i)) is not None:
            task, link = attempt
            link.give_up(reason)
            task.cancel()

    def restore(self, i: int) -> None:
        if not self._held[i]:
            return
        self._held[i] = 0
        idle = self._sessions[i].state in (State.IDLE, State.WAITING)
        if self._wanted[i] and idle and i not in self._wheel:
            self._enqueue(i)  # its attempt came due while there was no radio

    def backlog(self) -> tuple[int, int]:
        return (
            sum(session.in_flight for session in self._sessions),
            sum(session.stored for session in self._sessions),
        )

    @property
    def online(self) -> int:
        """Vehicles that are connected now."""
        return sum(session.state is State.ONLINE for session in self._sessions)

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
        await asyncio.sleep(
            0
        )  # the sockets of cancelled attempts are closed in the loop's next turn
        bug, self._bug = self._bug, None
        if bug is not None:
            raise bug
        return left

    # -- timers -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.loop.time()
        self._ticker = self.loop.call_at(now + _WHEEL_TICK_S, self._tick)
        for i in self._wheel.advance(now):
            link = self._links[i]
            if link is None:
                if i not in self._wheel:  # a listener's call may have lost it and set it anew
                    self._enqueue(i)
                continue
            try:
                link.timer(now)
            except Exception as error:  # noqa: BLE001 - a listener's; the other timers are due too
                self.failed(error)
        allowance = self.settings.connect_rate * _WHEEL_TICK_S
        self._tokens = min(max(1.0, allowance), self._tokens + allowance)
        while (
            self._due
            and self._tokens >= 1.0
            and len(self._attempts) < self.settings.connect_concurrency
        ):
            i = self._due.popleft()
            if i in self._attempts:  # the task of its last one has yet to end
                self._due.append(i)
                break
            self._queued[i] = 0
            if self._held[i]:
                continue  # `restore` brings it back
            self._tokens -= 1.0
            self._begin(i)

    def _enqueue(self, i: int) -> None:
        if not self._queued[i] and not self._held[i]:
            self._queued[i] = 1
            self._due.append(i)

    def _begin(self, i: int) -> None:
        self._sessions[i].begin()
        link = _Link(self, i, self._sessions[i])
        task = self.loop.create_task(self._attempt(i, link))
        self._attempts[i] = (task, link)
        # Not in the coroutine's own `finally`: cancelled before its first step, it never runs.
        task.add_done_callback(functools.partial(self._attempt_over, i, link))

    async def _attempt(self, i: int, link: "_Link") -> None:
        """TCP, TLS and MQTT handshake of vehicle i, within the time limit."""
        settings = self.settings
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                context = self._context(i)
                await self.loop.create_connection(
                    lambda: link,
                    settings.host,
                    settings.port,
                    ssl=context,
                    server_hostname=(settings.server_name or settings.host) if context else None,
                )
                # Shielded: the link reports to this future even when nobody waits any more.
                await asyncio.shield(link.handshake)
        except TimeoutError:
            link.fail(f"no connection within {settings.connect_timeout_s:g} s")
        except OSError as error:  # ssl.SSLError is one
            link.fail(_short(error))

    def _attempt_over(self, i: int, link: "_Link", task: asyncio.Task[None]) -> None:
        del self._attempts[i]
        if task.cancelled():
            # Even if it was accepted in this very turn: cancelled at the wrong moment, uvloop
            # closes the socket and never calls `connection_lost`.
            link.fail("cancelled")
        elif (error := task.exception()) is not None:
            self.failed(error)
            link.fail(_short(error))
        if not link.accepted:
            link.abort()
            if not self._closing:
                self.lost(i, None, link.handshake.result())

    def _context(self, i: int) -> ssl.SSLContext | None:
        if self.settings.tls is None:
            return None
        context = self._contexts[i]
        if context is None:
            context = self._contexts[i] = self.settings.tls(i)
        return context

    # -- what a link reports ----------------------------------------------------------------------

    def client_id(self, i: int) -> str:
        return self._client_ids[i]

    def set_timer(self, i: int, at_s: float) -> None:
        """Call the link's `timer` at `at_s` on the loop's clock."""
        self._wheel.set(i, at_s)

    def failed(self, error: BaseException) -> None:
        """A bug was met where nobody waits for it: `close` raises the first."""
        self._bug = self._bug or error

    def online_now(self, i: int, link: "_Link") -> None:
        self._links[i] = link
        self.listener.on_online(i)

    def lost(self, i: int, link: "_Link | None", reason: str) -> None:
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


class _Link(asyncio.Protocol):
    """One connection of one vehicle, from TCP's opening to its end."""

    __slots__ = (
        "_buffer",
        "_half_keepalive_s",
        "_heard",
        "_i",
        "_last_write_s",
        "_over",
        "_owner",
        "_ping_sent_s",
        "_session",
        "_transport",
        "accepted",
        "ended",
        "handshake",
    )

    def __init__(self, owner: NativeTransport, i: int, session: Session) -> None:
        self._owner = owner
        self._i = i
        self._session = session
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._over = False  # given up: what still comes from the socket is void
        self._heard = True  # something came since the last timer
        self._last_write_s = 0.0
        self._ping_sent_s = 0.0
        self._half_keepalive_s = owner.settings.keepalive_s / 2
        self.accepted = False
        self.handshake: asyncio.Future[str] = owner.loop.create_future()
        """Empty text when the broker accepted, else why not."""
        self.ended: asyncio.Future[None] = owner.loop.create_future()

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        if self._over:  # given up while the socket was being opened
            self._transport.abort()
            return
        self._session.opened()
        settings = self._owner.settings
        packet = mqtt5.ConnectPacket(
            self._owner.client_id(self._i),
            clean_start=self._session.fresh,
            keep_alive=settings.keepalive_s,
            session_expiry_interval=settings.session_expiry_s,
        )
        self._transport.write(packet.write())

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._buffer:
            data = self._buffer + data
        view = memoryview(data)
        start = 0
        end = len(data)
        while start < end and not self._over:
            try:
                packet, size = mqtt5.read(view[start:])
            except IndexError:  # the codec's "not all of it is here yet"
                break
            except ValueError as error:
                self.fail(f"malformed packet from the broker: {error}")
                return
            except BaseException as error:
                # The codec panics on text that is not UTF-8, with a type that it does not export.
                if type(error).__name__ != "PanicException":
                    raise
                self.fail("malformed packet from the broker: it made the codec panic")
                return
            start += size
            self._handle(packet)
        self._buffer = bytes(view[start:])

    def eof_received(self) -> None:
        # Not left to asyncio, which would first wait until all that was written is taken.
        self.fail("closed by the broker")

    def pause_writing(self) -> None:
        if not self._over:
            self._session.writable = False

    def resume_writing(self) -> None:
        if not self._over:
            self._session.writable = True
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)
        if exc is not None and not isinstance(exc, OSError):
            self._owner.failed(exc)  # a listener raised; asyncio has logged it and cut the link
        if not self._over:
            self._over = True
            self._report(_short(exc) if exc else "closed by the broker")

    # -- commands ---------------------------------------------------------------------------------

    def write(self, send: Send) -> None:
        packet_id, message, duplicate = send
        data = mqtt5.PublishPacket(
            message.topic,
            message.payload,
            qos=_QOS[message.qos],
            packet_id=packet_id or None,
            duplicate=duplicate,
        ).write()
        owner = self._owner
        t_ns = owner.now_ns()
        assert self._transport is not None
        self._transport.write(data)
        self._last_write_s = owner.loop.time()
        owner.listener.on_sent(message.token, t_ns, duplicate)

    def timer(self, now_s: float) -> None:
        """Keepalive: a ping when nothing was written, or nothing heard, for half the interval; its
        answer must come within the other half (MQTT 5, 3.1.2.10)."""
        half = self._half_keepalive_s
        if self._ping_sent_s and now_s - self._ping_sent_s >= half:
            self.fail("no PINGRESP in time")
            return
        silent = now_s - self._last_write_s >= half or not self._heard
        self._heard = False
        if silent and not self._ping_sent_s:
            assert self._transport is not None
            self._transport.write(mqtt5.PingReqPacket().write())
            self._last_write_s = self._ping_sent_s = now_s
        due = (self._ping_sent_s or self._last_write_s) + half
        self._owner.set_timer(self._i, max(due, now_s + _WHEEL_TICK_S))

    def fail(self, reason: str) -> None:
        """Cut the connection and say why, at once: what is offered from here on must be stored, not
        written into a socket that is going away."""
        if not self._over:
            self.abort()
            self._report(reason)

    def _report(self, reason: str) -> None:
        if self.accepted:
            self._owner.lost(self._i, self, reason)
        else:
            self.give_up(reason)

    def give_up(self, reason: str) -> None:
        """The attempt failed: the first reason given counts, and the attempt reports it."""
        if not self.handshake.done():
            self.handshake.set_result(reason)

    def abort(self) -> None:
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    def disconnect(self) -> None:
        """Say goodbye and close once everything is written."""
        assert self._transport is not None
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.close()

    # -- packets ----------------------------------------------------------------------------------

    def _handle(self, packet: mqtt5.Packet) -> None:
        if not self.accepted:
            self._connack(packet)
        elif type(packet) is mqtt5.PubAckPacket:
            message = self._session.acknowledged(packet.packet_id)
            if message is not None:
                owner = self._owner
                owner.listener.on_acknowledged(
                    message.token, owner.now_ns(), int(packet.reason_code)
                )
            if self._session.pending:
                self._flush()
        elif type(packet) is mqtt5.PublishPacket:
            self._inbound(packet)
        elif type(packet) is mqtt5.PingRespPacket:
            self._ping_sent_s = 0.0
        elif type(packet) is mqtt5.DisconnectPacket:
            self.fail(f"disconnected by the broker: {_code(packet.reason_code)}")
        elif type(packet) is mqtt5.ConnAckPacket:
            self.fail("a second CONNACK from the broker")
        else:
            self.fail(f"unexpected {type(packet).__name__} from the broker")

    def _inbound(self, packet: mqtt5.PublishPacket) -> None:
        if packet.qos == mqtt5.QoS.EXACTLY_ONCE:
            self.fail("unexpected PUBLISH with QoS 2 from the broker")
            return
        self._owner.listener.on_message(self._i, packet)
        # After the listener took it, so that one it never saw comes again.
        if packet.packet_id is not None and not self._over:
            assert self._transport is not None
            self._transport.write(mqtt5.PubAckPacket(packet.packet_id).write())

    def _connack(self, packet: mqtt5.Packet) -> None:
        if type(packet) is not mqtt5.ConnAckPacket:
            self.fail(
                f"disconnected by the broker: {_code(packet.reason_code)}"
                if type(packet) is mqtt5.DisconnectPacket
                else f"{type(packet).__name__} from the broker before CONNACK"
            )
            return
        if packet.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            self.fail(f"refused by the broker: {_code(packet.reason_code)}")
            return
        if self.handshake.done():  # severed or out of time in this very turn of the loop
            return
        owner = self._owner
        self.accepted = True
        self.handshake.set_result("")
        now = owner.loop.time()
        if packet.server_keep_alive is not None:  # the broker's word counts (3.2.2.3.14)
            self._half_keepalive_s = packet.server_keep_alive / 2
        self._last_write_s = now
        self._session.accepted(
            now, session_present=packet.session_present, receive_maximum=packet.receive_max
        )
        if self._half_keepalive_s:
            owner.set_timer(self._i, now + self._half_keepalive_s)
        owner.online_now(self._i, self)
        self._flush()

    def _flush(self) -> None:
        while (send := self._session.next_send()) is not None:
            self.write(send)


def _code(reason_code: int) -> str:
    name = getattr(reason_code, "name", "")
    return f"{name.lower().replace('_', ' ')} (0x{int(reason_code):02x})"


def _short(error: BaseException) -> str:
    """A reason that is the same for every vehicle it happens to, so that it can be counted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}"
