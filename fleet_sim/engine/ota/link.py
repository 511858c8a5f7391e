"""A vehicle's downlink in a rehearsal: bytes are counted, and none is sent."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fleet_sim.engine.ota.attack import Served
from fleet_sim.engine.ota.vehicle import Later
from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota_fetch import FetchEnd

METADATA_S = 0.2
"""A small request and its answer."""

_COMPLETE: FetchEnd = "complete"
_BROKEN: FetchEnd = "broken"
_EXPIRED: FetchEnd = "expired"


class Link(NamedTuple):
    """A vehicle's downlink."""

    bytes_per_s: float
    drop_mean_s: float
    """Mean time until a download breaks (exponential); `inf`: never."""
    back_s: Callable[[float], float] = lambda now_s: now_s
    """When the network is there, at or after a time: later than that where it is away."""


class CountedSource:
    """What `served` brings, at the link's pace. An URL is looked at when a download begins, and not
    later: `…?until=SECONDS`."""

    def __init__(
        self,
        served: Served,
        link: Link,
        now: Callable[[], float],
        later: Later,
        uniform: Callable[[], float],
    ) -> None:
        self.staged = 0
        self._served, self._link = served, link
        self._now, self._later, self._uniform = now, later, uniform
        self._turn = 0
        self._cut: Callable[[], None] | None = None

    def metadata(self, fetch: t.FetchMetadata, ended: Callable[[FetchEnd, bytes], None]) -> None:
        if not self._reachable():
            self._put_off(METADATA_S, partial(ended, _BROKEN, b""))
        else:
            self._put_off(METADATA_S, partial(ended, _COMPLETE, self._served.bundle[: fetch.limit]))

    def image(
        self,
        fetch: t.FetchImage,
        received: Callable[[int], None],
        ended: Callable[[FetchEnd], None],
    ) -> None:
        """Goes on until all is there, the link drops, or more comes than was signed."""
        now_s = self._now()
        if float(fetch.url.rpartition("=")[2]) <= now_s:
            self._put_off(METADATA_S, partial(ended, _EXPIRED))
            return
        if not self._reachable():
            self._put_off(METADATA_S, partial(ended, _BROKEN))
            return
        wanted = min(self._served.length, fetch.length + 1) - fetch.offset
        takes_s = wanted / self._link.bytes_per_s
        begun_s = now_s

        def cut() -> None:
            came = int((self._now() - begun_s) * self._link.bytes_per_s)
            self.staged += came
            if came:
                received(came)
            ended(_BROKEN)

        self._cut = cut
        drop_s = self._link.drop_mean_s * -math.log(max(self._uniform(), 1e-12))
        count, end = wanted, _COMPLETE
        if drop_s < takes_s:
            count, end, takes_s = int(drop_s * self._link.bytes_per_s), _BROKEN, drop_s

        def came() -> None:
            self._cut = None
            self.staged += count
            if count:
                received(count)
            ended(end)

        self._put_off(takes_s, came)

    def stop(self) -> None:
        self._turn += 1
        self._cut = None

    def cut(self) -> None:
        """The network is gone."""
        cut = self._cut
        if cut is not None:
            self.stop()
            cut()

    def discard(self) -> None:
        self.staged = 0

    def intact(self, length: int, sha256: str) -> bool:
        return self.staged == length and self._served.sha256 == sha256

    # -- inside -----------------------------------------------------------------------------------

    def _reachable(self) -> bool:
        now_s = self._now()
        return self._link.back_s(now_s) <= now_s

    def _put_off(self, delay_s: float, call: Callable[[], None]) -> None:
        turn = self._turn
        self._later(delay_s, lambda: call() if turn == self._turn else None)
