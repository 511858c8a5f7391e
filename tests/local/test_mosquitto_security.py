"""Who is let in, and what is said to those who are not: by mosquitto, which others wrote."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mosquitto import MOSQUITTO, Mosquitto, held_port
from test_transport_tls import DAY, NOW, issue, pairs, pem, vehicle
from transport_bench import Bench, on_both_loops, until

from fleet_sim.engine.connection import with_mqtt
from fleet_sim.scenario import Mqtt
from fleet_sim.transport import Certificate, LinkSettings, Secret, Tls, WebSocket
from fleet_sim.transport.tls import NotTrustedError
from fleet_sim.vehicle import Message

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


NOBODY_LISTENS = 0x10
"""Taken, and nobody has subscribed to it (MQTT 5, 3.4.2.1)."""


class Ports:
    """One mosquitto: in the clear with passwords, TLS with certificates, and WebSockets."""

    def __init__(self, folder: Path) -> None:
        self.held, ports = zip(*(held_port() for _ in range(3)), strict=True)
        self.tls, self.late, self.websocket = ports
        (folder / "acl").write_text("pattern write fleet/%u/telemetry\n")
        password = MOSQUITTO.replace("/sbin/", "/bin/") if MOSQUITTO else ""
        subprocess.run(
            [f"{password}_passwd", "-b", "-c", str(folder / "users"), "fleet/v0", "hunter2"],
            check=True,
        )
        ca = folder / "ca.pem"
        ca.write_bytes(pairs()["ca"].pem().split(b"-----END PRIVATE KEY-----\n")[1])

        def secure(port: int, server: str) -> str:
            return (
                f"listener {port} 127.0.0.1\ncafile {ca}\ncertfile {pem(server)}\n"
                f"keyfile {pem(server)}\nrequire_certificate true\n"
                f"use_identity_as_username true\nacl_file {folder}/acl\n"
            )

        self.broker = Mosquitto(
            folder,
            f"allow_anonymous false\npassword_file {folder}/users\n"
            + secure(self.tls, "server")
            + secure(self.late, "late server")
            + f"listener {self.websocket} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n",
            head="per_listener_settings true\n",
        )
        self.plain = self.broker.port


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with tempfile.TemporaryDirectory() as folder:
        made = Ports(Path(folder))
        made.broker.start()

        async def all_open() -> None:
            await until(made.broker.answers)
            for port in (made.tls, made.late, made.websocket):
                made.broker.port = port
                await until(made.broker.answers)
            made.broker.port = made.plain

        asyncio.run(all_open())
        yield made
        made.broker.stop()
        for held in made.held:
            held.close()


def own(name: str) -> Tls:
    """A certificate of the fleet's CA in the name of a vehicle."""
    pairs().setdefault(name, issue(name, pairs()["ca"]))
    return Tls(ca_file=pem("ca"), certificates=[Certificate(pem(name), pem(name))])


async def reason(bench: Bench, port: int, **settings: Any) -> str:
    """Why vehicle v0 is not let in."""
    bench.broker.port = port
    transport = bench.transport(**settings)
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert len(transport.failures) == 1, transport.failures
    assert bench.seen.online == []
    return next(iter(transport.failures))


@on_both_loops
async def test_who_has_the_right_certificate_is_let_in_and_returns(
    bench: Bench, ports: Ports
) -> None:
    bench.broker.port = ports.tls
    transport = await bench.connected(tls=own("v0"))
    for turn in range(2):
        count = len(bench.seen.online)
        transport.sever(0, "no radio")
        transport.publish(0, Message(turn, "fleet/v0/telemetry", b"x", 1))
        transport.restore(0)
        await until(lambda: len(bench.seen.online) > count)  # noqa: B023 - within the turn
    await until(lambda: len(bench.seen.acknowledged) == 2)
    # The broker knows it by its certificate after a ticket as well: its access list says so.
    assert {code for _, _, code in bench.seen.acknowledged} == {NOBODY_LISTENS}
    assert transport.handshakes == (1, 2)


@on_both_loops
async def test_the_certificate_of_another_vehicle_may_not_write_as_this_one(
    bench: Bench, ports: Ports
) -> None:
    bench.broker.port = ports.tls
    transport = await bench.connected(tls=own("v1"))
    transport.publish(0, Message(0, "fleet/v0/telemetry", b"x", 1))
    transport.publish(0, Message(1, "fleet/v1/telemetry", b"x", 1))
    await until(lambda: len(bench.seen.acknowledged) == 2)
    assert [code for _, _, code in bench.seen.acknowledged] == [0x87, NOBODY_LISTENS]


@on_both_loops
async def test_wrong_ca(bench: Bench, ports: Ports) -> None:
    said = await reason(bench, ports.tls, tls=vehicle("v0", "other ca"))
    assert said.startswith(("TLS: self-signed certificate", "TLS: unable to get local issuer"))


@on_both_loops
async def test_the_brokers_certificate_has_expired(bench: Bench, ports: Ports) -> None:
    assert await reason(bench, ports.late, tls=own("v0")) == "TLS: certificate has expired"


@on_both_loops
async def test_the_brokers_certificate_has_another_name(bench: Bench, ports: Ports) -> None:
    tls = own("v0")._replace(server_name="wrong.test")
    said = await reason(bench, ports.tls, tls=tls)
    assert said.startswith("TLS: Hostname mismatch, certificate is not valid for 'wrong.test'")


VEHICLES = {
    "no certificate": (None, "CERTIFICATE_REQUIRED"),
    "of another CA": ("stranger", "UNKNOWN_CA"),
    "expired": ("expired", "CERTIFICATE_EXPIRED"),
}


@pytest.mark.parametrize("what", VEHICLES)
@on_both_loops
async def test_a_vehicle_that_is_not_trusted(bench: Bench, ports: Ports, what: str) -> None:
    name, said = VEHICLES[what]
    pairs().setdefault("expired", issue("v0", pairs()["ca"], until_when=NOW - DAY))
    bench.broker.port = ports.tls
    transport = bench.transport(tls=vehicle(name))
    transport.open(0)
    await until(lambda: transport.failures.total() >= 4)
    # Whether the alert is read or lost with the connection is a matter of microseconds.
    assert {r for r in transport.failures if said not in r} <= {str(NotTrustedError())}
    assert bench.seen.online == []


@on_both_loops
async def test_passwords(bench: Bench, ports: Ports) -> None:
    bench.broker.port = ports.plain
    settings = with_mqtt(
        LinkSettings("127.0.0.1", ports.plain),
        Mqtt(username="fleet/{vin}", password="${P}"),
        {"P": "hunter2"},
    )
    await bench.connected(username=settings.username, password=settings.password)
    bench.seen.online.clear()
    for password in (Secret("wrong"), None):
        said = await reason(bench, ports.plain, username="fleet/{vin}", password=password)
        assert said == "refused by the broker: not authorized (0x87)"


@on_both_loops
async def test_no_websocket_there(bench: Bench, ports: Ports) -> None:
    said = await reason(bench, ports.plain, websocket=WebSocket())
    assert said.startswith(("not a WebSocket", "closed by the broker", "Connection reset"))


@on_both_loops
async def test_mqtt_where_websockets_are_spoken(bench: Bench, ports: Ports) -> None:
    said = await reason(bench, ports.websocket, connect_timeout_s=0.5)
    # It answers in HTTP, and only some of that looks like MQTT.
    assert said.startswith(("malformed packet from the broker", "closed by the broker"))


@on_both_loops
async def test_aliases_and_expiry_are_understood(bench: Bench, ports: Ports) -> None:
    """mosquitto takes ten aliases a client by default; a wrong one would end the connection."""
    bench.broker.port = ports.websocket
    transport = await bench.connected(
        websocket=WebSocket(), topic_alias=True, message_expiry_s=9, user_properties=(("a", "b"),)
    )
    for token in range(60):
        transport.publish(0, Message(token, f"t/{token % 12}", b"x", 1))
    await until(lambda: len(bench.seen.acknowledged) == 60)
    assert transport.failures == {}
    assert transport._links[0]._aliases == {f"t/{n}": n + 1 for n in range(10)}  # type: ignore[union-attr]
