"""Messages of a group of vehicles: composed a step of the world ahead, taken when they are due.

What a vehicle senses changes only when the world steps. So everything that is due before the next
step is observed and encoded in one batch right after this one, and at its time only has to be sent.
"""

from collections.abc import Sequence
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


class Outbox:
    """Of the vehicles `first .. first + schedule.size` of a shard, all with one period."""

    def __init__(self, schedule: Schedule, first: int, qos: int, composer: Composer) -> None:
        self.schedule = schedule
        self.qos = qos
        self._first = first
        self._composer = composer
        self._opened = 0
        none = np.zeros(0, np.int64)
        self._ready = Batch(none, none, none, [])
        self._taken = 0  # of `_ready`

    def prepare(self, until_ns: int) -> NDArray[np.int64]:
        """Compose what is intended before `until_ns` after the start: the vehicles whose."""
        left = self._ready.part(self._taken)
        begin = self._opened + len(left.payloads)
        count = pace(until_ns - 1, begin, self.schedule).due
        if not count:
            return np.zeros(0, np.int64)
        place, turn, intended = self.schedule.messages(begin, begin + count)
        vehicles, seqs = self._first + place, turn + 1
        payloads = self._composer.compose(vehicles, seqs.tolist())
        self._taken = 0
        self._ready = Batch(
            np.concatenate([left.vehicles, vehicles]),
            np.concatenate([left.seqs, seqs]),
            np.concatenate([left.intended_ns, intended]),
            left.payloads + payloads,
        )
        return vehicles

    def skip(self, before_ns: int) -> Batch:
        """Give up what was intended before `before_ns` after the start and is not composed yet; it
        has no payloads. Nothing as long as composed messages wait."""
        due = pace(before_ns - 1, self._opened, self.schedule).due
        if self._taken < len(self._ready.payloads):
            due = 0
        place, turn, intended = self.schedule.messages(self._opened, self._opened + due)
        self._opened += due
        return Batch(self._first + place, turn + 1, intended, [])

    def take(self, elapsed_ns: int) -> tuple[Batch, Pace]:
        """What is due `elapsed_ns` after the start, and the pace for what follows. Less than is due
        while the world is behind: the rest comes with its next step."""
        plan = pace(elapsed_ns, self._opened, self.schedule)
        count = min(plan.due, len(self._ready.payloads) - self._taken)
        taken = self._ready.part(self._taken, self._taken + count)
        self._taken += count
        self._opened += count
        return taken, plan
