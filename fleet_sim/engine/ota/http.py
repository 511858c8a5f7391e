"""Downloads of a shard's vehicles: ranged GETs over few connections, at the pace of each radio.

One connection a vehicle would be the truth about sockets, and needs one a vehicle; what a vehicle
sees of its download (bytes, breaks, dead URLs) is the same when pieces of it are fetched over a
shared pool and handed over when its radio would have carried them.
"""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import aiohttp
import yarl

from fleet_sim.engine.ota.vehicle import Later, Pace
from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota_fetch import FetchEnd

CONNECTIONS = 32
"""To the servers of images, over all vehicles of a shard."""
TIMEOUT_S = 30.0
PIECE = 16_384
"""Bytes that are asked for at once."""
NO_ANSWER_S = 30.0
"""A request without a network is given up after so long, simulated s."""
LOOK_S, GAP_S = 30.0, 1.0
"""A radio's rate is asked for anew so often, and sooner where nothing flows (a handover), simulated
s."""

_OK, _PARTIAL, _FORBIDDEN, _NOT_SATISFIABLE = 200, 206, 403, 416


class Reply(NamedTuple):
    """`status` 0: there was no answer; `body` begins at the byte that was asked for."""

    status: int
    body: bytes = b""
    total: int | None = None
    """Bytes that the whole object has."""


class Getter(Protocol):
    """Who fetches a range of an object: bytes `first` to `last`, both included."""

    def get(self, url: str, first: int, last: int, done: Callable[[Reply], None]) -> None: ...

    async def close(self) -> None: ...


class HttpPool:
    """Over the network. Needs a running event loop when it is used."""

    def __init__(self, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = 0

    def get(self, url: str, first: int, last: int, done: Callable[[Reply], None]) -> None:
        self.requests += 1
        task = asyncio.get_running_loop().create_task(self._get(url, first, last, done))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug of ours, in the callback: to the loop's handler, which ends the run.
            task.get_loop().call_exception_handler({"message": str(error), "exception": error})

    async def _get(self, url: str, first: int, last: int, done: Callable[[Reply], None]) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S
                ),
                auto_decompress=False,
            )
        wanted = last - first + 1
        try:
            # The signature covers the query as it is written.
            where = yarl.URL(url, encoded=True)
            headers = {"Range": f"bytes={first}-{last}"}
            async with self._session.get(where, headers=headers) as response:
                if response.status not in (_OK, _PARTIAL):
                    reply = Reply(response.status)
                else:
                    skip = 0 if response.status == _PARTIAL else first
                    body = await _read(response, skip + wanted)
                    total = _total(response.headers.get("Content-Range", ""))
                    if response.status == _OK:
                        total = response.content_length
                    reply = Reply(response.status, body[skip:], total)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            reply = Reply(0)
        done(reply)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """No more than that, whatever the server sends."""
    parts, left = [], most
    while left and (part := await response.content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _total(content_range: str) -> int | None:
    text = content_range.rpartition("/")[2]
    return int(text) if text.isdigit() else None


class Air(Protocol):
    """One vehicle's radio."""

    @property
    def up(self) -> bool: ...

    def bytes_per_s(self) -> float:
        """Of its downlink now, in bytes a second of the agent's clock."""


class ShapedSource:
    """What a vehicle downloads, at its radio's pace. Hashed as it comes: no image is kept."""

    def __init__(
        self, getter: Getter, air: Air, now: Callable[[], float], later: Later, pace: Pace
    ) -> None:
        self.staged = 0
        self._sha256 = hashlib.sha256()
        self._getter, self._air, self._now, self._later = getter, air, now, later
        self._pace = pace
        self._turn = 0  # of the download
        self._flow = 0  # of the piece: a pause makes its timer void
        self._piece = b""
        self._each = 1.0  # bytes for which one of the piece stands
        self._passed: Callable[[], None] = lambda: None  # all of the piece has come
        self._came = 0.0  # of the piece, until `_since_s`
        self._since_s: float | None = None
        self._carrying = False  # a piece waits for the radio to bring it, or to come back
        self._rate = 0.0
        self._whole = False
        self._fetch: t.FetchImage | None = None
        self._received: Callable[[int], None] = lambda _: None
        self._ended: Callable[[FetchEnd], None] = lambda _: None
        self._broken: Callable[[], None] | None = None
        """Ends the download that is under way as broken."""

    # -- Source -----------------------------------------------------------------------------------

    def metadata(self, fetch: t.FetchMetadata, ended: Callable[[FetchEnd, bytes], None]) -> None:
        self._begin(lambda: ended("broken", b""))

        def came(reply: Reply) -> None:
            if not self._there():  # the radio went meanwhile: the answer does not come through
                return
            ok = reply.status in (_OK, _PARTIAL)
            body = reply.body if ok else b""

            def passed() -> None:
                self.stop()
                ended("complete" if ok else _end_of(reply), body)

            self._carry(body, 1.0, passed)

        self._fetch = None
        if self._there():
            self._getter.get(fetch.url, 0, fetch.limit - 1, self._if_same(came))

    def image(
        self,
        fetch: t.FetchImage,
        received: Callable[[int], None],
        ended: Callable[[FetchEnd], None],
    ) -> None:
        self._begin(partial(ended, "broken"))
        self._fetch, self._received, self._ended = fetch, received, ended
        if self._there():
            self._ask()

    def stop(self) -> None:
        self._turn += 1
        self._flow += 1
        self._broken = None
        self._since_s = None
        self._carrying = False
        self._piece = b""

    def discard(self) -> None:
        self.staged = 0
        self._sha256 = hashlib.sha256()

    def intact(self, length: int, sha256: str) -> bool:
        return self.staged == length and self._sha256.hexdigest() == sha256

    # -- the radio --------------------------------------------------------------------------------

    def away(self) -> None:
        """The radio is gone: what is under way waits."""
        self._count()

    def back(self) -> None:
        """The radio is there again: it goes on."""
        if self._carrying and self._since_s is None:
            self._go_on()

    def cut(self) -> None:
        """The radio was away too long for a connection to live."""
        self.away()
        broken = self._broken
        if broken is not None:
            self._take(min(int(self._came), len(self._piece)))
            if self._broken is broken:  # what came did not end it
                self.stop()
                broken()

    # -- inside -----------------------------------------------------------------------------------

    def _begin(self, broken: Callable[[], None]) -> None:
        self.stop()
        self._broken = broken

    def _there(self) -> bool:
        if self._air.up:
            return True
        self._put_off(NO_ANSWER_S / self._pace.speed, self.cut)
        return False

    def _ask(self) -> None:
        fetch = self._fetch
        assert fetch is not None
        first = self.staged
        # One byte more than signed shows that there are more.
        last = min(first + PIECE - 1, fetch.length)
        self._getter.get(fetch.url, first, last, self._if_same(self._answered))

    def _answered(self, reply: Reply) -> None:
        if reply.status not in (_OK, _PARTIAL):
            self._end(_end_of(reply))
            return
        if not reply.body:
            self._end("complete")
            return
        total = reply.total
        self._whole = total is not None and self.staged + len(reply.body) >= total
        self._carry(reply.body, self._pace.bytes_each, self._piece_passed)

    def _carry(self, piece: bytes, each: float, passed: Callable[[], None]) -> None:
        """Bring a piece over the radio, when there is one, and then call `passed`."""
        self._piece, self._each, self._passed = piece, each, passed
        self._carrying, self._came = True, 0.0
        if self._air.up:
            self._go_on()

    def _go_on(self) -> None:
        self._rate = self._air.bytes_per_s() / self._each
        self._since_s = self._now()
        flow = self._flow
        left = max(len(self._piece) - self._came, 0.0)
        look_s = (LOOK_S if self._rate else GAP_S) / self._pace.speed
        if left <= self._rate * look_s:
            wait_s = left / self._rate if left else 0.0
            self._put_off(wait_s, lambda: self._arrived() if flow == self._flow else None)
        else:
            self._put_off(look_s, lambda: self._look() if flow == self._flow else None)

    def _count(self) -> None:
        """What came since the rate was last asked for; the timer that was set then is void."""
        if self._since_s is not None:
            self._came += (self._now() - self._since_s) * self._rate
            self._since_s = None
            self._flow += 1

    def _look(self) -> None:
        self._count()
        self._go_on()

    def _arrived(self) -> None:
        self._since_s = None
        self._carrying = False
        self._passed()

    def _piece_passed(self) -> None:
        turn = self._turn
        self._take(len(self._piece))
        self._piece = b""
        if turn != self._turn:
            return
        if self._whole:
            self._end("complete")
        elif self._air.up:
            self._ask()
        else:
            self._put_off(NO_ANSWER_S / self._pace.speed, self.cut)

    def _take(self, count: int) -> None:
        if count and self._fetch is not None:  # of an image
            self._sha256.update(self._piece[:count])
            self.staged += count
            self._received(count)

    def _end(self, end: FetchEnd) -> None:
        self.stop()
        self._ended(end)

    def _if_same(self, call: Callable[[Reply], None]) -> Callable[[Reply], None]:
        turn = self._turn
        return lambda reply: call(reply) if turn == self._turn else None

    def _put_off(self, delay_s: float, call: Callable[[], None]) -> None:
        turn = self._turn
        self._later(delay_s, lambda: call() if turn == self._turn else None)


def _end_of(reply: Reply) -> FetchEnd:
    """What a status without content means for a download."""
    if reply.status == _FORBIDDEN:
        return "expired"
    return "complete" if reply.status == _NOT_SATISFIABLE else "broken"
