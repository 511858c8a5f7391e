"""What the world's radio does to a shard's connections.

An outage first stalls a connection: TCP outlives it if the radio is back soon. One that lasts takes
the modem's network registration along, and the connection with it; a fault `down` does so at once.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.clock import Clock
from fleet_sim.transport import RadioTransport, Transport
from fleet_sim.world import RADIO_DOWN, RADIO_OUT, RADIO_UP, Simulated


class Watcher(Protocol):
    """Hears of radios, by a vehicle's place in `members`: what crosses one besides MQTT."""

    def radio_away(self, i: int) -> None: ...

    def radio_back(self, i: int) -> None: ...

    def radio_cut(self, i: int) -> None: ...


DETACHED_S = 10.0
"""An outage of the model that lasts longer cuts the connection (assumption), simulated s."""

_ONE_S = 1_000_000_000


class Radio:
    """The links of the vehicles `members` [k] of `world`, whose connections `transport` has by
    their place in `members`."""

    def __init__(
        self, world: Simulated, members: NDArray[np.int64], transport: Transport, clock: Clock
    ) -> None:
        self._world = world
        self._members = members
        self._transport = transport
        self._shaping = transport if isinstance(transport, RadioTransport) else None
        self._clock = clock
        self._speed = world.scenario.clock.speed
        self._state = np.full(len(members), RADIO_UP, np.int8)
        self._cut = np.zeros(len(members), bool)
        self._since_ns = np.zeros(len(members), np.int64)  # it is up, or not
        self._shaped = ~world.wired[members]
        self._any_shaped = bool(self._shaped.any())
        self._dark: set[int] = set()  # no power: nothing comes back before `power_on`
        self.watcher: Watcher | None = None

    def begin(self) -> None:
        """Before the first connection opens."""
        faults = any(fault.radio is not None for fault in self._world.scenario.faults)
        if self._shaping is not None and faults:
            self._shaping.shape((), (), (), ())  # so that links without one can stall
        self.shape(np.arange(len(self._members)))

    def shape(self, vehicles: NDArray[np.int64]) -> None:
        """Round trip times and throughputs anew for `vehicles` [m] of the shard."""
        if self._shaping is None or not self._any_shaped:
            return
        shaped = vehicles[self._shaped[vehicles]]
        members = self._members[shaped]
        rtt_s = self._world.rtt_s(members)
        up_bps, down_bps = self._world.throughput_bps(members)
        # In a gap nothing flows: its rest is in the round trip time, and the rate stays as it was.
        there = np.isfinite(rtt_s)
        self._shaping.shape(
            shaped[there].tolist(),
            (rtt_s[there] / self._speed).tolist(),
            (up_bps[there] * self._speed).tolist(),
            (down_bps[there] * self._speed).tolist(),
        )

    def follow(self) -> None:
        """After a step of the world: stall, cut and restore what it says."""
        state = self._world.radio_state[self._members]
        now_ns = self._clock.now_ns()
        changed = (state == RADIO_UP) != (self._state == RADIO_UP)
        self._since_ns[changed] = now_ns
        away = state != RADIO_UP
        transport, shaping = self._transport, self._shaping
        watcher = self.watcher
        for i in np.flatnonzero(changed & ~away).tolist():
            if i not in self._dark:
                transport.restore(i)
            if watcher is not None:
                watcher.radio_back(i)
        if watcher is not None:
            for i in np.flatnonzero(changed & away).tolist():
                watcher.radio_away(i)
        long_ago_ns = now_ns - round(DETACHED_S / self._speed * _ONE_S)
        cut = (state == RADIO_DOWN) | ((state == RADIO_OUT) & (self._since_ns <= long_ago_ns))
        if shaping is None:
            cut = away
        else:
            for i in np.flatnonzero(changed & away & ~cut).tolist():
                shaping.stall(i)
        for i in np.flatnonzero(cut & ~self._cut).tolist():
            transport.sever(i, "no radio")
            if watcher is not None:
                watcher.radio_cut(i)
        self._cut = (self._cut | cut) & away
        self._state = state

    def end(self) -> None:
        """All are back: the world stands still from now on, and they would stay away."""
        for i in np.flatnonzero(self._state != RADIO_UP).tolist():
            self._state[i] = RADIO_UP
            if i not in self._dark:
                self._transport.restore(i)
            if self.watcher is not None:
                self.watcher.radio_back(i)

    def power_off(self, i: int) -> None:
        """Vehicle i reboots: its modem is off."""
        self._dark.add(i)
        self._transport.sever(i, "reboot")

    def power_on(self, i: int) -> None:
        """It has power again, and connects as soon as there is a network."""
        self._dark.discard(i)
        self._since_ns[i] = self._clock.now_ns()
        if self._state[i] == RADIO_UP:
            self._transport.restore(i)

    def reachable(self, settled_s: float) -> int:
        """Vehicles whose link has been there for `settled_s` of wall time."""
        since_ns = self._clock.now_ns() - round(settled_s * _ONE_S)
        there = (self._state == RADIO_UP) & (self._since_ns <= since_ns)
        there[list(self._dark)] = False
        return int(np.count_nonzero(there))
