"""Mutual TLS of the native transport, with a CA made here: what is refused, and that it is said."""

import asyncio
import atexit
import contextlib
import datetime as dt
import functools
import ipaddress
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from broker import Broker
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from transport_bench import Bench, message, on_both_loops, until

from fleet_sim.transport import Certificate, Tls
from fleet_sim.transport.tls import NotTrustedError

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Pair(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ) + self.certificate.public_bytes(serialization.Encoding.PEM)


def issue(
    name: str,
    ca: Pair | None,
    *,
    until_when: dt.datetime = NOW + DAY,
    server: str | None = None,
) -> Pair:
    """A certificate of `name`: of a CA when `ca` is None, of a server when `server` names it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 10 * DAY)
        .not_valid_after(until_when)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
    )
    # Strict verification, Python 3.13's default, asks for key identifiers (RFC 5280, 4.2.1.1) and
    # for a CA that says it may sign.
    issuer_key = (ca.key if ca else key).public_key()
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    if ca is None:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    if ca is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if server:
        names: list[x509.GeneralName] = [x509.DNSName(server)]
        if server == "127.0.0.1":
            names = [x509.IPAddress(ipaddress.IPv4Address(server))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca.key if ca else key, hashes.SHA256())
    return Pair(certificate, key)


@functools.cache
def pairs() -> dict[str, Pair]:
    ca, other = issue("fleet CA", None), issue("other CA", None)
    return {
        "ca": ca,
        "other ca": other,
        "server": issue("server", ca, server="127.0.0.1"),
        "named": issue("server", ca, server="broker.test"),
        "late server": issue("server", ca, server="127.0.0.1", until_when=NOW - DAY),
        "v0": issue("v0", ca),
        "expired": issue("v0", ca, until_when=NOW - DAY),
        "stranger": issue("v0", other),
    }


@functools.cache
def folder() -> Path:
    """Of the PEM files; it goes when the process ends."""
    made = tempfile.TemporaryDirectory(prefix="fleet-sim-tls-")
    atexit.register(made.cleanup)
    return Path(made.name)


@functools.cache
def pem(name: str) -> str:
    """Path of a file with the certificate and its key."""
    path = folder() / f"{name}.pem"
    path.write_bytes(pairs()[name].pem())
    return str(path)


def at_server(own: str = "server") -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pem("ca"))
    made.load_cert_chain(pem(own))
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def vehicle(own: str | None, ca: str = "ca", **more: Any) -> Tls:
    """Every vehicle connects with the certificate `own`."""
    own_files = [Certificate(pem(own), pem(own))] * 50 if own else []
    return Tls(ca_file=pem(ca), certificates=own_files, **more)


async def with_tls(bench: Bench, own: str = "server") -> None:
    await bench.broker.stop()
    bench.broker = Broker()
    await bench.broker.start(at_server(own))


@on_both_loops
async def test_messages_and_reconnects_over_mutual_tls(bench: Bench) -> None:
    await with_tls(bench)
    transport = await bench.connected(tls=vehicle("v0"))
    transport.publish(0, message(1))
    await until(lambda: bench.seen.acked == [1])
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.online) == 2)
    transport.publish(0, message(2))
    await until(lambda: bench.seen.acked == [1, 2])
    assert await transport.close(2.0) == []
    await until(lambda: not bench.broker.live)


@on_both_loops
async def test_every_handshake_crosses_the_radio(bench: Bench) -> None:
    """TCP, TLS 1.3 and MQTT ask for a round trip each, a first message for one more."""
    await with_tls(bench)
    transport = bench.transport(tls=vehicle("v0"))
    transport.shape([0], [0.1], [1e8], [1e8])
    loop = asyncio.get_running_loop()
    begin = loop.time()
    transport.open(0)
    await until(lambda: transport.online == 1)
    assert loop.time() - begin >= 0.3
    transport.publish(0, message(1))
    await until(lambda: bench.seen.acked == [1])
    assert loop.time() - begin >= 0.4
    assert await transport.close(2.0) == []
    await until(lambda: not bench.broker.live)


@on_both_loops
async def test_the_server_name_may_differ_from_the_host(bench: Bench) -> None:
    await with_tls(bench, "named")
    await bench.connected(tls=vehicle("v0", server_name="broker.test"))


BAD_SERVERS = {
    "strange CA": ("server", "other ca", None, "self-signed certificate in certificate chain"),
    "another name": ("named", "ca", "wrong.test", "Hostname mismatch"),
    "expired": ("late server", "ca", None, "certificate has expired"),
}


@pytest.mark.parametrize("what", BAD_SERVERS)
@on_both_loops
async def test_a_server_that_is_not_trusted_is_counted_with_the_reason(
    bench: Bench, what: str
) -> None:
    server, ca, name, reason = BAD_SERVERS[what]
    await with_tls(bench, server)
    transport = bench.transport(tls=vehicle("v0", ca, server_name=name))
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    ((said, _),) = transport.failures.items()
    assert said.startswith(f"TLS: {reason}")
    assert bench.seen.online == []
    bench.loop_errors.clear()  # the broker's own side of the failed handshakes


class AlertingServer:
    """A TLS server on blocking sockets: those of asyncio close without sending the alert."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        context = at_server()
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            with sock:
                sock.settimeout(1.0)
                context_sock = sock.dup()
                with contextlib.suppress(ssl.SSLError):
                    context.wrap_socket(context_sock, server_side=True).close()
                with contextlib.suppress(OSError):
                    while sock.recv(4096):  # closing with unread bytes would send RST
                        pass

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()


BAD_CLIENTS = {
    "no certificate": (None, "CERTIFICATE_REQUIRED"),
    "strange CA": ("stranger", "UNKNOWN_CA"),
    "expired": ("expired", "CERTIFICATE_EXPIRED"),
}


@pytest.mark.parametrize("what", BAD_CLIENTS)
@on_both_loops
async def test_a_vehicle_that_is_not_trusted_learns_why_from_the_alert(
    bench: Bench, what: str
) -> None:
    """In TLS 1.3 the alert comes after the client's handshake is done, and CONNECT is out."""
    own, reason = BAD_CLIENTS[what]
    server = AlertingServer()
    try:
        bench.broker.port = server.port
        transport = bench.transport(tls=vehicle(own))
        transport.open(0)
        await until(lambda: transport.failures.total() >= 2)
        assert len(transport.failures) == 1
        assert reason in next(iter(transport.failures))
        await transport.close(1.0)
    finally:
        server.close()


@on_both_loops
async def test_a_broker_that_closes_without_an_alert_is_counted_too(bench: Bench) -> None:
    await with_tls(bench)
    transport = bench.transport(tls=vehicle(None))
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert set(transport.failures) == {str(NotTrustedError())}
    assert bench.seen.online == []
    bench.loop_errors.clear()  # the broker's own side of the failed handshakes


@on_both_loops
async def test_a_handshake_that_is_never_answered_times_out(bench: Bench) -> None:
    bench.broker.deaf = True
    transport = bench.transport(tls=vehicle("v0"), connect_timeout_s=0.2)
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert set(transport.failures) == {"no connection within 0.2 s"}


@on_both_loops
async def test_close_and_sever_in_the_middle_of_a_tls_handshake(bench: Bench) -> None:
    bench.broker.deaf = True
    transport = bench.transport(2, tls=vehicle("v0"))
    transport.open(0)
    transport.open(1)
    await until(lambda: len(bench.broker.connections) == 2)
    transport.sever(0, "no radio")
    await until(lambda: transport.failures == {"no radio": 1})
    assert await transport.close(1.0) == []


@on_both_loops
async def test_severed_and_restored_at_any_moment_of_tls(bench: Bench) -> None:
    await with_tls(bench)
    n = 4
    transport = bench.transport(n, tls=vehicle("v0"))
    for i in range(n):
        transport.open(i)
    for turn in range(150):
        (transport.sever if turn % 2 else lambda i, _: transport.restore(i))(turn % n, "no radio")
        await asyncio.sleep(0.001 * (turn % 7))
    for i in range(n):
        transport.restore(i)
    await until(lambda: transport.online == n and len(bench.broker.live) == n)
    for i in range(n):
        transport.publish(i, message(i))
    await until(lambda: sorted(bench.seen.acked) == list(range(n)))
    bench.loop_errors[:] = [e for e in bench.loop_errors if "handshake" not in str(e)]
