"""The MQTT listener for devices."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gap_harness import GapAws, against_stock, unique

from fleet_sim.cloud.local.gaps._mqtt_connection import keep_alive_s

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def packet(kind: int, body: bytes) -> bytes:
    length, coded = len(body), bytearray()
    while True:
        coded.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes([kind]) + coded + body


def string(text: str) -> bytes:
    return len(text).to_bytes(2) + text.encode()


def connect(client_id: str, keep_alive_s: int = 60) -> bytes:
    """MQTT 3.1.1, clean session."""
    header = b"\x00\x04MQTT\x04\x02" + keep_alive_s.to_bytes(2)
    return packet(0x10, header + string(client_id))


async def dial(aws: GapAws, context: ssl.SSLContext) -> Streams:
    host, port = aws.endpoints.mqtt_host, aws.endpoints.mqtt_port
    async with asyncio.timeout(aws.patience_s):
        return await asyncio.open_connection(host, port, ssl=context)


async def answer(aws: GapAws, context: ssl.SSLContext) -> bytes:
    """What the listener sends to a CONNECT before it waits or closes; b'' if it refuses."""
    try:
        reader, writer = await dial(aws, context)
        writer.write(connect(unique("client")))
        async with asyncio.timeout(aws.patience_s):
            received = await reader.read(100)
        writer.transport.abort()
    except (ssl.SSLError, ConnectionError):
        return b""
    return received


ACCEPTED = b"\x20\x02\x00\x00"


async def test_an_active_certificate_is_accepted(aws: GapAws) -> None:
    assert await answer(aws, aws.tls()) == ACCEPTED


@against_stock
async def test_a_client_without_a_certificate_is_refused(aws: GapAws) -> None:
    assert await answer(aws, ssl.create_default_context(cafile=aws.endpoints.ca_file)) == b""


@against_stock
async def test_an_inactive_certificate_is_refused_without_a_connack(aws: GapAws) -> None:
    certificate = aws.new_certificate()
    context = aws.tls(certificate)
    assert await answer(aws, context) == ACCEPTED
    aws.client("iot").update_certificate(certificateId=certificate[0], newStatus="INACTIVE")
    assert await answer(aws, context) == b""
    aws.client("iot").update_certificate(certificateId=certificate[0], newStatus="ACTIVE")
    assert await answer(aws, context) == ACCEPTED


async def test_a_certificate_of_another_ca_is_refused_until_it_is_registered(
    aws: GapAws, tmp_path: Path
) -> None:
    pem, context = self_signed(aws, tmp_path)
    assert await answer(aws, context) == b""
    aws.client("iot").register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    assert await answer(aws, context) == ACCEPTED


@against_stock
async def test_the_alpn_name_of_aws_iot_is_agreed_on(aws: GapAws) -> None:
    context = aws.tls()
    context.set_alpn_protocols(["x-amzn-mqtt-ca"])
    _, writer = await dial(aws, context)
    agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.transport.abort()
    assert agreed == "x-amzn-mqtt-ca"


@against_stock
async def test_a_client_silent_beyond_its_keep_alive_is_disconnected(aws: GapAws) -> None:
    async with aws.mqtt() as watcher:
        name = unique("silent")
        await watcher.subscribe(f"$aws/events/presence/disconnected/{name}", qos=1)
        reader, writer = await dial(aws, aws.tls())
        writer.write(connect(name, keep_alive_s=1))
        assert await reader.readexactly(4) == ACCEPTED
        async with asyncio.timeout(max(aws.patience_s, 3)):
            assert await reader.read(1) == b""
            event = (await anext(watcher.messages)).payload
    assert b"MQTT_KEEP_ALIVE_TIMEOUT" in event
    writer.close()


async def test_pings_keep_a_client_connected(aws: GapAws) -> None:
    reader, writer = await dial(aws, aws.tls())
    # Cut off after 4.5 s of silence: a ping a second, of which some may be late.
    writer.write(connect(unique("pinging"), keep_alive_s=3))
    await reader.readexactly(4)
    for _ in range(5):
        await asyncio.sleep(1.0)
        writer.write(b"\xc0\x00")
        assert await reader.readexactly(2) == b"\xd0\x00"
    writer.transport.abort()


@pytest.mark.parametrize(
    ("requested", "applied"), [(0, 1200), (5, 30), (30, 30), (600, 600), (1200, 1200), (9000, 1200)]
)
def test_the_keep_alive_that_applies(requested: int, applied: float) -> None:
    assert keep_alive_s(requested) == applied


@against_stock
async def test_at_most_100_messages_are_unacknowledged(aws: GapAws) -> None:
    topic = unique("topic")
    reader, writer = await dial(aws, aws.tls())
    writer.write(connect(unique("slow")) + packet(0x82, b"\x00\x01" + string(topic) + b"\x01"))
    await reader.readexactly(4 + 5)
    async with aws.mqtt() as publisher:
        for _ in range(150):
            await publisher.publish(topic, b"x", qos=1)
    size = len(packet(0x32, string(topic) + b"\x00\x01x"))
    first = await reader.readexactly(100 * size)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    for position in range(0, len(first), size):
        writer.write(packet(0x40, first[position + size - 3 : position + size - 1]))
    async with asyncio.timeout(aws.patience_s):
        await reader.readexactly(50 * size)
    writer.transport.abort()


@against_stock
def test_only_loopback_is_listened_on(aws: GapAws) -> None:
    port = f"{aws.endpoints.mqtt_port:04X}"
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port}") and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F:{port}"]


@against_stock
async def test_a_packet_larger_than_128_kib_ends_the_connection(aws: GapAws) -> None:
    reader, writer = await dial(aws, aws.tls())
    writer.write(connect(unique("large")))
    await reader.readexactly(4)
    writer.write(packet(0x30, string("t") + bytes(140_000)))
    async with asyncio.timeout(aws.patience_s):
        assert await reader.read(1) == b""
    writer.transport.abort()


async def test_packets_may_arrive_in_any_pieces(aws: GapAws) -> None:
    topic = unique("topic")
    sent = connect(unique("pieces"))
    sent += packet(0x82, b"\x00\x01" + string(topic) + b"\x01")
    sent += packet(0x32, string(topic) + b"\x00\x07" + bytes(300))
    reader, writer = await dial(aws, aws.tls())
    for piece in (sent[:1], sent[1:3], sent[3:60], sent[60:]):
        writer.write(piece)
        await asyncio.sleep(0.02)
    assert await reader.readexactly(9) == ACCEPTED + b"\x90\x03\x00\x01\x01"
    async with asyncio.timeout(aws.patience_s):
        received = await reader.readuntil(bytes(300))
        received += await reader.readexactly(4 if b"\x40\x02\x00\x07" not in received else 0)
    assert b"\x40\x02\x00\x07" in received
    writer.transport.abort()


def self_signed(aws: GapAws, folder: Path) -> tuple[str, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "stranger.pem").write_text(pem)
    (folder / "stranger.key").write_bytes(private)
    context = ssl.create_default_context(cafile=aws.endpoints.ca_file)
    context.load_cert_chain(folder / "stranger.pem", folder / "stranger.key")
    return pem, context
