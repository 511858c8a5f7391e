"""The broker that all contestants of a benchmark meet."""

import contextlib
import getpass
import re
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fleet_sim.cloud.target import TargetError
from fleet_sim.engine.bench.engine.contest import mosquitto
from fleet_sim.engine.embedded import EmbeddedBroker

_URL = re.compile(r"mqtt://(?P<host>[^/:@]+)(:(?P<port>\d{1,5}))?/?")


class Address(NamedTuple):
    host: str
    port: int
    name: str


@contextlib.contextmanager
def running(broker: str | None, vehicles: int) -> Iterator[Address]:
    """`mosquitto` and `embedded` are started and ended; `mqtt://HOST:PORT` is there already. None
    takes mosquitto where it is installed. `TargetError` for anything else."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the broker inherits it
    if broker is None:
        broker = "embedded" if mosquitto() is None else "mosquitto"
    if broker == "mosquitto":
        with _mosquitto() as address:
            yield address
    elif broker == "embedded":
        embedded = EmbeddedBroker(vehicles)
        embedded.start()
        try:
            yield Address(embedded.host, embedded.port, "rumqttd (embedded)")
        finally:
            embedded.stop()
    elif match := _URL.fullmatch(broker):
        yield Address(match["host"], int(match["port"] or 1883), broker)
    else:
        raise TargetError(
            f"--broker: {broker!r} is not known (allowed: mosquitto, embedded, mqtt://HOST:PORT)"
        )


@contextlib.contextmanager
def _mosquitto() -> Iterator[Address]:
    program = mosquitto()
    if program is None:
        raise TargetError("--broker mosquitto: not installed (allowed: embedded, mqtt://HOST:PORT)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(
            f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
            "log_type none\nmax_queued_messages 0\n"
        )
        process = subprocess.Popen(
            [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 10
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TargetError("--broker mosquitto: it does not start")
                time.sleep(0.02)
            said = subprocess.run([program, "-h"], capture_output=True, text=True).stdout
            yield Address("127.0.0.1", port, said.splitlines()[0] if said else "mosquitto")
        finally:
            process.terminate()
            process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
