"""An MQTT broker that needs no installation: rumqttd, in a child process, on loopback.

`iotcore` ships the broker as a wheel. The child is this module run as a program: it has a session
of its own, so that a Ctrl-C at the terminal reaches the run and not the broker it drains to, and it
ends with its parent, whatever ended that.
"""

import contextlib
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import IO

MAX_PAYLOAD_BYTES = 256 * 1024
MEMORY_BYTES = 256 * 1024 * 1024
"""What the broker may keep of all topics together, unless each gets its smallest share."""
_SEGMENTS = 2
_SEGMENT_BYTES = (16 * 1024, 4 * 1024 * 1024)
"""rumqttd keeps the newest messages of each topic in segments, whether anybody subscribed or not:
a subscriber that is further behind than these misses messages."""


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker did not start; the message is one line for a user."""


class EmbeddedBroker:
    """A broker on a free port of 127.0.0.1, for up to `connections` clients.

    Speaks MQTT 5, without TLS, and takes anybody: it is for load that stays on this machine.
    Nothing survives its end.
    """

    def __init__(self, connections: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self._connections = connections
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, timeout_s: float = 60.0) -> None:
        """Start, and wait until it takes connections. `EmbeddedBrokerError` when it does not.

        Started again after `stop`, it has the port it had."""
        if importlib.util.find_spec("iotcore") is None:
            raise EmbeddedBrokerError(
                "--broker embedded: iotcore is not installed (allowed: pip install iotcore)"
            )
        if not self.port:
            held = _held(self.host)
            self.port = held.getsockname()[1]
            weakref.finalize(self, held.close)
        self._folder = tempfile.TemporaryDirectory(prefix="fleet-sim-broker-")
        config = Path(self._folder.name) / "rumqttd.toml"
        config.write_text(configuration(self.host, self.port, self._connections))
        log = Path(self._folder.name) / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fleet_sim.engine.embedded", str(config)],
                stdin=subprocess.PIPE,  # the child ends when this closes
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()
                self.stop()
                raise EmbeddedBrokerError(
                    f"the embedded broker did not start: {said[-1] if said else 'no answer'}"
                )
            time.sleep(0.02)

    def alive(self) -> bool:
        """False once its process has ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End the process as a crash would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def stop(self) -> None:
        """End the process. May be called twice."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex((self.host, self.port)) == 0


def configuration(host: str, port: int, connections: int) -> str:
    """rumqttd's TOML: one listener for MQTT 5, and limits for `connections` clients that each
    publish to a topic of their own."""
    low, high = _SEGMENT_BYTES
    segment = min(high, max(low, MEMORY_BYTES // (_SEGMENTS * max(1, connections))))
    return f"""id = 0
[router]
id = 0
max_connections = {connections + 100}
max_outgoing_packet_count = 200
max_segment_size = {segment}
max_segment_count = {_SEGMENTS}
[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 0
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {MAX_PAYLOAD_BYTES}
max_inflight_count = 100
dynamic_filters = true
"""


def _held(host: str) -> socket.socket:
    """A free port, which stays ours while the broker is down: the system may give it to nobody
    else, nor to a vehicle that tries to connect, and would then meet itself."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the broker binds it, too
    held.bind((host, 0))
    return held


def _end_with(parent: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        parent.read()
    os._exit(0)


def _main() -> None:
    from iotcore import Broker

    # rumqttd traces every packet at level ERROR.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    Broker(config_path=sys.argv[1]).run_forever()


if __name__ == "__main__":
    _main()
