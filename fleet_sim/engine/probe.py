"""How long until the API shows a message: sampled, open loop, from the message's intended time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.contract import FleetSummary, VehicleView
from fleet_sim.engine.shard import Shard
from fleet_sim.measure.live import LiveHistogram, LiveStats

START_EVERY_S = 0.5
SUMMARY_EVERY_S = 5.0
GIVE_UP_S = 60.0
MAX_OPEN = 128
MAX_REQUESTS = 2
"""At once. A stalled API must not be buried under the very probes that measure it."""

T = TypeVar("T")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe leaves, besides the times of messages."""

    problems: dict[str, int]
    """Answers that were none, by reason."""
    timed_out: int
    occupancy: list[tuple[int, float]]
    """When the API was asked, ns since the epoch, and the share of the known spots that it said is
    taken."""

    @classmethod
    def merged(cls, parts: Sequence["Seen"]) -> "Seen":
        """Of all shards' probes."""
        problems: Counter[str] = Counter()
        for part in parts:
            problems.update(part.problems)
        return cls(
            problems=dict(problems),
            timed_out=sum(part.timed_out for part in parts),
            occupancy=sorted(row for part in parts for row in part.occupancy),
        )


class VisibleProbe:
    """Every half second (`shards` of them: each that much more rarely) takes the newest message and
    polls `GET /vehicles/{vin}` until the API shows it.

    A probe is started whether or not earlier ones have ended: a stall of the pipeline is seen by as
    many probes as it lasted half seconds, and not only by the one that was waiting. The answer's
    arrival is an upper bound; polls are 50 ms apart at first, then a tenth of the age, and further
    apart when more than `MAX_REQUESTS` would be under way.
    """

    def __init__(
        self, api_url: str, shard: Shard, run: str, now_ns: Callable[[], int], *, shards: int = 1
    ) -> None:
        self.visible_ns: dict[int, int] = {}
        """By ledger row: when an answer showed it."""
        self.stored_ns: dict[int, int] = {}
        """By ledger row: when the processor wrote it, by the cloud's clock."""
        self.problems: Counter[str] = Counter()
        """Answers that were none, by reason."""
        self.timed_out = 0
        """Messages that the API did not show within `GIVE_UP_S`."""
        self.skipped = 0
        """Probes not started because `MAX_OPEN` were open."""
        self._url = api_url.rstrip("/")
        self._shard = shard
        self._run = run
        self._now_ns = now_ns
        self._every_s = START_EVERY_S * shards
        self._asks_occupancy = shard.share.number == 0
        self.occupancy: list[tuple[int, float]] = []
        """When the API was asked, and the share of the known spots that it said is taken."""
        self._live, self._told = LiveHistogram(), 0
        self._open: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(MAX_REQUESTS)
        self._asking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled; open probes end with it."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            if self._asks_occupancy:
                self._asking = asyncio.create_task(self._summaries(http))
                self._open.add(self._asking)
            try:
                while True:
                    await asyncio.sleep(self._every_s)
                    row = len(self._shard.ledger) - 1
                    if row < 0:
                        continue
                    if len(self._open) >= MAX_OPEN:
                        self.skipped += 1
                        continue
                    task = asyncio.create_task(self._watch(http, row))
                    self._open.add(task)
                    task.add_done_callback(self._open.discard)
            finally:
                open_now = list(self._open)
                for task in open_now:
                    task.cancel()
                await asyncio.gather(*open_now, return_exceptions=True)

    async def settle(self, timeout_s: float) -> None:
        """Wait for the open probes, or no longer than `timeout_s`."""
        watching = [task for task in self._open if task is not self._asking]
        if watching:
            await asyncio.wait(watching, timeout=timeout_s)

    async def _watch(self, http: aiohttp.ClientSession, row: int) -> None:
        ledger = self._shard.ledger
        vin = self._shard.vin_of(int(ledger.column("vehicle")[row]))
        seq = int(ledger.column("seq")[row])
        intended_ns = int(ledger.column("intended_ns")[row])
        while True:
            view = await self._get(http, f"vehicles/{vin}", VehicleView)
            now_ns = self._now_ns()
            if view is not None and view.run == self._run and view.seq >= seq:
                self.visible_ns[row] = now_ns
                if view.seq == seq:
                    self.stored_ns[row] = round(view.stored_ms * 1e6)
                return
            age_s = (now_ns - intended_ns) / 1e9
            if age_s > GIVE_UP_S:
                self.timed_out += 1
                return
            await asyncio.sleep(min(1.0, max(0.05, age_s / 10)))

    async def _summaries(self, http: aiohttp.ClientSession) -> None:
        """Ask now and then how full the map thinks the city is."""
        while True:
            summary = await self._get(http, "fleet/summary", FleetSummary)
            if summary is not None and (known := summary.occupied + summary.free):
                self.occupancy.append((self._now_ns(), summary.occupied / known))
            await asyncio.sleep(SUMMARY_EVERY_S)

    async def _get(self, http: aiohttp.ClientSession, path: str, kind: type[T]) -> T | None:
        try:
            async with self._turn, http.get(f"{self._url}/{path}") as answer:
                if answer.status == 404:  # nothing of it is stored yet
                    return None
                body = await answer.read()
                if answer.status != 200:
                    self.problems[f"HTTP {answer.status}"] += 1
                    return None
                return msgspec.json.decode(body, type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            self.problems[type(error).__name__] += 1
            return None

    def seen(self) -> Seen:
        """Without the times of messages."""
        return Seen(
            problems=dict(self.problems), timed_out=self.timed_out, occupancy=self.occupancy
        )

    def visible_p50_ms(self) -> float | None:
        """Of the newest twenty."""
        rows = list(self.visible_ns)[-20:]
        if not rows:
            return None
        intended_ns = self._shard.ledger.column("intended_ns")
        return float(np.median([(self.visible_ns[r] - int(intended_ns[r])) / 1e6 for r in rows]))

    def seen_so_far(self) -> LiveStats:
        """How long it took of all that were seen."""
        fresh = list(islice(self.visible_ns.items(), self._told, None))
        self._told += len(fresh)
        if fresh:
            rows, at_ns = np.array(fresh, np.int64).T
            self._live.record_ns(at_ns - self._shard.ledger.column("intended_ns")[rows])
        return self._live.snapshot()

    def times(self, rows: int) -> tuple[NDArray[np.int64], ...]:
        """`stored_ns` and `visible_ns`, int64 `[rows]` of the ledger; 0 where unknown."""
        out = []
        for found in (self.stored_ns, self.visible_ns):
            column = np.zeros(rows, np.int64)
            column[list(found)] = list(found.values())
            out.append(column)
        return tuple(out)
