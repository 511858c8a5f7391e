"""Kinesis: storage of a shard's records."""

from __future__ import annotations

from typing import Any

from gap_harness import GapAws
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fleet_sim.cloud.local.gaps import stream_expiry
from fleet_sim.cloud.local.gaps.stream_expiry import ShardLog


def record(number: int) -> dict[str, Any]:
    return {"SequenceNumber": f"{number:09}", "ApproximateArrivalTimestamp": float(number)}


class AgainstList(RuleBasedStateMachine):
    """The log against a plain list whose expired entries stay as None."""

    def __init__(self) -> None:
        super().__init__()
        self.log = ShardLog()
        self.plain: list[dict[str, Any] | None] = []

    @rule(count=st.integers(1, 3000))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.log.append(record(len(self.plain)))
            self.plain.append(record(len(self.plain)))

    @rule(part=st.floats(0, 1))
    def expire(self, part: float) -> None:
        before = int(part * len(self.plain))
        self.log.expire(float(before))
        self.plain[:before] = [None] * before

    @rule(start=st.integers(0, 9000), size=st.integers(0, 50))
    def read(self, start: int, size: int) -> None:
        first = max(start, self.log.start)
        expected = self.plain[first : start + size]
        assert self.log[start : start + size] == expected

    @invariant()
    def same(self) -> None:
        held = [one for one in self.plain if one is not None]
        assert len(self.log) == len(self.plain)
        assert bool(self.log) == bool(held)
        assert self.log.start == len(self.plain) - len(held)
        if held:
            assert self.log[self.log.start] == held[0]
            assert self.log[-1] == held[-1]


AgainstList.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestAgainstList = AgainstList.TestCase


def test_positions_survive_expiry() -> None:
    log = ShardLog()
    for number in range(5000):
        log.append(record(number))
    log.expire(4000.0)
    assert log[4500]["SequenceNumber"] == f"{4500:09}"
    assert log.find(lambda one: one["SequenceNumber"] > f"{4700:09}") == 4701
    assert [one["SequenceNumber"] for one in log[0:4002]] == [f"{n:09}" for n in (4000, 4001)]


def test_expiry_moves_memory_rarely() -> None:
    """Each record is moved a bounded number of times, however often expiry runs."""
    log = ShardLog()
    moved = 0
    for number in range(60_000):
        log.append(record(number))
        held = len(log._items)
        log.expire(float(number - 20_000))
        if len(log._items) < held:
            moved += len(log._items)
    assert moved < 100_000


def test_the_surplus_goes_only_when_every_reader_is_past_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(stream_expiry, "MAX_RECORDS", 100)
    log = ShardLog()
    for number in range(300):
        log.append(record(number))
    log.expire(0.0)
    assert log.start == 0  # nobody reads: nothing may be lost
    log.readers["one"] = lambda: 250
    log.readers["other"] = lambda: 150
    log.expire(0.0)
    assert log.start == 150
    log.readers["other"] = lambda: 300
    log.expire(0.0)
    assert log.start == 200


def test_the_api_reads_the_log(aws: GapAws) -> None:
    kinesis, stream = aws.client("kinesis"), aws.stream()
    sequences = [
        kinesis.put_record(StreamName=stream, Data=b"%d" % number, PartitionKey="k")[
            "SequenceNumber"
        ]
        for number in range(5)
    ]

    def read(kind: str, **options: object) -> list[bytes]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType=kind, **options
        )["ShardIterator"]
        found: list[bytes] = []
        while records := (answer := kinesis.get_records(ShardIterator=iterator, Limit=2))[
            "Records"
        ]:
            found += [one["Data"] for one in records]
            iterator = answer["NextShardIterator"]
        return found

    assert read("TRIM_HORIZON") == [b"0", b"1", b"2", b"3", b"4"]
    assert read("AT_SEQUENCE_NUMBER", StartingSequenceNumber=sequences[3]) == [b"3", b"4"]
    assert read("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=sequences[3]) == [b"4"]
    assert read("LATEST") == []
