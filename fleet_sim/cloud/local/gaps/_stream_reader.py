"""Reads one shard for one event source mapping.

The reader hands records to lanes by partition key; a lane gathers batches and takes one at a time
through the function. So records of a key stay in order, and a lane that is stuck on a poison
record stops no other lane, shard or mapping.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps._stream_batch import Batch, Discard, Policy, Record

GATHER_S = 0.2
"""How long a batch waits for company when there is no batching window. AWS polls a shard about once
a second (Lambda Developer Guide, "Polling and batching streams"), so without a window a record
waits half a second there. This is quicker, and still costs five invocations a second and not a
hundred: each is an archive object and its share of two cores."""
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
_IDLE_POLL_S = 0.5
log = logging.getLogger("fleet_sim.local.lambda")


class Settings(msgspec.Struct, frozen=True):
    """A mapping's batching, read from its record for each batch: changes apply to the next one."""

    batch_size: int
    window_s: float
    lanes: int
    policy: Policy


class Outcome(msgspec.Struct, frozen=True):
    """What became of an invocation."""

    throttled: bool = False
    failed: bool = False
    response: Any = None


class Target(msgspec.Struct, frozen=True):
    """The mapping, as a reader sees it."""

    settings: Callable[[], Settings]
    invoke: Callable[[str, list[Record]], Awaitable[Outcome]]
    """(shard id, records): calls the function."""
    discard: Callable[[str, Discard], Awaitable[None]]
    """(shard id, records given up): tells the failure destination."""


class Lane:
    """Records of some of a shard's partition keys, in order, one batch at a time."""

    def __init__(self, shard_id: str, target: Target) -> None:
        self._shard_id = shard_id
        self._target = target
        self._ready = asyncio.Event()
        self.queue: deque[tuple[int, Record]] = deque()
        self.stopping = False
        self.batch_start: int | None = None
        """Position of the oldest record of the batch in hand that is not done with."""

    def offer(self, position: int, record: Record) -> None:
        self.queue.append((position, record))
        self._ready.set()

    def stop(self) -> None:
        """Ends after the invocation in hand; what is not done with stays unprocessed."""
        self.stopping = True
        self._ready.set()

    async def run(self, taken: Callable[[], None]) -> None:
        while True:
            settings = self._target.settings()
            await self._gather(settings)
            if self.stopping:
                return
            positions, records = self._take(settings.batch_size)
            taken()
            await self._process(positions, records, settings.policy)

    async def _gather(self, settings: Settings) -> None:
        """Returns when a batch is due: it is full, or its window has passed."""
        while not self.queue and not self.stopping:
            await self._wait(None)
        due = time.monotonic() + max(settings.window_s, GATHER_S)
        while len(self.queue) < settings.batch_size and not self.stopping:
            left_s = due - time.monotonic()
            if left_s <= 0:
                return
            await self._wait(left_s)

    async def _wait(self, timeout_s: float | None) -> None:
        self._ready.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            return

    def _take(self, batch_size: int) -> tuple[list[int], list[Record]]:
        positions: list[int] = []
        records: list[Record] = []
        size = 0
        while self.queue and len(records) < batch_size:
            position, record = self.queue[0]
            size += len(record["Data"])
            if records and size > MAX_PAYLOAD_BYTES:
                break
            self.queue.popleft()
            positions.append(position)
            records.append(record)
        self.batch_start = positions[0]
        return positions, records

    async def _process(self, positions: list[int], records: list[Record], policy: Policy) -> None:
        batch = Batch(records, policy)
        where = {id(record): at for at, record in zip(positions, records, strict=True)}
        while (command := batch.next(time.time())) is not None:
            if isinstance(command, Discard):
                await self._target.discard(self._shard_id, command)
            else:
                outcome = await self._target.invoke(self._shard_id, command.records)
                if outcome.throttled:
                    batch.throttled()
                elif outcome.failed:
                    batch.failed()
                else:
                    batch.responded(outcome.response)
            oldest = batch.unprocessed
            self.batch_start = None if oldest is None else where[id(oldest)]
            if oldest is not None and self.stopping:
                return
            if batch.delay_s:
                await self._pause(batch.delay_s)
                if self.stopping:
                    return

    async def _pause(self, delay_s: float) -> None:
        until = time.monotonic() + delay_s
        while not self.stopping and (left_s := until - time.monotonic()) > 0:
            await self._wait(left_s)


class ShardReader:
    """Reads a shard from `position` on. `records` is a log read by absolute position."""

    def __init__(self, shard_id: str, records: Any, position: int, target: Target) -> None:
        self._records: Any = records
        self._target = target
        self._position = position
        self.log_id = id(records)
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._stopping = False
        settings = target.settings()
        self.lanes = [Lane(shard_id, target) for _ in range(settings.lanes)]
        if hasattr(records, "wakers"):
            records.wakers.add(self._woken)
            records.readers[self] = lambda: self.processed
        self.task = self._loop.create_task(self._run())

    @property
    def processed(self) -> int:
        """Every record before this position is done with."""
        behind = [self._position]
        for lane in self.lanes:
            if lane.batch_start is not None:
                behind.append(lane.batch_start)
            elif lane.queue:
                behind.append(lane.queue[0][0])
        return min(behind)

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        for lane in self.lanes:
            lane.stop()
        if hasattr(self._records, "wakers"):
            self._records.wakers.discard(self._woken)
            self._records.readers.pop(self, None)

    def _woken(self) -> None:
        if self._wake.is_set():
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._wake.set()
        else:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for lane in self.lanes:
                tasks.create_task(lane.run(self._wake.set))
            await self._dispatch()

    async def _dispatch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            limit = self._target.settings().batch_size * 2 * len(self.lanes)
            room = limit - sum(len(lane.queue) for lane in self.lanes)
            if room > 0:
                self._hand_out(room)
            try:
                async with asyncio.timeout(_IDLE_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _hand_out(self, room: int) -> None:
        # What expired unread is lost, as on AWS.
        self._position = max(self._position, getattr(self._records, "start", 0))
        records: Sequence[Record] = self._records[self._position : self._position + room]
        for record in records:
            lane = self.lanes[0]
            if len(self.lanes) > 1:
                key = record["PartitionKey"].encode()
                lane = self.lanes[zlib.crc32(key) % len(self.lanes)]
            lane.offer(self._position, record)
            self._position += 1
