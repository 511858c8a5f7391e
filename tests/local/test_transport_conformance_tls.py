"""Every transport over TLS with a certificate a vehicle, against mosquitto and the local AWS; and
what AWS's signature version 4 puts into a WebSocket's opening."""

import asyncio
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from conformance import KINDS, MISSING, Rig, message, online, run, soon
from cryptography.hazmat.primitives import serialization
from places import MISSING as NO_BROKER
from places import Place, running
from test_transport_tls import at_server, pairs, pem, vehicle

from fleet_sim.transport import Kind, Tls

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:paho.*")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    if MISSING[found]:
        pytest.skip(str(MISSING[found]))
    return found


@pytest.fixture(scope="module")
def strict() -> Iterator[Place]:
    """A mosquitto that takes no client without a certificate of the right CA."""
    if NO_BROKER["mosquitto"]:
        pytest.skip(str(NO_BROKER["mosquitto"]))
    options = (
        f"cafile {pem('ca')}\ncertfile {pem('server')}\nkeyfile {pem('server')}\n"
        "require_certificate true\nuse_identity_as_username true\n"
    )
    with running("mosquitto", options, vehicle("v0")) as place:
        yield place


def test_messages_and_reconnects_over_mutual_tls(kind: Kind, strict: Place) -> None:
    async def test(rig: Rig) -> None:
        transport, seen = await rig.connected(kind, strict.host, strict.port, 2, tls=strict.tls)
        for token in range(10):
            transport.publish(token % 2, message(token))
        await soon(lambda: len(seen.acked) == 10)
        transport.sever(0, "no radio")
        transport.publish(0, message(10))
        transport.restore(0)
        await soon(lambda: 10 in seen.acked)
        assert await transport.close(2.0) == []
        assert transport.failures == {"no radio": 1}

    run(test)


NOT_TRUSTED = {
    "no certificate": vehicle(None),
    "certificate of a strange CA": vehicle("stranger"),
    "broker of a strange CA": vehicle("v0", "other ca"),
}


@pytest.mark.parametrize("who", NOT_TRUSTED)
def test_without_trust_nobody_is_online_and_it_is_counted(
    kind: Kind, strict: Place, who: str
) -> None:
    # s2n hides for up to 30 s, socket open, that it does not trust a broker ("blinding").
    late = kind == "awscrt" and who == "broker of a strange CA"

    async def test(rig: Rig) -> None:
        transport, seen = rig.make(
            kind,
            strict.host,
            strict.port,
            tls=NOT_TRUSTED[who],
            connect_timeout_s=0.5 if late else 5.0,
        )
        transport.open(0)
        await soon(lambda: transport.failures.total() >= 2)
        assert seen.online == []
        assert ("no connection within 0.5 s" in transport.failures) == late
        assert await transport.close(0.1 if late else 1.0) == []

    run(test, lingering=late)


def test_a_file_that_is_no_certificate_is_counted_too(kind: Kind, strict: Place) -> None:
    async def test(rig: Rig) -> None:
        tls = Tls(ca_file=pem("ca"), certificates=[(__file__, __file__)])  # type: ignore[list-item]
        transport, seen = rig.make(kind, strict.host, strict.port, tls=tls)
        transport.open(0)
        await soon(lambda: transport.failures.total() >= 1)
        assert seen.online == []
        assert online(seen) == 0
        await transport.close(1.0)

    run(test)


def test_a_signed_websocket_carries_the_credentials_scope_and_signature(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if MISSING["awscrt"]:
        pytest.skip(str(MISSING["awscrt"]))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def test(rig: Rig) -> None:
        context = at_server()
        context.verify_mode = ssl.CERT_NONE
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        # A trust store without keys: what awsiotsdk reads must hold certificates only.
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(pairs()["ca"].certificate.public_bytes(serialization.Encoding.PEM))
        transport, seen = rig.make("awscrt-sigv4", "127.0.0.1", port, tls=Tls(ca_file=str(ca_file)))
        transport.open(0)
        await soon(lambda: transport.failures.total() >= 1)
        await transport.close(1.0)
        server.close()
        assert seen.online == []
        target = asked[0].split()[1]
        assert urlsplit(target).path == "/mqtt"
        query = parse_qs(urlsplit(target).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        scope = query["X-Amz-Credential"][0]
        assert re.fullmatch(r"AKIDEXAMPLE/\d{8}/us-east-1/iotdevicegateway/aws4_request", scope)
        assert re.fullmatch(r"[0-9a-f]{64}", query["X-Amz-Signature"][0])
        assert re.search(r"sec-websocket-protocol: *mqtt", asked[0], re.IGNORECASE)

    run(test)
