"""One TLS connection of a device: MQTT packets in, the frequent ones answered on the spot.

PUBLISH, PUBACK and PINGREQ are handled inside `data_received`; every other packet goes, in order,
to MiniStack's session logic in a task that lives while there are such packets.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import deque
from typing import Any, Protocol

from fleet_sim.cloud.local.gaps import _mqtt_session
from fleet_sim.cloud.local.gaps._rule_sql import Message
from fleet_sim.cloud.local.gaps.broker_index import Broker

KEEP_ALIVE_S = (float(os.environ.get("FLEET_SIM_LOCAL_KEEP_ALIVE_MIN_S", "30")), 1200.0)
CONNECT_TIMEOUT_S = 30.0
MAX_PACKET_BYTES = 128 * 1024 + 512
"""AWS IoT's largest payload, and room for the topic and the header."""
_MAX_PENDING = 200
_CACHED_TOPICS = 64

CONNECT, PUBLISH, PUBACK, PINGREQ = 1, 3, 4, 12
_PINGRESP = b"\xd0\x00"
_PACKET_TOO_LARGE = b"\xe0\x02\x95\x00"
_MQTT_5 = 5
log = logging.getLogger("fleet_sim.local.mqtt")


class Owner(Protocol):
    """What a connection needs of the listener that accepted it."""

    loop: asyncio.AbstractEventLoop
    iot: Any
    broker: Broker
    session_class: type[Any]
    connections: set[Connection]

    def owner(self, certificate_id: str) -> tuple[str, str] | None: ...
    def register_just_in_time(self, der: bytes, peer: tuple[str, int]) -> None: ...
    def enter_scope(self, scope: tuple[str, str], ip: str) -> None: ...


def keep_alive_s(requested: int) -> float:
    """The keep-alive AWS IoT applies to the one a client asks for, in seconds."""
    low, high = KEEP_ALIVE_S
    return high if requested == 0 or requested > high else max(low, requested)


class Connection(asyncio.Protocol):
    """One TLS connection. Reads packets, answers the frequent ones, queues the others."""

    __slots__ = ("_broker", "_buffer", "_heard_s", "_ip", "_listener", "_loop", "_pending",
                 "_quiet_s", "_refused", "_scope", "_session", "_task", "_timer", "_topics",
                 "_transport")  # fmt: skip

    def __init__(self, listener: Owner) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._broker = listener.broker
        self._buffer = b""
        self._pending: deque[tuple[int, int, bytes] | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._session: Any = None
        self._refused: bytes | None = None
        self._topics: dict[bytes, str] = {}
        self._heard_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open(transport)

    def _open(self, transport: Any) -> None:
        """The transport is uvloop's, which is no `asyncio.Transport` to a type checker."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_mqtt_session.HIGH_WATER_BYTES)
        self._heard_s = self._loop.time()
        self._quiet_s = CONNECT_TIMEOUT_S
        self._timer = self._loop.call_later(self._quiet_s, self._check_quiet)
        self._ip = transport.get_extra_info("peername")[0]
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        certificate_id = hashlib.sha256(der).hexdigest()
        scope = self._listener.owner(certificate_id)
        if scope is None:
            # AWS registers an unknown certificate just in time on CONNECT, if its CA says so.
            self._refused = der
            return
        self._scope = scope
        self._listener.connections.add(self)
        self._session = self._listener.session_class(transport, *scope, certificate_id)

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        if self._refused is not None:
            self._refuse(data)
            return
        if self._buffer:
            data = self._buffer + data
        position, end = 0, len(data)
        while end - position >= 2:
            # The remaining length: seven bits a byte, least significant first.
            length, shift, body = 0, 0, position + 1
            while body < end:
                byte = data[body]
                length |= (byte & 0x7F) << shift
                body += 1
                if byte < 0x80:
                    break
                shift += 7
                if shift > 21:
                    self._abort("its packet length is malformed")
                    return
            else:
                break
            if length > MAX_PACKET_BYTES:
                self._too_large(length)
                return
            if body + length > end:
                break
            first, position = data[position], body + length
            self._packet(first >> 4, first & 0x0F, data[body:position])
        self._buffer = data[position:] if position else data

    def _packet(self, kind: int, flags: int, body: bytes) -> None:
        if self._pending is None:
            if kind == PUBLISH and self._publish(flags, body):
                return
            if kind == PUBACK and len(body) >= 2:
                self._session.acknowledged(int.from_bytes(body[:2]))
                return
            if kind == PINGREQ:
                self._transport.write(_PINGRESP)
                return
        self._queue((kind, flags, body))

    def _publish(self, flags: int, body: bytes) -> bool:
        """Publishes, unless this one needs MiniStack's session logic (then False)."""
        qos = flags >> 1 & 0x03
        if flags & 0x01 or qos > 1:
            return False
        split = 2 + int.from_bytes(body[:2])
        topic = self._topics.get(body[2:split]) or self._fast_topic(body[2:split])
        session = self._session
        if topic is None or (
            session.enforces and not session.allowed("iot:Publish", f"topic/{topic}")
        ):
            return False
        packet_id = body[split : split + 2] if qos else b""
        position = split + len(packet_id)
        properties = b""
        if session.protocol_version == _MQTT_5:
            if body[position : position + 1] == b"\x00":
                position += 1
            else:
                iot = self._listener.iot
                decoded, position = iot._decode_properties(body, position)
                properties = iot._forwardable_publish_properties(decoded)
        message = Message(topic, body[position:], session._client_id, session._principal, self._ip)
        self._broker.publish_now(self._scope, message, qos, False, properties)
        if qos:
            # MQTT 5 leaves out a reason code of success and empty properties (3.4.2).
            self._transport.write(b"\x40\x02" + packet_id)
        return True

    def _fast_topic(self, raw: bytes) -> str | None:
        """The topic if it may be published to and no AWS service answers on it."""
        iot = self._listener.iot
        try:
            topic = raw.decode()
        except UnicodeDecodeError:
            return None
        reserved = topic.startswith("$") and not topic.startswith("$aws/rules/")
        if (
            reserved
            or not self._session._client_id
            or self._session.provisioning_template is not None
            or not iot._validate_publish_topic(topic)
        ):
            return None
        if len(self._topics) >= _CACHED_TOPICS:
            self._topics.clear()
        self._topics[raw] = topic
        return topic

    def _queue(self, packet: tuple[int, int, bytes] | None) -> None:
        if self._pending is None:
            self._pending = deque()
            self._task = self._loop.create_task(self._drain())
        self._pending.append(packet)
        if len(self._pending) == _MAX_PENDING:
            self._transport.pause_reading()

    async def _drain(self) -> None:
        """MiniStack's session logic, one packet after the other; None is the end."""
        listener, session, pending = self._listener, self._session, self._pending
        assert pending is not None
        listener.enter_scope(self._scope, self._ip)
        paused = False
        while pending:
            paused = paused or len(pending) >= _MAX_PENDING
            packet = pending.popleft()
            try:
                if packet is None:
                    await session.cleanup()
                    return
                kind, flags, body = packet
                if kind == CONNECT:
                    self._connect(body)
                if not await session.handle_packet(kind, flags, body):
                    self._transport.close()
            except Exception:
                log.exception("session of %r failed", session._client_id)
                self._transport.abort()
        self._pending = None
        self._task = None
        if paused:
            self._transport.resume_reading()

    def _connect(self, body: bytes) -> None:
        try:
            _, requested = _mqtt_session.connect_options(body)
            self._session.window = _mqtt_session.receive_maximum(body)
        except (IndexError, ValueError):
            return  # malformed: the session logic says so to the client
        self._quiet_s = 1.5 * keep_alive_s(requested)
        self._timer.cancel()
        self._timer = self._loop.call_later(self._quiet_s, self._check_quiet)

    def _check_quiet(self) -> None:
        left_s = self._heard_s + self._quiet_s - self._loop.time()
        if left_s > 0:
            # Rearmed when it fires rather than at every packet.
            self._timer = self._loop.call_later(left_s, self._check_quiet)
            return
        if self._session is not None:
            self._session._forced_disconnect_reason = "MQTT_KEEP_ALIVE_TIMEOUT"
        self._abort("it was silent for 1.5 times its keep-alive")

    def _refuse(self, data: bytes) -> None:
        der, self._refused = self._refused, b""
        if not der:
            return
        if data[0] >> 4 == CONNECT:
            self._listener.register_just_in_time(der, (self._ip, 0))
        self._abort("its certificate is not ACTIVE")

    def _too_large(self, length: int) -> None:
        if self._session.protocol_version == _MQTT_5:
            self._transport.write(_PACKET_TOO_LARGE)
        log.warning("a packet of %d bytes from %r is too large", length, self._session._client_id)
        self._transport.close()

    def _abort(self, why: str) -> None:
        client = self._session._client_id if self._session is not None else "?"
        log.warning("connection of %r closed: %s", client, why)
        self._transport.abort()

    def pause_writing(self) -> None:
        # It does not read its answers: it gets no more until it does.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()
        if self._session is not None:
            self._session.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._listener.connections.discard(self)
        if self._session is not None:
            self._queue(None)

    def abort(self) -> None:
        self._transport.abort()
