"""What happens to a batch whose processing fails: the state machine alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.cloud.local.gaps._stream_batch import (
    BACKOFF_S,
    COMPLETE,
    Batch,
    Discard,
    Invoke,
    Policy,
    first_failure,
)

NOW_S = 1_000_000.0


def records(count: int, age_s: float = 0) -> list[dict[str, Any]]:
    return [
        {"SequenceNumber": f"{number:05}", "ApproximateArrivalTimestamp": NOW_S - age_s}
        for number in range(count)
    ]


def numbers(command: Invoke | Discard | None) -> list[int]:
    assert command is not None
    return [int(record["SequenceNumber"]) for record in command.records]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (None, COMPLETE),
        ("", COMPLETE),
        ({}, COMPLETE),
        ({"batchItemFailures": None}, COMPLETE),
        ({"batchItemFailures": []}, COMPLETE),
        ({"statusCode": 200}, COMPLETE),
        ({"batchItemFailures": [{"itemIdentifier": "b"}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": "c"}, {"itemIdentifier": "a"}]}, 0),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, None),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, None),
        ({"batchItemFailures": [{"id": "a"}]}, None),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, None),
        ({"batchItemFailures": "a"}, None),
        ("done", None),
        ([], None),
    ],
)
def test_the_responses_aws_documents(response: Any, expected: int | None) -> None:
    assert first_failure(response, ["a", "b", "c"]) == expected


def test_retries_are_counted_after_the_first_attempt() -> None:
    batch = Batch(records(2), Policy(maximum_retries=2))
    for _ in range(3):
        assert isinstance(batch.next(NOW_S), Invoke)
        batch.failed()
    assert batch.next(NOW_S) == Discard(records(2), invocations=3)
    assert batch.next(NOW_S) is None


def test_without_a_limit_it_is_retried_for_ever() -> None:
    batch = Batch(records(1), Policy())
    for _ in range(10_000):
        batch.failed()
    assert isinstance(batch.next(NOW_S), Invoke)
    assert batch.delay_s == BACKOFF_S[1]


def test_throttling_uses_up_no_retry() -> None:
    batch = Batch(records(1), Policy(maximum_retries=0))
    batch.throttled()
    assert isinstance(batch.next(NOW_S), Invoke)
    assert batch.delay_s > 0


def test_records_too_old_are_given_up_before_they_are_invoked() -> None:
    old, young = records(3, age_s=61)[:2], records(3, age_s=10)[2:]
    batch = Batch(old + young, Policy(maximum_age_s=60))
    assert batch.next(NOW_S) == Discard(old, invocations=0)
    assert batch.next(NOW_S) == Invoke(young)
    batch.failed()
    assert batch.next(NOW_S + 60) == Discard(young, invocations=1)


def test_a_partial_failure_without_bisecting_uses_up_a_retry() -> None:
    policy = Policy(maximum_retries=1, reports_item_failures=True)
    batch = Batch(records(4), policy)
    batch.responded({"batchItemFailures": [{"itemIdentifier": "00002"}]})
    assert numbers(batch.next(NOW_S)) == [2, 3]
    batch.responded({"batchItemFailures": [{"itemIdentifier": "00002"}]})
    assert batch.next(NOW_S) == Discard(records(4)[2:], invocations=2)
    assert batch.next(NOW_S) is None


@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39)),
    retries=st.integers(0, 3),
    reports=st.booleans(),
)
def test_bisecting_gives_up_exactly_the_poison_and_keeps_the_order(
    count: int, poison: set[int], retries: int, reports: bool
) -> None:
    """Each record is processed once or given up alone; processed ones in order."""
    policy = Policy(maximum_retries=retries, bisect=True, reports_item_failures=reports)
    batch = Batch(records(count), policy)
    processed: list[int] = []
    given_up: list[int] = []
    while (command := batch.next(NOW_S)) is not None:
        found = numbers(command)
        if isinstance(command, Discard):
            given_up += found
            continue
        bad = [number for number in found if number in poison]
        if not bad:
            processed += found
            batch.responded(None)
        elif reports:
            processed += [number for number in found if number < bad[0]]
            batch.responded({"batchItemFailures": [{"itemIdentifier": f"{bad[0]:05}"}]})
        else:
            batch.failed()
    wanted = {number for number in poison if number < count}
    assert given_up == sorted(wanted)
    assert processed == [number for number in range(count) if number not in wanted]
