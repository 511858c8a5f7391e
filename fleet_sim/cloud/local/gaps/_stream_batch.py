"""What happens to a batch of stream records whose processing may fail: a pure state machine.

Events in (`succeeded`, `failed`, `throttled`, `responded`), commands out (`next`): invoke the
function with these records, or give these up. It reads no clock and never waits.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

Record = dict[str, Any]

COMPLETE: Final = -1
"""`first_failure`'s answer when the whole batch succeeded."""
BACKOFF_S: Final = (0.1, 5.0)
"""Wait before the first retry, doubled for each further one up to the second value."""


class Policy(msgspec.Struct, frozen=True):
    """An event source mapping's settings; -1 means without limit."""

    maximum_retries: int = -1
    maximum_age_s: float = -1
    bisect: bool = False
    reports_item_failures: bool = False


class Invoke(msgspec.Struct, frozen=True):
    records: list[Record]


class Discard(msgspec.Struct, frozen=True):
    """Records to give up: tell the failure destination, then go on."""

    records: list[Record]
    invocations: int
    """How often the function was invoked with them. 0: they were too old when they came."""


class _Segment(msgspec.Struct):
    records: list[Record]
    retries: int = 0
    invocations: int = 0


class Batch:
    """A batch on its way through the function, split and shortened as AWS documents it."""

    def __init__(self, records: list[Record], policy: Policy) -> None:
        self._policy = policy
        self._segments = deque([_Segment(records)])
        self._failures_in_a_row = 0

    @property
    def unprocessed(self) -> Record | None:
        """The oldest record that is neither processed nor discarded."""
        return self._segments[0].records[0] if self._segments else None

    @property
    def delay_s(self) -> float:
        """How long to wait before the next invocation."""
        if not self._failures_in_a_row:
            return 0.0
        first, longest = BACKOFF_S
        # The exponent is bounded: a shard may be stuck for days.
        return float(min(longest, first * 2 ** min(self._failures_in_a_row - 1, 16)))

    def next(self, now_s: float) -> Invoke | Discard | None:
        """The next command at `now_s` (epoch seconds); None when the batch is done with."""
        if not self._segments:
            return None
        segment, policy = self._segments[0], self._policy
        if 0 <= policy.maximum_retries < segment.retries:
            self._segments.popleft()
            self._failures_in_a_row = 0
            return Discard(segment.records, segment.invocations)
        if policy.maximum_age_s >= 0:
            oldest = now_s - policy.maximum_age_s
            expired = 0
            for record in segment.records:
                if record["ApproximateArrivalTimestamp"] >= oldest:
                    break
                expired += 1
            if expired:
                given_up = Discard(segment.records[:expired], segment.invocations)
                self._drop(expired)
                self._failures_in_a_row = 0
                return given_up
        return Invoke(segment.records)

    def succeeded(self) -> None:
        self._failures_in_a_row = 0
        self._segments.popleft()

    def throttled(self) -> None:
        """The function was not invoked: this is retried until the records are too old."""
        self._failures_in_a_row += 1

    def failed(self) -> None:
        """The function failed for the whole batch."""
        segment = self._segments[0]
        segment.invocations += 1
        size = len(segment.records)
        if self._policy.bisect and size > 1:
            # Splitting does not use up the retries.
            half = size // 2
            self._segments[0] = _Segment(
                segment.records[half:], segment.retries, segment.invocations
            )
            self._segments.appendleft(
                _Segment(segment.records[:half], segment.retries, segment.invocations)
            )
            return
        segment.retries += 1
        self._failures_in_a_row += 1

    def responded(self, response: Any) -> None:
        """The function returned `response`, which may name records that failed."""
        if not self._policy.reports_item_failures:
            self.succeeded()
            return
        records = self._segments[0].records
        index = first_failure(response, [record["SequenceNumber"] for record in records])
        if index == COMPLETE:
            self.succeeded()
        elif index is None or index == 0:
            self.failed()
        else:
            # Everything before the lowest failed sequence number is checkpointed. With bisecting,
            # this is the split, which costs no retry.
            self._drop(index)
            segment = self._segments[0]
            segment.invocations += 1
            if not self._policy.bisect:
                segment.retries += 1
                self._failures_in_a_row += 1

    def _drop(self, count: int) -> None:
        segment = self._segments[0]
        if count == len(segment.records):
            self._segments.popleft()
        else:
            segment.records = segment.records[count:]


def first_failure(response: Any, sequence_numbers: list[str]) -> int | None:
    """Index of the lowest failed record, `COMPLETE` for success, None for an invalid response.

    Success: null, an empty object, a null or empty `batchItemFailures`. An empty, null, misnamed
    or unknown `itemIdentifier` makes the whole batch a failure, as does any other response.
    """
    if response is None or response == "":
        return COMPLETE
    if not isinstance(response, dict):
        return None
    failures = response.get("batchItemFailures")
    if failures is None or failures == []:
        return COMPLETE
    if not isinstance(failures, list):
        return None
    lowest = len(sequence_numbers)
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or identifier not in sequence_numbers:
            return None
        lowest = min(lowest, sequence_numbers.index(identifier))
    return lowest
