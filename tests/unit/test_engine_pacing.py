import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.engine.pacing import Schedule, pace

SECOND = 1_000_000_000

schedules = st.builds(
    Schedule,
    vehicles=st.integers(1, 50),
    period_ns=st.integers(1_000, 10 * SECOND),
    duration_ns=st.integers(1, 20 * SECOND),
    own=st.none(),
).filter(lambda s: s.total < 20_000)


def test_messages_are_spread_evenly_over_the_period() -> None:
    schedule = Schedule(vehicles=4, period_ns=SECOND, duration_ns=2 * SECOND)
    assert schedule.total == 8
    assert [schedule.intended_ns(m) / SECOND for m in range(5)] == [0, 0.25, 0.5, 0.75, 1.0]


def test_the_first_is_due_at_once_and_the_next_after_its_share_of_the_period() -> None:
    schedule = Schedule(vehicles=4, period_ns=SECOND, duration_ns=2 * SECOND)
    assert pace(0, 0, schedule) == (1, SECOND // 4, False)
    assert pace(0, 1, schedule) == (0, SECOND // 4, False)
    assert pace(-5, 0, schedule) == (0, 5, False)


def test_who_comes_late_finds_everything_due() -> None:
    schedule = Schedule(vehicles=4, period_ns=SECOND, duration_ns=2 * SECOND)
    assert pace(60 * SECOND, 3, schedule) == (5, 0, True)


@given(schedules, st.data())
def test_any_sequence_of_looks_opens_each_message_once_and_never_early(
    schedule: Schedule, data: st.DataObject
) -> None:
    end = schedule.duration_ns
    looks = sorted(data.draw(st.lists(st.integers(0, end), max_size=30)))
    opened = 0
    for elapsed in [*looks, end]:
        plan = pace(elapsed, opened, schedule)
        for m in range(opened, opened + plan.due):
            assert schedule.intended_ns(m) <= elapsed
        opened += plan.due
        if not plan.stop:
            assert schedule.intended_ns(opened) > elapsed
            assert plan.wait_ns == schedule.intended_ns(opened) - elapsed
    assert opened == schedule.total
    assert plan.stop


@given(schedules, st.integers(1, 5))
def test_shards_open_what_one_would_at_the_same_times(schedule: Schedule, shards: int) -> None:
    def all_of(part: Schedule) -> list[tuple[int, int, int]]:
        whose, turns, due = (column.tolist() for column in part.messages(0, part.total))
        assert due == [part.intended_ns(m) for m in range(part.total)]
        assert due == sorted(due)
        who = whose if part.own is None else [int(part.own[place]) for place in whose]
        return sorted(zip(due, turns, who, strict=True))

    parts = [
        schedule._replace(own=np.arange(shard, schedule.vehicles, shards))
        for shard in range(shards)
    ]
    assert sorted(row for part in parts for row in all_of(part)) == all_of(schedule)
    for t_ns in (0, 1, schedule.duration_ns // 3, schedule.duration_ns):
        assert sum(part.due_before(t_ns) for part in parts) == schedule.due_before(t_ns)


@given(schedules)
def test_every_vehicle_has_its_turn_in_each_period(schedule: Schedule) -> None:
    for m in range(min(schedule.total, 200)):
        turn, vehicle = divmod(m, schedule.vehicles)
        first = vehicle * schedule.period_ns // schedule.vehicles
        assert schedule.intended_ns(m) - turn * schedule.period_ns == first
