"""Mosquitto, as the system has it, for tests against a broker that others wrote."""

import getpass
import shutil
import socket
import subprocess
import weakref
from pathlib import Path

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def held_port() -> tuple[socket.socket, int]:
    """A port of 127.0.0.1 that mosquitto can listen on, and nobody else gets from the system for as
    long as the socket is open."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # mosquitto sets it, too
    held.bind(("127.0.0.1", 0))
    return held, held.getsockname()[1]


class Mosquitto:
    """A mosquitto on a free port that keeps its sessions on disk, in a folder of its own.

    `options` are lines of its configuration for the listener and after, `head` those before.
    """

    def __init__(self, folder: Path, options: str = "", head: str = "") -> None:
        self.host = "127.0.0.1"
        held, self.port = held_port()
        weakref.finalize(self, held.close)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"{head}user {getpass.getuser()}\n"
            "persistence true\n"
            f"persistence_location {folder}/\n"
            "max_queued_messages 0\n"
            "log_type none\n"
            f"{'' if head else 'allow_anonymous true'}\n"
            f"listener {self.port} {self.host}\n"
            f"{options}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)])

    def answers(self) -> bool:
        """Whether it takes connections."""
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def kill(self) -> None:
        """End it as a crash does: what it had not saved is gone, with its sessions."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None
