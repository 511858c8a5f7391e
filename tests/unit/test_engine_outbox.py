from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fleet_sim.engine import outbox as module
from fleet_sim.engine.outbox import Batch, Composer, Outbox
from fleet_sim.engine.pacing import Schedule

SECOND = 1_000_000_000


class Writer:
    """Composes payloads that say in which step of the world they were composed."""

    step = 0

    def compose(self, vehicles: NDArray[np.int64], seqs: list[int]) -> list[bytes]:
        pairs = zip(vehicles.tolist(), seqs, strict=True)
        return [f"{i}:{seq}@{self.step}".encode() for i, seq in pairs]


def outbox(schedule: Schedule, first: int = 0) -> tuple[Outbox, Writer]:
    writer = Writer()
    return Outbox(schedule, first, 1, cast(Composer, writer)), writer


def names(due: Batch) -> list[tuple[int, int]]:
    assert len(due.payloads) == len(due.seqs)
    return list(zip(due.seqs.tolist(), due.vehicles.tolist(), strict=True))


def test_what_is_due_between_two_steps_is_what_vehicles_sensed_at_the_first() -> None:
    box, writer = outbox(Schedule(vehicles=2, period_ns=SECOND, duration_ns=SECOND), first=10)
    box.prepare(SECOND // 4)
    writer.step = 1
    box.prepare(SECOND)
    taken, plan = box.take(SECOND // 8)
    assert taken.payloads == [b"10:1@0"]
    assert plan.wait_ns == SECOND // 2 - SECOND // 8
    taken, plan = box.take(SECOND // 2)
    assert taken.payloads == [b"11:1@1"]
    assert plan.stop


def test_a_world_that_is_behind_holds_back_what_it_has_not_reached() -> None:
    box, _ = outbox(Schedule(vehicles=4, period_ns=SECOND, duration_ns=SECOND))
    box.prepare(SECOND // 2)
    taken, plan = box.take(5 * SECOND)
    assert len(taken.payloads) == 2
    assert plan.due == 4
    box.prepare(SECOND)
    assert box.take(5 * SECOND)[0].vehicles.tolist() == [2, 3]


def test_chunks_are_composed_as_they_are_due_and_the_rest_before_the_world_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    told: list[int] = []
    writer = Writer()
    box = Outbox(
        Schedule(vehicles=10, period_ns=SECOND, duration_ns=SECOND),
        0,
        1,
        cast(Composer, writer),
        lambda vehicles: told.extend(vehicles.tolist()),
    )
    box.prepare(SECOND)
    assert told == [0, 1, 2]
    assert len(box.take(SECOND // 10)[0].payloads) == 2
    assert told == [0, 1, 2]
    assert len(box.take(4 * SECOND // 10)[0].payloads) == 3
    assert told == list(range(6))
    box.finish()
    writer.step = 1
    taken, plan = box.take(SECOND)
    assert taken.payloads == [f"{i}:1@0".encode() for i in range(5, 10)]
    assert plan.stop


@given(
    st.builds(
        Schedule,
        vehicles=st.integers(1, 20),
        period_ns=st.integers(1_000, 3 * SECOND),
        duration_ns=st.integers(1, 5 * SECOND),
        own=st.none(),
    ).filter(lambda s: s.total < 3_000),
    st.data(),
)
def test_any_order_of_steps_and_looks_takes_every_message_once_and_never_early(
    schedule: Schedule, data: Any
) -> None:
    box, _ = outbox(schedule)
    end = schedule.duration_ns
    taken: list[tuple[int, int]] = []
    prepared = 0
    for at in sorted(data.draw(st.lists(st.integers(0, end), max_size=20))):
        if data.draw(st.booleans()):
            prepared = at
            box.prepare(prepared)
        else:
            due = box.take(at)[0]
            assert (due.intended_ns <= at).all()
            assert (due.intended_ns < prepared).all()
            taken += names(due)
    box.prepare(end)
    taken += names(box.take(end)[0])
    turns = [divmod(m, schedule.vehicles) for m in range(schedule.total)]
    assert taken == [(turn + 1, vehicle) for turn, vehicle in turns]
