"""What a load test and its vehicles' process say to each other, and the load test's end of it.

Threads and pipes of the standard library, which gevent makes its own in a process of Locust.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Literal

import msgspec

from fleet_sim.engine.load.plan import Place

START_TIMEOUT_S = 120.0
"""Certificates of all vehicles may have to be made."""
ANSWER_TIMEOUT_S = 60.0
MODULE = "fleet_sim.engine.load.mqtt"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which vehicles there are, and where they connect to."""

    run: str
    vehicles: int
    process: int
    """Of the load test's: no two have vehicles in common."""
    identities: str = ""
    place: Place | None = None
    broker: tuple[str, int] | None = None
    """Host and port of a broker in the clear, instead of a stack."""


class Request(msgspec.Struct, frozen=True):
    """`connect` is answered when the vehicle is online, `publish` when the broker has it."""

    number: int
    do: Literal["connect", "publish"]
    vehicle: int
    lat: float = 0.0
    lon: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    number: int
    took_ns: int = 0
    """From the request to its end, by the vehicles' process: pipe and gevent are not in it."""
    vin: str = ""
    seq: int = 0
    """Of the message that was published."""
    error: str = ""


class VehiclesError(RuntimeError):
    """The vehicles' process did not begin, or is gone; one line."""


class VehiclesProcess:
    """The other process. `ask` may be called by many threads at a time."""

    def __init__(self, order: Order, command: Sequence[str] = ()) -> None:
        """Start it and wait until its vehicles can connect. `VehiclesError` when they cannot."""
        self.size = order.vehicles
        self._process = subprocess.Popen(
            [*(command or (sys.executable, "-m", MODULE))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._lock = threading.Lock()
        self._waiting: dict[int, threading.Event] = {}
        self._answers: dict[int, Answer] = {}
        self._gone = False
        self._number = 0
        started = self._waiting[0] = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._write(msgspec.json.encode(order))
        except VehiclesError:
            self.close()
            raise
        answer = self._wait(0, started, START_TIMEOUT_S)
        if answer.error:
            self.close()
            raise VehiclesError(f"vehicles: {answer.error}")

    def ask(
        self, do: Literal["connect", "publish"], vehicle: int, lat: float = 0.0, lon: float = 0.0
    ) -> Answer:
        """Waits for the answer, which says what went wrong in `error`."""
        done = threading.Event()
        with self._lock:
            self._number += 1
            number = self._number
            self._waiting[number] = done
        try:
            self._write(msgspec.json.encode(Request(number, do, vehicle, lat, lon)))
        except VehiclesError as error:
            return Answer(number, error=str(error))
        return self._wait(number, done, ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """Vehicles say goodbye; the process ends."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except OSError:
                self._gone = True
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- inside -----------------------------------------------------------------------------------

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with self._lock:
            if self._gone:
                raise VehiclesError("vehicles: their process has ended")
            try:
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                raise VehiclesError("vehicles: their process has ended") from None

    def _wait(self, number: int, done: threading.Event, timeout_s: float) -> Answer:
        heard = done.wait(timeout_s)
        with self._lock:
            self._waiting.pop(number, None)
            answer = self._answers.pop(number, None)
        if answer is not None:
            return answer
        why = "their process has ended" if heard else f"no answer in {timeout_s:.0f} s"
        return Answer(number, error=why)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                answer = msgspec.json.decode(line, type=Answer)
            except msgspec.DecodeError:  # printed by a library
                sys.stderr.write(f"vehicles: {line.decode(errors='replace')}")
                continue
            with self._lock:
                done = self._waiting.get(answer.number)
                if done is not None:  # else: who asked has given up
                    self._answers[answer.number] = answer
                    done.set()
        with self._lock:
            self._gone = True
            for done in self._waiting.values():
                done.set()
