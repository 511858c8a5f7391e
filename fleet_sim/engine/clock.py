"""Time as the engine sees it: monotonic, in ns since the epoch, and behind an interface."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the engine knows of time. A test's clock jumps where this one waits."""

    def now_ns(self) -> int:
        """ns since the epoch; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait, and let others run meanwhile."""


class MonotonicEpoch:
    """`perf_counter_ns` put onto the epoch once, when it is made.

    A step of the system clock during a run (NTP) therefore cannot bend a latency; what it costs is
    the drift between the two clocks, some ms an hour.
    """

    __slots__ = ("offset_ns",)

    def __init__(self, offset_ns: int | None = None) -> None:
        """`offset_ns`: that another process on this machine has measured."""
        if offset_ns is not None:
            self.offset_ns = offset_ns
            return
        # The tightest of a few readings: a preemption between the two calls would shift the run.
        best: tuple[int, int] | None = None
        for _ in range(5):
            before = time.perf_counter_ns()
            wall = time.time_ns()
            after = time.perf_counter_ns()
            if best is None or after - before < best[0]:
                best = (after - before, wall - (before + after) // 2)
        assert best is not None
        self.offset_ns = best[1]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now_ns(self) -> int:
        return time.perf_counter_ns() + self.offset_ns
