"""Open-loop pacing as a pure function: what is due depends on the clock alone, never on answers."""

from typing import NamedTuple


class Schedule(NamedTuple):
    """Messages of `vehicles` alike vehicles, each every `period_ns`, staggered evenly.

    Message m of the group is vehicle `m % vehicles`'s message number `m // vehicles` and is
    intended at `m * period_ns / vehicles` after the start, for `duration_ns`.
    """

    vehicles: int
    period_ns: int
    duration_ns: int

    @property
    def total(self) -> int:
        """Messages over the whole duration."""
        return -(-self.duration_ns * self.vehicles // self.period_ns)

    def intended_ns(self, m: int) -> int:
        """When message m is due, ns after the start."""
        return m * self.period_ns // self.vehicles


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
    by_now = -(-(elapsed_ns + 1) * schedule.vehicles // schedule.period_ns)
    target = min(total, max(0, by_now))
    due = max(0, target - opened)
    following = opened + due
    if following >= total:
        return Pace(due, 0, True)
    return Pace(due, max(0, schedule.intended_ns(following) - elapsed_ns), False)
