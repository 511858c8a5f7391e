"""The radio between vehicles and their sockets: it delays bytes, takes its time with them, stalls.

A layer (`layer.py`) directly on the socket, so that TLS and WebSocket cross the radio as well.
Bytes of all vehicles wait in one calendar with slots of 5 ms: nothing here costs a timer a message.

Bytes leave at `max(now, end of those before) + bytes / rate` and arrive half a round trip later,
but never before what left earlier: TCP keeps the order. Both ways alike.
"""

import asyncio
import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fleet_sim.transport.layer import Layer

SLOT_S = 0.005
"""What waits goes on up to so much late."""
SEND_BUFFER = 65_536
"""Bytes that wait for a slow uplink before the vehicle has to keep its messages itself."""
FIRST_RTO = 4.0
"""Round trips until TCP sends again for the first time; the wait doubles each time (RFC 6298, 5.5).
At LTE's 50 ms it is 0.2 s, which is the shortest that Linux takes."""

_SLOTS_A_S = 1.0 / SLOT_S


class Mark(enum.Enum):
    """What goes through a queue beside bytes, in its turn."""

    OPEN = "open"
    CLOSE = "close"
    EOF = "eof"
    LOST = "lost"


Calendar = dict[int, list[Any]]
"""By slot: layer, bytes, layer, bytes, … without a tuple a message, which the garbage collector
would count."""


class Air:
    """Radio links of `vehicles` vehicles. Times are s on the clock of `loop`. `short` and `now_ns`:
    as `Sockets` has them."""

    def __init__(
        self,
        vehicles: int,
        loop: asyncio.AbstractEventLoop,
        short: Callable[[int, bytes, int, int], bool] = lambda i, data, size, t_ns: False,
        now_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self.loop = loop
        self.short = short
        self._now_ns = now_ns
        self.swept_ns = 0
        """When the present sweep began."""
        self.half_rtt_s = [0.0] * vehicles
        self.up_s_a_byte = [0.0] * vehicles
        self.down_s_a_byte = [0.0] * vehicles
        self.stalled = bytearray(vehicles)
        self.layers: list[AirLayer | None] = [None] * vehicles
        """Of the newest connection."""
        self.now_s = loop.time()
        self.up: Calendar = {}
        self.down: Calendar = {}
        self._tries: dict[int, list[AirLayer]] = {}
        self._swept = 0
        self._ticker: asyncio.TimerHandle | None = None

    def shape(
        self,
        vehicles: Iterable[int],
        rtt_s: Iterable[float],
        uplink_bps: Iterable[float],
        downlink_bps: Iterable[float],
    ) -> None:
        """Round trip times and throughputs of some vehicles from now on, all finite; where one is 0
        the rates stay as they were."""
        half, up, down = self.half_rtt_s, self.up_s_a_byte, self.down_s_a_byte
        for i, rtt, uplink, downlink in zip(vehicles, rtt_s, uplink_bps, downlink_bps, strict=True):
            half[i] = rtt / 2
            if uplink and downlink:
                up[i] = 8 / uplink
                down[i] = 8 / downlink

    def stall(self, i: int) -> None:
        """No byte of vehicle i passes, either way, until `restore`."""
        self.stalled[i] = 1
        layer = self.layers[i]
        if layer is not None:
            layer.stall()

    def restore(self, i: int) -> None:
        """The radio of vehicle i is back: bytes pass as soon as TCP tries again."""
        if self.stalled[i]:
            self.stalled[i] = 0
            layer = self.layers[i]
            if layer is not None:
                slot = self._slot(layer.next_try_s(self.loop.time()))
                self._tries.setdefault(slot, []).append(layer)
                self._run()

    def put(self, calendar: Calendar, at_s: float, layer: "AirLayer", what: bytes | Mark) -> None:
        """Let `what` go on at `at_s`, which is not in the past."""
        slot = self._slot(at_s)
        waiting = calendar.get(slot)
        if waiting is None:
            calendar[slot] = [layer, what]
            self._run()
        else:
            waiting.append(layer)
            waiting.append(what)

    def _slot(self, at_s: float) -> int:
        """The slot at whose end `at_s` is past. Never one that was swept: `at_s` may be now, and
        the sweep rounds up; nobody would look there again."""
        slot = int(at_s * _SLOTS_A_S)
        return (slot if slot > self._swept else self._swept) + 1

    def stop(self) -> None:
        """Let nothing more pass."""
        if self._ticker is not None:
            self._ticker.cancel()

    def _run(self) -> None:
        if self._ticker is None:
            self._swept = max(self._swept, int(self.loop.time() * _SLOTS_A_S))
            self._sleep()

    def _sleep(self) -> None:
        """Until the next slot is over, and a bit, so that no loop wakes us just before."""
        self._ticker = self.loop.call_at((self._swept + 1) * SLOT_S + 1e-4, self._tick)

    def _tick(self) -> None:
        self.now_s = self.loop.time()
        # A loop with a clock in whole ms (uvloop's) wakes us at a slot's very end. Were that a
        # rounding error too early, it would wake us again and again until its clock moves on.
        target = int((self.now_s + 1e-6) * _SLOTS_A_S)
        self.swept_ns = self._now_ns()
        for slot in range(self._swept + 1, target + 1):
            self._swept = slot  # what this slot's work puts there now would be forgotten
            # First, so that nothing new overtakes what the stall has held.
            for layer in self._tries.pop(slot, ()):
                try:
                    layer.release()
                except Exception as error:  # noqa: BLE001 - one link's, and the others' go on
                    layer.crash(error)
            waiting: Iterator[Any] = iter(self.up.pop(slot, ()))
            for layer, what in zip(waiting, waiting, strict=True):
                try:
                    layer.depart(what)
                except Exception as error:  # noqa: BLE001
                    layer.crash(error)
            waiting = iter(self.down.pop(slot, ()))
            for layer, what in zip(waiting, waiting, strict=True):
                try:
                    layer.arrive(what)
                except Exception as error:  # noqa: BLE001
                    layer.crash(error)
        self._ticker = None
        if self.up or self.down or self._tries:
            self._sleep()


class AirLayer(Layer):
    """One connection over the radio of vehicle `i`."""

    __slots__ = (
        "_air",
        "_blocked",
        "_blocked_s",
        "_down_free_s",
        "_down_last_s",
        "_finished",
        "_gone",
        "_held_down",
        "_held_up",
        "_i",
        "_lost",
        "_socket_full",
        "_told",
        "_up_free_s",
        "_up_full",
        "_up_last_s",
        "short",
    )

    def __init__(self, above: asyncio.Protocol, air: Air, i: int) -> None:
        super().__init__(above)
        self._air = air
        self._i = i
        self._up_free_s = 0.0  # when all that was written has left, ...
        self._up_last_s = 0.0  # ... and has arrived
        self._down_free_s = 0.0
        self._down_last_s = 0.0
        self._held_up: list[bytes | Mark] = []
        self._held_down: list[bytes | Mark] = []
        self._gone = False  # the socket is; those above may not have heard yet
        self._lost: Exception | None = None
        self._finished = False  # ... and now they have
        self._socket_full = False
        self._up_full = False
        self._told = False  # ... those above to pause
        self._blocked = False  # from a stall until TCP's first try after it
        self._blocked_s = 0.0
        self.short = -1
        """Its number on the short way; -1 is none."""
        air.layers[i] = self
        if air.stalled[i]:
            self.stall()

    # -- the radio --------------------------------------------------------------------------------

    def stall(self) -> None:
        if not self._blocked:
            self._blocked = True
            self._blocked_s = self._air.loop.time()
            self._tell()

    def next_try_s(self, now_s: float) -> float:
        """When TCP sends again next. It had something to send when the stall began: vehicles
        mostly have."""
        wait_s = FIRST_RTO * 2 * self._air.half_rtt_s[self._i]
        at_s = self._blocked_s + wait_s
        while at_s < now_s and wait_s:
            wait_s *= 2
            at_s += wait_s
        return max(at_s, now_s)

    def release(self) -> None:
        """TCP tries again."""
        if not self._blocked or self._air.stalled[self._i]:
            return
        self._blocked = False
        up, self._held_up = self._held_up, []
        down, self._held_down = self._held_down, []
        for what in up:
            self.depart(what)
        for what in down:
            self.arrive(what)
        self._tell()

    def depart(self, what: bytes | Mark) -> None:
        """It has crossed the radio, to the socket."""
        if self._over or self._gone or self._below is None:
            return
        if self._blocked:
            self._held_up.append(what)
        elif what is Mark.CLOSE:
            self._below.close()
        else:
            self._below.write(what)  # type: ignore[arg-type]  # no other mark goes up
            if self._up_full:
                left_s = self._up_free_s - self._air.now_s
                if left_s <= SEND_BUFFER / 2 * self._air.up_s_a_byte[self._i]:
                    self._up_full = False
                    self._tell()

    def arrive(self, what: bytes | Mark) -> None:
        """It has crossed the radio, from the socket."""
        if self._over:
            if what is Mark.LOST:
                self._finish()
        elif self._blocked:
            self._held_down.append(what)
        elif type(what) is not Mark:
            data: bytes = what  # type: ignore[assignment]
            air, i = self._air, self.short
            if i < 0 or not air.short(i, data, len(data), air.swept_ns):
                self._above.data_received(data)
        elif what is Mark.OPEN:
            self._above.connection_made(self)
        elif what is Mark.EOF:
            super().eof_received()
            self.close()
        else:
            self._finish()

    def crash(self, error: Exception) -> None:
        """Those above raised."""
        if not self._over:
            self._error = error
            self.abort()

    # -- what is below calls ----------------------------------------------------------------------

    def begin(self) -> None:
        # SYN and its answer have crossed the radio, too.
        now_s = self._air.loop.time()
        self._down_last_s = now_s + 2 * self._air.half_rtt_s[self._i]
        self._air.put(self._air.down, self._down_last_s, self, Mark.OPEN)

    def data_received(self, data: bytes) -> None:
        air, i = self._air, self._i
        free_s = air.loop.time()
        if free_s < self._down_free_s:
            free_s = self._down_free_s
        self._down_free_s = free_s = free_s + len(data) * air.down_s_a_byte[i]
        at_s = free_s + air.half_rtt_s[i]
        if at_s < self._down_last_s:
            at_s = self._down_last_s
        else:
            self._down_last_s = at_s
        air.put(air.down, at_s, self, data)

    def eof_received(self) -> bool:
        if self._over:
            return False
        self._mark(Mark.EOF)
        return True  # keeps the socket, until those above have heard

    def pause_writing(self) -> None:
        self._socket_full = True
        self._tell()

    def resume_writing(self) -> None:
        self._socket_full = False
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._lost = exc
        if self._over:
            self._finish()
        else:
            self._mark(Mark.LOST)

    # -- what is above calls ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._over or self._gone:
            return
        air, i = self._air, self._i
        free_s = now_s = air.loop.time()
        if free_s < self._up_free_s:
            free_s = self._up_free_s
        s_a_byte = air.up_s_a_byte[i]
        self._up_free_s = free_s = free_s + len(data) * s_a_byte
        at_s = free_s + air.half_rtt_s[i]
        if at_s < self._up_last_s:
            at_s = self._up_last_s
        else:
            self._up_last_s = at_s
        air.put(air.up, at_s, self, data)  # type: ignore[arg-type]  # nobody hands us a view
        if free_s - now_s > SEND_BUFFER * s_a_byte and not self._up_full:
            self._up_full = True
            self._tell()

    def send(self, data: bytes) -> int:
        """As a socket's, for the short way: those above are told in time when it is full."""
        self.write(data)
        return len(data)

    @property
    def waiting(self) -> bool:
        """Whether those above have to wait."""
        return self._told

    def close(self) -> None:
        """After all that was written."""
        if not self._over and not self._gone:
            at_s = max(self._up_last_s, self._air.loop.time())
            self._air.put(self._air.up, at_s, self, Mark.CLOSE)

    def abort(self) -> None:
        gone_unheard = self._gone and not self._over
        super().abort()
        if gone_unheard:
            self._air.loop.call_soon(self._finish)

    # -- inside -----------------------------------------------------------------------------------

    def _mark(self, mark: Mark) -> None:
        """Let those above hear it after all that came before."""
        air = self._air
        at_s = max(self._down_last_s, air.loop.time() + air.half_rtt_s[self._i])
        self._down_last_s = at_s
        air.put(air.down, at_s, self, mark)

    def _tell(self) -> None:
        wait = self._blocked or self._up_full or self._socket_full
        if wait != self._told and not self._over:
            self._told = wait
            if wait:
                self._above.pause_writing()
            else:
                self._above.resume_writing()

    def _finish(self) -> None:
        """Tell those above, once, that the connection is gone."""
        if not self._finished:
            self._finished = True
            if self._air.layers[self._i] is self:
                self._air.layers[self._i] = None
            self._held_up.clear()
            self._held_down.clear()
            super().connection_lost(self._lost)
