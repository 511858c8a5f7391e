"""The MQTT listener for devices: TLS with client certificates.

AWS: port 8883, TLS 1.2 or newer, and a client certificate that a CA known to AWS IoT issued; a
certificate that is not ACTIVE is refused without a CONNACK. ALPN `x-amzn-mqtt-ca` is accepted. A
client that is silent for 1.5 times its keep-alive (30 to 1,200 s; 0 means 1,200) is disconnected,
as is one that sends no CONNECT. At most 100 QoS 1 messages are unacknowledged at one client.

Stock MiniStack: listens on every address, serves clients without a certificate, ignores the
keep-alive, lets closed sockets linger, holds a 256 KiB buffer a connection, checks a new
handshake against every certificate in the account, and its TLS upgrade hangs under uvloop.

Closed by: an asyncio protocol of our own on a loopback port the kernel chooses. PUBLISH, PUBACK
and PINGREQ are answered inside `data_received`; every other packet goes, in order, to MiniStack's
session logic in a task that lives while there are such packets.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
import tempfile
from collections import deque
from typing import Any

from fleet_sim.cloud.local.gaps import _mqtt_session, _seam, broker_index
from fleet_sim.cloud.local.gaps._rule_sql import Message

HOST = "127.0.0.1"
KEEP_ALIVE_S = (float(os.environ.get("FLEET_SIM_LOCAL_KEEP_ALIVE_MIN_S", "30")), 1200.0)
CONNECT_TIMEOUT_S = 30.0
HANDSHAKE_TIMEOUT_S = 60.0
SHUTDOWN_TIMEOUT_S = 1.0
MAX_PACKET_BYTES = 128 * 1024 + 512
"""AWS IoT's largest payload, and room for the topic and the header."""
_MAX_PENDING = 200
_CACHED_TOPICS = 64

CONNECT, PUBLISH, PUBACK, PINGREQ = 1, 3, 4, 12
_PINGRESP = b"\xd0\x00"
_PACKET_TOO_LARGE = b"\xe0\x02\x95\x00"
_MQTT_5 = 5
log = logging.getLogger("fleet_sim.local.mqtt")


def keep_alive_s(requested: int) -> float:
    """The keep-alive AWS IoT applies to the one a client asks for, in seconds."""
    low, high = KEEP_ALIVE_S
    return high if requested == 0 or requested > high else max(low, requested)


class Connection(asyncio.Protocol):
    """One TLS connection. Reads packets, answers the frequent ones, queues the others."""

    __slots__ = ("_broker", "_buffer", "_heard_s", "_ip", "_listener", "_loop", "_pending",
                 "_quiet_s", "_refused", "_scope", "_session", "_task", "_timer", "_topics",
                 "_transport")  # fmt: skip

    def __init__(self, listener: Listener) -> None:
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
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport: Any = transport
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

    def resume_writing(self) -> None:
        if self._session is not None:
            self._session.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._listener.connections.discard(self)
        if self._session is not None:
            self._queue(None)

    def abort(self) -> None:
        self._transport.abort()


class Listener:
    """The server socket, its TLS context, and who owns which certificate."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if broker_index.broker is None:
            raise _seam.GapError("the listener publishes into the broker of gap broker_index")
        self.loop = loop
        self.iot = _seam.service("iot")
        self.broker = broker_index.broker
        self.session_class = _mqtt_session.session_class()
        self.connections: set[Connection] = set()
        self.server: asyncio.Server | None = None
        self._port = 0
        self._anchors: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        context = await asyncio.to_thread(self._context)
        self.server = await self.loop.create_server(
            lambda: Connection(self), HOST, self._port, ssl=context, backlog=4096,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S, ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )  # fmt: skip
        self._port = self.server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for connection in list(self.connections):
            connection.abort()

    def owner(self, certificate_id: str) -> tuple[str, str] | None:
        """(account id, region) where this certificate is ACTIVE; None if nowhere or not unique."""
        store = self.iot._certificates._data
        scopes = {key[:2] for key in self.iot._policies._data} | {self._default_scope}
        found = [
            scope for scope in scopes
            if (store.get((*scope, certificate_id)) or {}).get("status") == "ACTIVE"
        ]  # fmt: skip
        if not found:
            # Rarely: an account that has certificates but no policies.
            found = [
                key[:2]
                for key in store
                if key[2] == certificate_id and store[key]["status"] == "ACTIVE"
            ]
        return found[0] if len(found) == 1 else None

    @property
    def _default_scope(self) -> tuple[str, str]:
        return os.environ["MINISTACK_ACCOUNT_ID"], os.environ["MINISTACK_REGION"]

    def register_just_in_time(self, der: bytes, peer: tuple[str, int]) -> None:
        task = self.loop.create_task(self.iot._mtls_auto_register(der, peer, None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def enter_scope(self, scope: tuple[str, str], ip: str) -> None:
        """Sets what MiniStack reads from the context of a task that serves a session."""
        iot = self.iot
        iot._request_account_id.set(scope[0])
        iot._request_region.set(scope[1])
        iot._publish_source_ip.set(ip)
        iot.jobs_device_host.set(f"{HOST}:{os.environ['GATEWAY_PORT']}")

    def _context(self) -> ssl.SSLContext:
        iot, x509 = self.iot, _seam.core("x509_utils")
        ca_pem, ca_key = iot._ensure_ca()
        dns, ips = iot._mtls_server_cert_sans()
        # An elliptic curve: the server's part of a handshake is 20 times cheaper than with RSA.
        certificate, key, _ = x509.sign_leaf_certificate(
            ca_pem, ca_key, common_name=dns[0], san_dns=dns, san_ips=ips, key_type="ec256"
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        # A certificate registered without its CA is an anchor of its own.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.set_alpn_protocols(["x-amzn-mqtt-ca"])
        # No client of ours resumes: a ticket a connection would only be memory.
        context.num_tickets = 0
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as chain:
            chain.write(certificate + key)
            chain.flush()
            context.load_cert_chain(chain.name)
        context.load_verify_locations(cadata=ca_pem)
        self._ca_pem = ca_pem
        context.sni_callback = self._trust_new
        return context

    def _trust_new(self, _: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """On each ClientHello: certificates and CAs registered since become trust anchors.

        Those our own CA issued need not be: the store stays small however many vehicles there are.
        """
        iot = self.iot
        for store in (iot._ca_certificates, iot._certificates):
            if len(self._anchors) >= len(iot._ca_certificates._data) + len(iot._certificates._data):
                return
            for (_, _, identifier), record in list(store._data.items()):
                if identifier not in self._anchors:
                    self._anchors.add(identifier)
                    self._trust(record["certificatePem"], context)

    def _trust(self, pem: str, context: ssl.SSLContext) -> None:
        try:
            if not self.iot.certificate_is_signed_by(pem, self._ca_pem):
                context.load_verify_locations(cadata=pem)
        except (ValueError, ssl.SSLError):
            log.exception("a registered certificate cannot be a trust anchor")


def apply() -> None:
    iot = _seam.service("iot")
    _seam.expect(
        iot, "_WSSession", "_ca_certificates", "_certificates", "_decode_properties",
        "_ensure_ca", "_forwardable_publish_properties", "_mtls_auto_register", "_mtls_lock",
        "_mtls_restart", "_mtls_server", "_mtls_server_cert_sans", "_policies",
        "_publish_source_ip", "_request_account_id", "_request_region",
        "_validate_publish_topic", "certificate_is_signed_by", "jobs_device_host",
        "mtls_is_listening", "mtls_start", "mtls_stop",
    )  # fmt: skip
    listener: Listener | None = None

    async def start() -> None:
        nonlocal listener
        async with iot._mtls_lock:
            if listener is None:
                listener = Listener(asyncio.get_running_loop())
                iot._mtls_loop = listener.loop
            if listener.server is None:
                await listener.start()
            iot._mtls_server = listener.server

    async def stop() -> None:
        async with iot._mtls_lock:
            if listener is not None:
                listener.stop()
            iot._mtls_server = None

    async def restart() -> None:
        await stop()
        await start()

    iot.mtls_start, iot.mtls_stop, iot._mtls_restart = start, stop, restart
