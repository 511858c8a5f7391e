"""One connection of the native transport: bytes to packets, packets to session events, and back."""

import asyncio
from typing import TYPE_CHECKING, cast

import mqtt5

from fleet_sim.transport import packing
from fleet_sim.transport.air import AirLayer
from fleet_sim.transport.greeting import Greeting
from fleet_sim.transport.lane import line_of
from fleet_sim.transport.layer import Layer
from fleet_sim.transport.limits import Limits, limits_of
from fleet_sim.transport.reasons import goodbye, short_reason
from fleet_sim.transport.settings import user_properties
from fleet_sim.transport.sockets import Wire
from fleet_sim.vehicle import Message, Session

if TYPE_CHECKING:
    from fleet_sim.transport.native import NativeTransport

TICK_S = 0.05
"""Resolution of the transport's timers."""


class Link(asyncio.Protocol):
    """One connection of one vehicle, from TCP's opening to its end."""

    __slots__ = (
        "_alias_maximum",
        "_aliases",
        "_buffer",
        "_greeting",
        "_half_keepalive_s",
        "_heard",
        "_i",
        "_last_write_s",
        "_limits",
        "_over",
        "_owner",
        "_ping_sent_s",
        "_properties",
        "_second_look",
        "_session",
        "_topic",
        "_topic_bytes",
        "_transport",
        "accepted",
        "below",
        "ended",
        "handshake",
    )

    def __init__(self, owner: "NativeTransport", i: int, session: Session) -> None:
        self._owner = owner
        self._i = i
        self._session = session
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._topic = ""
        self._topic_bytes = b""  # the same as it goes into a PUBLISH: a vehicle seldom has another
        self._greeting: Greeting | None = None  # until the broker has accepted
        self._over = False  # given up: what still comes from the socket is void
        self._heard = True  # something came since the last timer
        self._last_write_s = 0.0
        self._ping_sent_s = 0.0
        self._second_look = False  # the answer to the ping is overdue
        self._half_keepalive_s = owner.settings.keepalive_s / 2
        self._properties = self._publish_properties()
        self._aliases: dict[str, int] | None = None  # topics that the broker knows by number
        self._alias_maximum = 0
        self._limits: Limits | None = None
        self.below: Layer | None = None
        """The layer that this link was opened on, before `connection_made` tells of it."""
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
        owner = self._owner
        vin = owner.client_id(self._i)
        self._greeting = Greeting(self, owner.settings, vin, fresh=self._session.fresh)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self.leave_lane()
        if self._buffer:
            data = self._buffer + data
        start = self._pubacks(data) if self.accepted else 0
        if start == len(data):
            self._buffer = b""
            return
        view = memoryview(data)
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

    def _pubacks(self, data: bytes) -> int:
        """Take the PUBACKs that `data` begins with: nearly all that a broker sends. Answers where
        the rest begins, which is the codec's: anything unusual, and what is not all here yet."""
        start, end = 0, len(data)
        while end - start >= 4 and data[start] == packing.PUBACK and not self._over:
            size = data[start + 1]
            if size == 2:
                reason = 0
            elif (
                size == 3
                and end - start >= 5
                and (reason := data[start + 4]) in packing.PUBACK_REASONS
            ):
                pass
            else:
                break
            self._acknowledged(data[start + 2] << 8 | data[start + 3], reason)
            start += 2 + size
        return start

    def eof_received(self) -> None:
        # Not left to asyncio, which would first wait until all that was written is taken.
        self.fail("closed by the broker")

    def pause_writing(self) -> None:
        if not self._over:
            self.leave_lane()
            self._session.writable = False

    def resume_writing(self) -> None:
        if not self._over:
            self._session.writable = True
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave_lane()
        self.ended.set_result(None)
        if exc is not None and not isinstance(exc, OSError):
            self._owner.failed(exc)  # a listener raised; asyncio has logged it and cut the link
        if not self._over:
            self._over = True
            self._report(short_reason(exc) if exc else "closed by the broker")

    # -- commands ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """On an open connection."""
        assert self._transport is not None
        self._transport.write(data)

    def publish(self, packet_id: int, message: Message, duplicate: bool = False) -> None:
        """Write a PUBLISH; `packet_id` 0 is QoS 0."""
        topic = message.topic
        if topic is not self._topic:
            self._turn_to(topic)
        owner = self._owner
        data = packing.publish(
            self._topic_bytes, message.payload, packet_id, self._properties, duplicate
        )
        if self._limits is not None and self._refused(self._limits, len(data), packet_id, message):
            return
        t_ns = owner.now_ns()
        self._transport.write(data)  # type: ignore[union-attr]  # online: an assert costs as much
        self._last_write_s = owner.tick_s
        owner.listener.on_sent(message.token, t_ns, duplicate)
        if not packet_id:
            self._enter_lane()

    def _enter_lane(self) -> None:
        """Let messages take the short way from here on, if all is well."""
        wire, session = self._transport, self._session
        if (
            isinstance(wire, Wire | AirLayer)  # not TLS or WebSocket, which have their own to do
            and session.idle
            and self._aliases is None
            and not (self._over or wire.waiting or self._buffer or self._ping_sent_s)
            and (self._limits is None or self._limits.max_qos)
        ):
            wire.short = self._i
            most = None if self._limits is None else self._limits.max_packet_size
            self._owner.lane.lines[self._i] = line_of(
                wire, self._topic, self._topic_bytes, self._properties, most, self._blocked
            )

    def leave_lane(self) -> None:
        """Whatever happens is the session's again, as if it had sent what flies."""
        wire = self._transport
        if isinstance(wire, Wire | AirLayer) and wire.short >= 0:
            wire.short = -1
            lane = self._owner.lane
            if (flies := lane.leave(self._i)) is not None:
                self._session.adopt(*flies)
            self._last_write_s = max(self._last_write_s, lane.wrote_s[self._i])

    def _blocked(self, data: bytes, sent: int, error: OSError | None) -> None:
        wire = self._transport
        assert isinstance(wire, Wire)
        self.leave_lane()
        if error is not None:
            wire.fail(error)
        else:
            wire.keep(memoryview(data)[sent:])

    def _turn_to(self, topic: str) -> None:
        """The next PUBLISH is to another topic than the last, or the first of its alias."""
        self._topic = topic
        aliases = self._aliases
        if aliases is None:
            self._topic_bytes = packing.text(topic)
        elif topic in aliases:
            self._topic_bytes = packing.text("")
            self._properties = self._publish_properties(aliases[topic])
        elif len(aliases) < self._alias_maximum:
            aliases[topic] = len(aliases) + 1
            self._topic_bytes = packing.text(topic)
            self._properties = self._publish_properties(aliases[topic])
            self._topic = ""  # so that the one after comes here again, and goes by number
        else:
            self._topic_bytes = packing.text(topic)
            self._properties = self._publish_properties()

    def _publish_properties(self, alias: int | None = None) -> bytes:
        settings = self._owner.settings
        return packing.publish_properties(
            message_expiry_s=settings.message_expiry_s,
            topic_alias=alias,
            user=user_properties(settings, self._owner.client_id(self._i)),
        )

    def _refused(self, limits: Limits, size: int, packet_id: int, message: Message) -> bool:
        """Whether the broker takes no such message: then it is told, and not sent."""
        reason = limits.refuses(size, message.qos)
        if not reason:
            return False
        if self._aliases and self._topic is not message.topic:
            self._aliases.popitem()  # the broker was not told of the alias
        if packet_id:
            self._session.acknowledged(packet_id)
        self._owner.listener.on_refused(message.token, reason)
        return True

    def timer(self, now_s: float) -> None:
        """Keepalive: a ping when nothing was written, or nothing heard, for half the interval; its
        answer must come within the other half (MQTT 5, 3.1.2.10)."""
        half, lane = self._half_keepalive_s, self._owner.lane
        wrote_s = max(self._last_write_s, lane.wrote_s[self._i])
        heard = self._heard or lane.heard[self._i]
        if self._ping_sent_s and now_s - self._ping_sent_s >= half:
            if self._second_look:
                self.fail("no PINGRESP in time")
                return
            # It may be this process that was held up: what has come meanwhile is read before the
            # next timer.
            self._second_look = True
            self._owner.set_timer(self._i, now_s + TICK_S)
            return
        silent = now_s - wrote_s >= half or not heard
        self._heard = False
        lane.heard[self._i] = 0
        if silent and not self._ping_sent_s:
            self.leave_lane()
            self.write(mqtt5.PingReqPacket().write())
            self._last_write_s = wrote_s = self._ping_sent_s = now_s
            self._second_look = False
        due = (self._ping_sent_s or wrote_s) + half
        self._owner.set_timer(self._i, max(due, now_s + TICK_S))

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
        self.leave_lane()
        self._over = True
        self._greeting = None
        if self._transport is not None:
            self._transport.abort()
        elif self.below is not None:  # TLS or WebSocket are not through yet
            self.below.abort()

    def disconnect(self) -> None:
        """Say goodbye and close once everything is written."""
        self.leave_lane()
        assert self._transport is not None
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.close()

    # -- packets ----------------------------------------------------------------------------------

    def _handle(self, packet: mqtt5.Packet) -> None:
        if not self.accepted:
            if self._greeting is not None:
                self._greeting.take(packet)
        elif type(packet) is mqtt5.PubAckPacket:
            self._acknowledged(packet.packet_id, int(packet.reason_code))
        elif type(packet) is mqtt5.PublishPacket:
            self.inbound(packet)
        elif type(packet) is mqtt5.PingRespPacket:
            self._ping_sent_s = 0.0
        elif type(packet) is mqtt5.DisconnectPacket:
            self.fail(goodbye(packet, self._owner.client_id(self._i)))
        elif type(packet) is mqtt5.ConnAckPacket:
            self.fail("a second CONNACK from the broker")
        else:
            self.fail(f"unexpected {type(packet).__name__} from the broker")

    def _acknowledged(self, packet_id: int, reason: int) -> None:
        session = self._session
        message = session.acknowledged(packet_id)
        if message is not None:
            owner = self._owner
            owner.listener.on_acknowledged(message.token, owner.now_ns(), reason)
        if session.pending:
            self._flush()
        else:
            self._enter_lane()

    def inbound(self, packet: mqtt5.PublishPacket) -> None:
        """A message came in."""
        if packet.qos == mqtt5.QoS.EXACTLY_ONCE:
            self.fail("unexpected PUBLISH with QoS 2 from the broker")
            return
        self._owner.listener.on_message(self._i, packet)
        # After the listener took it, so that one it never saw comes again.
        if packet.packet_id is not None and not self._over:
            self.write(mqtt5.PubAckPacket(packet.packet_id).write())

    def accept(self, packet: mqtt5.ConnAckPacket) -> None:
        """The broker did, and has what the vehicle is subscribed to: it is online."""
        owner = self._owner
        self.accepted = True
        self._greeting = None
        self.handshake.set_result("")
        now = owner.loop.time()
        if packet.server_keep_alive is not None:  # the broker's word counts (3.2.2.3.14)
            self._half_keepalive_s = packet.server_keep_alive / 2
        self._limits = limits_of(packet)
        if owner.settings.topic_alias and packet.topic_alias_max:
            self._aliases, self._alias_maximum = {}, packet.topic_alias_max
        self._last_write_s = now
        owner.lane.wrote_s[self._i] = 0.0  # of the connection before
        self._session.accepted(
            now, session_present=packet.session_present, receive_maximum=packet.receive_max
        )
        if self._half_keepalive_s:
            owner.set_timer(self._i, now + self._half_keepalive_s)
        owner.online_now(self._i, self)
        self._flush()

    def _flush(self) -> None:
        while (send := self._session.next_send()) is not None:
            self.publish(*send)
