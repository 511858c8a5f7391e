"""Asks the API for the whole map now and then, and keeps it beside the truth of that moment."""

import asyncio
from collections import Counter
from collections.abc import Callable

import aiohttp
import msgspec
import numpy as np

from fleet_sim.contract import SpotPage
from fleet_sim.engine.shard import Shard
from fleet_sim.measure.maphistory import STATES, digits
from fleet_sim.world.towns import cities_of, registry

MOST_SHOTS = 40
LEAST_EVERY_S = 10.0
MOST_STALLS = 20_000
"""Of one shard. A map takes the API a page for every thousand: more would load what is measured."""
PAGE = 1000

_UNKNOWN = STATES.index("unknown")


class PartShot(msgspec.Struct, frozen=True):
    """One shot of the towns of one shard."""

    number: int
    """Shots of all shards with one number belong together."""
    at_ns: int
    """When the API was asked, ns since the epoch."""
    states: str
    """See `maphistory.Shot.states`; the stalls of the shard's towns."""


def every_s(wall_s: float) -> float:
    """How far shots of a run of `wall_s` are apart: at most `MOST_SHOTS` of them."""
    return max(LEAST_EVERY_S, wall_s / MOST_SHOTS)


class MapSnapshots:
    """A shot is one pass over the API's pages, one request at a time; a pass that takes longer than
    the time between shots has the next ones left out."""

    def __init__(
        self, api_url: str, shard: Shard, now_ns: Callable[[], int], every_s: float
    ) -> None:
        self.shots: list[PartShot] = []
        self.problems: Counter[str] = Counter()
        """Shots that failed, by reason."""
        self._url = f"{api_url.rstrip('/')}/spots"
        self._shard = shard
        self._now_ns = now_ns
        self._every_ns = round(every_s * 1e9)
        spots = registry(cities_of(shard.world)).spots
        self._index = {spot.id: i for i, spot in enumerate(spots)}
        lats, lons = [spot.lat for spot in spots], [spot.lon for spot in spots]
        self._box = f"{min(lons)!r},{min(lats)!r},{max(lons)!r},{max(lats)!r}" if spots else ""

    async def run(self) -> None:
        """Until cancelled."""
        if not 0 < len(self._index) <= MOST_STALLS:
            return
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            while True:
                t0_ns = self._shard.t0_ns
                if not t0_ns:
                    await asyncio.sleep(0.05)  # the first phase has not begun
                    continue
                number = (self._now_ns() - t0_ns) // self._every_ns + 1
                due_ns = t0_ns + number * self._every_ns
                await asyncio.sleep((due_ns - self._now_ns()) / 1e9)
                try:
                    await self._take(http, number)
                except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
                    self.problems[type(error).__name__] += 1

    async def _take(self, http: aiohttp.ClientSession, number: int) -> None:
        at_ns = self._now_ns()
        truth = np.asarray(self._shard.world.occupied).astype(np.int_)
        answer = np.full(len(self._index), _UNKNOWN)
        query = {"bbox": self._box, "limit": str(PAGE)}
        while True:
            async with http.get(self._url, params=query) as got:
                body = await got.read()
                if got.status != 200:
                    self.problems[f"HTTP {got.status}"] += 1
                    return
            page = msgspec.json.decode(body, type=SpotPage)
            for spot in page.spots:
                at = self._index.get(spot.id)
                if at is not None:
                    answer[at] = STATES.index(spot.state)
            if page.next is None:
                break
            query["next"] = page.next
        self.shots.append(PartShot(number, at_ns, digits(truth, answer)))
