"""Open-loop pacing as a pure function: what is due depends on the clock alone, never on answers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Schedule(NamedTuple):
    """Messages of `vehicles` alike vehicles, each every `period_ns`, staggered evenly.

    Vehicle i's message number k is intended at `k * period_ns + i * period_ns / vehicles` after
    the start, for `duration_ns`. A shard opens those of its `own` vehicles only, at the same times:
    its message m is own vehicle `m % size`'s number `m // size`.
    """

    vehicles: int
    period_ns: int
    duration_ns: int
    own: NDArray[np.int64] | None = None
    """[size] which vehicles of the group, ascending; None is all."""

    @property
    def size(self) -> int:
        """How many vehicles have their messages opened here."""
        return self.vehicles if self.own is None else len(self.own)

    @property
    def total(self) -> int:
        """Messages over the whole duration."""
        return self.due_before(self.duration_ns)

    def due_before(self, t_ns: int) -> int:
        """Messages intended before `t_ns` after the start; it does not look at the duration."""
        if self.own is None:
            return -(-t_ns * self.vehicles // self.period_ns)
        rounds, rest = divmod(t_ns, self.period_ns)
        # Of the whole group, those with a lower number have had their turn in this period.
        before = -(-rest * self.vehicles // self.period_ns)
        return rounds * len(self.own) + int(self.own.searchsorted(before))

    def intended_ns(self, m: int) -> int:
        """When message m is due, ns after the start."""
        if self.own is None:
            return m * self.period_ns // self.vehicles
        turn, i = divmod(m, len(self.own))
        return turn * self.period_ns + int(self.own[i]) * self.period_ns // self.vehicles

    def messages(self, begin: int, end: int) -> tuple[NDArray[np.int64], ...]:
        """Of messages `begin` to before `end`: whose it is (place among the own), its number from 0
        on, and when it is due, ns after the start."""
        turn, place = np.divmod(np.arange(begin, end), max(1, self.size))
        i = place if self.own is None else self.own[place]
        return place, turn, turn * self.period_ns + i * self.period_ns // self.vehicles


class Pace(NamedTuple):
    """What to do now: open `due` messages, then look again in `wait_ns`; `stop` after the last."""

    due: int
    wait_ns: int
    stop: bool


def pace(elapsed_ns: int, opened: int, schedule: Schedule) -> Pace:
    """How many messages are due `elapsed_ns` after the start when `opened` have been opened.

    A generator that comes late finds them all due at once: the schedule does not move.
    """
    total = schedule.total
    target = min(total, max(0, schedule.due_before(elapsed_ns + 1)))
    due = max(0, target - opened)
    following = opened + due
    if following >= total:
        return Pace(due, 0, True)
    return Pace(due, max(0, schedule.intended_ns(following) - elapsed_ns), False)
