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
import logging
import os
import ssl
import tempfile
from typing import Any

from fleet_sim.cloud.local.gaps import _mqtt_session, _seam, broker_index
from fleet_sim.cloud.local.gaps._mqtt_connection import Connection

HOST = "127.0.0.1"
HANDSHAKE_TIMEOUT_S = 60.0
SHUTDOWN_TIMEOUT_S = 1.0
log = logging.getLogger("fleet_sim.local.mqtt")


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
        self.loop.set_exception_handler(_tell)
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
        usual = (os.environ["MINISTACK_ACCOUNT_ID"], os.environ["MINISTACK_REGION"])
        record = store.get((*usual, certificate_id))
        if record is not None:
            return usual if record["status"] == "ACTIVE" else None
        found = [
            key[:2]
            for key, record in list(store.items())
            if key[2] == certificate_id and record["status"] == "ACTIVE"
        ]
        return found[0] if len(found) == 1 else None

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
        self._anchors.clear()
        self._ca_pem = ca_pem
        context.sni_callback = self._trust_new
        return context

    def _trust_new(self, _: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """On each ClientHello: certificates and CAs registered since become trust anchors.

        Those our own CA issued need not be: the store stays small however many vehicles there are.
        """
        for store in (self.iot._ca_certificates._data, self.iot._certificates._data):
            # The stores keep the order of registration: when the last is known, all are.
            if store and next(reversed(store))[2] not in self._anchors:
                for (_, _, identifier), record in list(store.items()):
                    if identifier not in self._anchors:
                        self._anchors.add(identifier)
                        self._trust(record["certificatePem"], context)

    def _trust(self, pem: str, context: ssl.SSLContext) -> None:
        try:
            if not self.iot.certificate_is_signed_by(pem, self._ca_pem):
                context.load_verify_locations(cadata=pem)
        except (ValueError, ssl.SSLError):
            log.exception("a registered certificate cannot be a trust anchor")


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A client that fails the handshake is one line of the log; anything else is told in full."""
    error = context.get("exception")
    if isinstance(error, ssl.SSLError | ConnectionError):
        log.warning("a TLS connection failed: %s", error)
    else:
        loop.default_exception_handler(context)


def apply() -> None:
    iot = _seam.service("iot")
    _seam.expect(
        iot, "_WSSession", "_ca_certificates", "_certificates", "_decode_properties",
        "_ensure_ca", "_forwardable_publish_properties", "_mtls_auto_register", "_mtls_lock",
        "_mtls_restart", "_mtls_server", "_mtls_server_cert_sans",
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
