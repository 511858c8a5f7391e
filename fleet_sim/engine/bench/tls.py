"""What connections cost by kind: `fleet-sim bench tls`.

Vehicles of the native transport against a mosquitto that asks for certificates, in the clear, over
TLS with and without session tickets, and over WebSocket. All in one process, in turns, and medians
of the rounds: what the machine does besides is the same for all.
"""

import asyncio
import getpass
import os
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import mqtt5
import msgspec
import uvloop
from rich.table import Table

from fleet_sim.cloud import manifest
from fleet_sim.cloud.authority import Authority, write_private
from fleet_sim.cloud.target import TargetError
from fleet_sim.contract import telemetry_topic
from fleet_sim.transport import (
    Certificate,
    ConnectError,
    LinkSettings,
    NativeTransport,
    Tls,
    WebSocket,
)
from fleet_sim.vehicle import Backoff, Message
from fleet_sim.world.vin import vin

_HOST = "127.0.0.1"
_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_PAYLOAD = b"x" * 300
"""About the size of a telemetry message."""
_LIMIT_S = 120.0
"""For all vehicles to connect once."""


class Cost(msgspec.Struct, frozen=True):
    """One kind of connection. CPU times are this process's, medians over the rounds."""

    kind: str
    connect_ms: float
    """CPU of a vehicle's first connection, up to CONNACK."""
    reconnect_ms: float
    """CPU of its coming back."""
    reconnect_broker_ms: float
    """CPU of the broker for that."""
    reconnects_per_s: float
    """By the wall clock."""
    resumed: float
    """Share of the returns whose handshake a ticket shortened."""
    message_us: float
    """CPU of a QoS 1 message with its acknowledgement."""
    ratio: float = 1.0
    """Of `message_us` to that in the clear."""


class _Ports(NamedTuple):
    plain: int
    tls: int
    websocket: int
    pid: int


class _Counting:
    """A `Listener` that counts."""

    def __init__(self) -> None:
        self.online = 0
        self.acknowledged = 0

    def on_online(self, i: int) -> None:
        self.online += 1

    def on_offline(self, i: int, reason: str) -> None:
        self.online -= 1

    def on_sent(self, token: int, t_ns: int, duplicate: bool) -> None:
        pass

    def on_acknowledged(self, token: int, t_ns: int, reason_code: int) -> None:
        self.acknowledged += 1

    def on_evicted(self, token: int) -> None:
        pass

    def on_refused(self, token: int, reason: str) -> None:
        pass

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None:
        pass


def bench_tls(vehicles: int, messages: int, rounds: int) -> list[Cost]:
    """Costs by kind of connection. `TargetError` when there is no mosquitto, `ConnectError` when
    vehicles cannot connect."""
    with tempfile.TemporaryDirectory(prefix="fleet-sim-bench-") as name:
        folder = Path(name)
        vins = [vin(0, i) for i in range(vehicles)]
        own = manifest.provision(folder, f"mqtts://{_HOST}", vins)
        files = [Certificate(i.cert_file, i.key_file) for i in own.identities]
        tls = Tls(ca_file=own.ca_file, certificates=files)
        with _mosquitto(folder) as ports:
            base = LinkSettings(
                _HOST,
                ports.plain,
                connect_rate=100_000.0,
                connect_concurrency=64,
                backoff=Backoff(0.01, 0.01, jitter="none"),
            )
            secure = base._replace(port=ports.tls)
            kinds = {
                "plain": base,
                "plain, alias": base._replace(topic_alias=True),
                "TLS, full": secure._replace(tls=tls._replace(resumption=False)),
                "TLS, ticket": secure._replace(tls=tls),
                "WebSocket": base._replace(port=ports.websocket, websocket=WebSocket("/")),
            }
            found: dict[str, list[Cost]] = {kind: [] for kind in kinds}
            for _ in range(rounds):
                for kind, settings in kinds.items():
                    cost = uvloop.run(_measure(kind, settings, vins, messages, ports.pid))
                    found[kind].append(cost)
    costs = [_median(kind, costs) for kind, costs in found.items()]
    plain = costs[0].message_us
    return [msgspec.structs.replace(cost, ratio=cost.message_us / plain) for cost in costs]


def tls_table(costs: list[Cost]) -> Table:
    """For a terminal."""
    table = Table(
        title="CPU a connection, a return (and its rate), a QoS 1 message",
        title_justify="left",
        box=None,
    )
    table.add_column("", no_wrap=True)
    for heading in (
        "connect ms", "return ms", "broker ms", "per s", "ticket", "message µs", "× plain",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            cost.kind,
            f"{cost.connect_ms:.2f}",
            f"{cost.reconnect_ms:.2f}",
            f"{cost.reconnect_broker_ms:.2f}",
            f"{cost.reconnects_per_s:,.0f}",
            f"{cost.resumed:.0%}",
            f"{cost.message_us:.1f}",
            f"{cost.ratio:.2f}",
        )
    return table


async def _measure(
    kind: str, settings: LinkSettings, vins: list[str], messages: int, broker: int
) -> Cost:
    listener = _Counting()
    n = len(vins)
    transport = NativeTransport(
        settings, vins, listener, now_ns=time.monotonic_ns, uniform=random.Random(1).random
    )
    try:
        began = time.process_time()
        for i in range(n):
            transport.open(i)
        await _until(lambda: listener.online == n, transport)
        connect_s = time.process_time() - began
        await asyncio.sleep(0.1)  # tickets come after CONNACK
        before = transport.handshakes.resumed
        began, broker_began, wall_began = time.process_time(), _cpu_s(broker), time.perf_counter()
        for i in range(n):
            transport.sever(i, "the benchmark")
        await asyncio.sleep(0)
        for i in range(n):
            transport.restore(i)
        await _until(lambda: listener.online == n, transport)
        reconnect_s, wall_s = time.process_time() - began, time.perf_counter() - wall_began
        reconnect_broker_s = _cpu_s(broker) - broker_began
        topics = [telemetry_topic(name) for name in vins]
        began = time.process_time()
        for turn in range(messages):
            for i in range(n):
                transport.publish(i, Message(turn, topics[i], _PAYLOAD, 1))
            await asyncio.sleep(0.01)
        await _until(lambda: listener.acknowledged == n * messages, transport)
        message_s = time.process_time() - began
    finally:
        await transport.close(5.0)
    return Cost(
        kind=kind,
        connect_ms=connect_s / n * 1e3,
        reconnect_ms=reconnect_s / n * 1e3,
        reconnect_broker_ms=reconnect_broker_s / n * 1e3,
        reconnects_per_s=n / wall_s,
        resumed=(transport.handshakes.resumed - before) / n,
        message_us=message_s / (n * messages) * 1e6,
    )


async def _until(condition: Callable[[], bool], transport: NativeTransport) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LIMIT_S
    while not condition():
        if loop.time() > deadline:
            reasons = "; ".join(f"{n} × {why}" for why, n in transport.failures.most_common(3))
            raise ConnectError(f"bench tls: not within {_LIMIT_S:g} s: {reasons}")
        await asyncio.sleep(0.01)


def _median(kind: str, costs: list[Cost]) -> Cost:
    fields = [name for name in Cost.__struct_fields__ if name != "kind"]
    return Cost(
        kind, **{name: statistics.median(getattr(cost, name) for cost in costs) for name in fields}
    )


def _cpu_s(pid: int) -> float:
    """CPU time of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _mosquitto(folder: Path) -> Iterator[_Ports]:
    """A mosquitto of our own, with the certificate of the folder's authority."""
    program = shutil.which("mosquitto", path=_PATH)
    if program is None:
        raise TargetError("bench tls: mosquitto is not installed (try: apt-get install mosquitto)")
    broker_file = folder / "broker.pem"
    write_private(broker_file, Authority.open(folder).broker(_HOST))
    plain, tls, websocket = _free_ports(3)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user {getpass.getuser()}\nlog_type none\nper_listener_settings true\n"
        f"max_queued_messages 0\nset_tcp_nodelay true\n"
        f"listener {plain} {_HOST}\nallow_anonymous true\n"
        f"listener {websocket} {_HOST}\nprotocol websockets\nallow_anonymous true\n"
        f"listener {tls} {_HOST}\nallow_anonymous true\nrequire_certificate true\n"
        f"cafile {folder}/ca.pem\ncertfile {broker_file}\nkeyfile {broker_file}\n"
    )
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for port in (plain, tls, websocket):
            _wait_for(port, process)
        yield _Ports(plain, tls, websocket, process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex((_HOST, port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise TargetError(f"bench tls: mosquitto does not listen at port {port}")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports
