"""Messages of a group of vehicles: composed a step of the world ahead, taken when they are due.

What a vehicle senses changes only when the world steps. So what is due before the next step is
observed and encoded in batches ahead of its time, and then only has to be sent.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.encoding import Encode
from fleet_sim.engine.pacing import Pace, Schedule, pace
from fleet_sim.scenario import Scenario
from fleet_sim.world import Simulated


class Batch(NamedTuple):
    """Messages that wait for their time, in the order in which they are due."""

    vehicles: NDArray[np.int64]
    seqs: NDArray[np.int64]
    intended_ns: NDArray[np.int64]
    """After the start."""
    payloads: list[bytes]

    def part(self, begin: int, end: int | None = None) -> "Batch":
        """Messages `begin` to before `end`."""
        which = slice(begin, end)
        return Batch(
            self.vehicles[which], self.seqs[which], self.intended_ns[which], self.payloads[which]
        )


class Composer:
    """Encodes what a shard's vehicles sense, by `encode`.

    `members` [vehicles]: where each of them is in `world`.
    """

    def __init__(
        self,
        scenario: Scenario,
        world: Simulated,
        members: NDArray[np.int64],
        encode: Encode,
    ) -> None:
        self._world = world
        self._members = members
        self._encode = encode
        self._epoch_ms = round(scenario.clock.start.timestamp() * 1000)

    def compose(self, vehicles: NDArray[np.int64], seqs: Sequence[int]) -> list[bytes]:
        """Payloads of the shard's `vehicles` [k] with these sequence numbers, as of the world's
        last step."""
        members = self._members[vehicles]
        seen = self._world.observe(members)
        ts_ms = self._epoch_ms + round(self._world.now_s * 1000)
        vins = self._world.vins
        return self._encode([vins[i] for i in members.tolist()], seqs, ts_ms, seen)


CHUNK = 1_000
"""Messages composed in one go: others are due meanwhile, and wait."""


class Outbox:
    """Of the vehicles `first .. first + schedule.size` of a shard, all with one period. `composed`
    is told of the vehicles whose messages have just been."""

    def __init__(
        self,
        schedule: Schedule,
        first: int,
        qos: int,
        composer: Composer,
        composed: Callable[[NDArray[np.int64]], None] = lambda vehicles: None,
    ) -> None:
        self.schedule = schedule
        self.qos = qos
        self._first = first
        self._composer = composer
        self._composed = composed
        self._opened = 0
        self._until = 0  # messages that the world has reached
        none = np.zeros(0, np.int64)
        self._ready = Batch(none, none, none, [])
        self._due: list[int] = []  # when: bisecting a list costs a tenth of an array's
        self._taken = 0  # of `_ready`

    def prepare(self, until_ns: int) -> None:
        """What is intended before `until_ns` after the start may be composed from here on."""
        self._until = min(self.schedule.total, self.schedule.due_before(until_ns))
        if self._taken == len(self._due):
            self._compose()

    def finish(self) -> None:
        """Compose what is left: the world is about to step."""
        while self._compose():
            pass

    def skip(self, before_ns: int) -> Batch:
        """Give up what was intended before `before_ns` after the start and is not composed yet; it
        has no payloads. Nothing as long as composed messages wait."""
        due = pace(before_ns - 1, self._opened, self.schedule).due
        if self._taken < len(self._due):
            due = 0
        place, turn, intended = self.schedule.messages(self._opened, self._opened + due)
        self._opened += due
        return Batch(self._first + place, turn + 1, intended, [])

    def take(self, elapsed_ns: int) -> tuple[Batch, Pace]:
        """What is due `elapsed_ns` after the start, and the pace for what follows. Less than is due
        while the world is behind: the rest comes with its next step."""
        begin = self._taken
        end = bisect_right(self._due, elapsed_ns, begin)
        while end == len(self._due) and self._compose():
            begin = self._taken
            end = bisect_right(self._due, elapsed_ns, begin)
        if end < len(self._due):
            plan = Pace(end - begin, self._due[end] - elapsed_ns, False)
        else:
            plan = pace(elapsed_ns, self._opened, self.schedule)
        taken = self._ready.part(begin, end)
        self._taken = end
        self._opened += end - begin
        return taken, plan

    def _compose(self) -> bool:
        """Another chunk of what may be composed; False when there is nothing."""
        left = self._ready.part(self._taken)
        begin = self._opened + len(left.payloads)
        end = min(self._until, begin + CHUNK)
        if begin >= end:
            return False
        place, turn, intended = self.schedule.messages(begin, end)
        vehicles, seqs = self._first + place, turn + 1
        payloads = self._composer.compose(vehicles, seqs.tolist())
        self._taken = 0
        self._ready = Batch(
            np.concatenate([left.vehicles, vehicles]),
            np.concatenate([left.seqs, seqs]),
            np.concatenate([left.intended_ns, intended]),
            left.payloads + payloads,
        )
        self._due = self._ready.intended_ns.tolist()
        self._composed(vehicles)
        return True
