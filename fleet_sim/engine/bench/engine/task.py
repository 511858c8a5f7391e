"""What a contestant is asked to do, what it answers, and the instruments that all of them share."""

import asyncio
import math
import resource
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

TICK_S = 0.005
"""Between two looks at the schedule, as in the engine."""
CONNECT_TIMEOUT_S = 60.0
CONCURRENCY = 64
"""Connections under way at once."""


class Task(msgspec.Struct, frozen=True):
    """Connect `vehicles`, each of which publishes every `period_s` with QoS 1 to its own topic."""

    contestant: str
    host: str
    port: int
    vehicles: int
    period_s: float
    warmup_s: float
    duration_s: float
    payload_bytes: int

    def topic(self, i: int) -> str:
        return f"fleet/{self.client_id(i)}/telemetry"

    def client_id(self, i: int) -> str:
        return f"BENCH{i:012d}"

    @property
    def payload(self) -> bytes:
        return b"x" * self.payload_bytes

    @property
    def total_s(self) -> float:
        return self.warmup_s + self.duration_s


class Outcome(msgspec.Struct, frozen=True):
    """What one process measured. CPU is user and system time of all its threads."""

    connected: int
    connect_s: float
    """Wall time until the last was online."""
    base_kb: float
    """Resident before the first vehicle was made."""
    connected_kb: float
    """Resident when all were online and nothing was sent."""
    acknowledged: int
    """In the window, which begins when the warm-up is over."""
    cpu_s: float
    wall_s: float
    lateness_p99_ms: float
    """Of handing a message to the client, after its intended time."""
    payload_bytes: float


class Window(NamedTuple):
    acknowledged: int
    cpu_s: float
    wall_s: float


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_kb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1024


async def window(task: Task, acknowledged: Callable[[], int]) -> Window:
    """Sleep through the warm-up and the window, and look at both its ends."""
    await asyncio.sleep(task.warmup_s)
    before = acknowledged(), cpu_s(), time.perf_counter()
    await asyncio.sleep(task.duration_s)
    return Window(acknowledged() - before[0], cpu_s() - before[1], time.perf_counter() - before[2])


class Pacer:
    """The schedule of a whole fleet: message m is vehicle m mod n's, and due at m · period / n."""

    def __init__(self, task: Task) -> None:
        self._n = task.vehicles
        self._spacing_s = task.period_s / task.vehicles
        self._sent = 0
        self.lateness_s: list[float] = []
        """Of the oldest message of each batch."""

    def due(self, elapsed_s: float) -> Iterator[int]:
        """The vehicles whose messages are due."""
        first, until = self._sent, math.floor(elapsed_s / self._spacing_s) + 1
        if until <= first:
            return
        self._sent = until
        self.lateness_s.append(elapsed_s - first * self._spacing_s)
        for m in range(first, until):
            yield m % self._n


def p99_ms(lateness_s: list[float]) -> float:
    if not lateness_s:
        return math.nan
    return sorted(lateness_s)[min(len(lateness_s) - 1, len(lateness_s) * 99 // 100)] * 1e3
