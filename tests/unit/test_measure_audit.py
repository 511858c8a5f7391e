"""The audit names what is wrong with a run, and nothing else: a perfect run is made
up, then broken in known ways."""

import numpy as np
import pytest
from audit_pipeline import MS, T0, Pipeline, vin
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.measure.archived import ArchiveRows, VehicleIndex, load_archive
from fleet_sim.measure.audit import AuditResult, Outage, audit
from fleet_sim.measure.ledger import DropCause, Ledger


def named(result: AuditResult) -> set[tuple[str, int, str]]:
    return {(s.vin, s.seq, s.fate) for s in result.report.stories}


COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(lambda c: sum(c) > 0)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(1, 3))
def test_a_perfect_run_has_no_problem(counts: list[int], shards: int) -> None:
    run = Pipeline(counts, shards)
    run.write_ledger()
    report = run.audit().report
    assert report.messages == report.sent == report.acknowledged == sum(counts)
    assert report.archived == report.applied == sum(counts)
    assert report.fates == {"applied": sum(counts)}
    assert (report.unexplained, report.explained, report.stories) == (0, 0, [])


@settings(max_examples=150, deadline=None)
@given(st.data(), COUNTS.filter(lambda c: max(c) >= 3), st.integers(1, 3))
def test_each_break_is_named_and_nothing_else(
    data: st.DataObject, counts: list[int], shards: int
) -> None:
    run = Pipeline(counts, shards)
    kinds = ["lost", "duplicated", "reordered", "unapplied", "phantom", "applied_not_archived"]
    kind = data.draw(st.sampled_from(kinds))
    vehicle = data.draw(st.sampled_from([v for v, n in enumerate(counts) if n >= 3]))
    seq = data.draw(st.integers(1, counts[vehicle] - 1))  # not the newest
    stream = run.stream[vehicle % shards]
    at = stream.index((vehicle, seq))
    if kind == "lost":
        del stream[at]
        run.applied[vehicle].discard(seq)
    elif kind == "duplicated":
        stream.insert(data.draw(st.integers(0, len(stream))), (vehicle, seq))
    elif kind == "reordered":
        after = stream.index((vehicle, seq + 1))
        stream[at], stream[after] = stream[after], stream[at]
    elif kind == "unapplied":
        run.applied[vehicle].discard(seq)
    elif kind == "phantom":
        seq = counts[vehicle] + data.draw(st.integers(1, 1000))
        stream.insert(data.draw(st.integers(0, len(stream))), (vehicle, seq))
    else:
        del stream[at]
    run.write_ledger()
    report = run.audit().report
    if kind == "duplicated":
        # A copy put in front of an earlier message is a disorder of those, too.
        ahead = {m for m in run.messages() if is_late(stream, m)}
        expected = {(vin(v), s, "reordered") for v, s in ahead} | {(vin(vehicle), seq, kind)}
        assert report.reordered == len(ahead)
    else:
        expected = {(vin(vehicle), seq, kind)}
        assert report.reordered == (kind == "reordered")
    assert {(s.vin, s.seq, s.fate) for s in report.stories} == expected
    assert report.unexplained == len(expected)
    assert report.explained == 0
    for name in kinds:
        if name != "reordered":
            assert getattr(report, name) == (name == kind), name


def is_late(stream: list[tuple[int, int]], message: tuple[int, int]) -> bool:
    if message not in stream:
        return False
    before = stream[: stream.index(message)]
    return any(v == message[0] and s > message[1] for v, s in before)


def test_a_retry_of_the_same_stream_record_is_harmless() -> None:
    run = Pipeline([3])
    run.again = [1]
    run.write_ledger()
    report = run.audit().report
    assert (report.rearchived, report.duplicated, report.unexplained) == (1, 0, 0)


def test_a_resend_explains_a_duplicate() -> None:
    run = Pipeline([3])
    run.stream[0].append((0, 2))
    run.write_ledger()
    run.ledger.sent(run.rows[0, 2], T0 + 99)
    report = run.audit().report
    assert (report.duplicated, report.explained, report.unexplained) == (1, 1, 0)
    assert report.stories[0].explanation == "resent 1 x"


def test_messages_that_were_sent_out_of_order_explain_their_order_in_the_stream() -> None:
    run = Pipeline([4])
    run.stream[0] = [(0, 1), (0, 3), (0, 4), (0, 2)]
    run.late_sent[0, 2] = T0 + 60_000 * MS
    run.write_ledger()
    report = run.audit().report
    assert (report.reordered, report.explained, report.unexplained) == (1, 1, 0)
    assert report.stories[0].explanation == "sent out of order"


def test_an_outage_explains_what_was_in_the_air_and_nothing_else() -> None:
    run = Pipeline([6, 6])
    for gone in [(0, 2), (0, 5), (1, 2)]:
        run.stream[gone[0]].remove(gone)
        run.applied[gone[0]].discard(gone[1])
        run.unacked.add(gone)
    run.write_ledger()
    window = (T0 + 2_500 * MS, T0 + 3_000 * MS, "radio down in the north")
    grace = 500 * MS
    report = run.audit(outages=[Outage(*window)], grace_ns=grace).report
    assert (report.unacknowledged_missing, report.explained, report.unexplained) == (3, 2, 1)
    assert [(s.seq, s.explanation) for s in report.stories] == [
        (5, ""),
        (2, "radio down in the north"),
        (2, "radio down in the north"),
    ]
    # The first of two that overlap is named.
    both = [Outage(*window), Outage(T0, T0 + 10**12, "the target was down")]
    stories = run.audit(outages=both, grace_ns=grace).report.stories
    assert sorted(s.explanation for s in stories) == [both[0].what, both[0].what, both[1].what]
    # The same outage of the other vehicle alone, and one that began too late.
    report = run.audit(outages=[Outage(*window, vehicles=[1])], grace_ns=grace).report
    assert (report.explained, report.unexplained) == (1, 2)
    assert run.audit(outages=[Outage(*window)], grace_ns=100 * MS).report.unexplained == 3


def test_no_outage_explains_the_loss_of_an_acknowledged_message() -> None:
    run = Pipeline([3])
    run.stream[0].remove((0, 2))
    run.applied[0].discard(2)
    run.write_ledger()
    report = run.audit(outages=[Outage(T0, T0 + 10**12, "everything down")]).report
    assert (report.lost, report.unexplained) == (1, 1)
    assert report.stories[0].known == [
        "intended 2.000 s",
        "sent +0.2 ms",
        "acknowledged +14.0 ms",
        "never archived",
        "never applied",
    ]


def test_a_missing_acknowledgement_of_an_archived_message_is_harmless() -> None:
    run = Pipeline([3])
    run.unacked.add((0, 3))
    run.write_ledger()
    report = run.audit().report
    assert (report.unacknowledged, report.unacknowledged_archived) == (1, 1)
    assert report.fates == {"applied": 2, "unacknowledged_archived": 1}
    assert report.unexplained == 0


@pytest.mark.parametrize("cause", [c for c in DropCause if c])
def test_a_drop_is_explained_by_its_cause(cause: DropCause) -> None:
    ledger = Ledger(1)
    row = ledger.open(0, 1, T0)
    if cause is DropCause.REJECTED:
        ledger.sent(row, T0 + MS)
        ledger.acked(row, T0 + 2 * MS, 0x97)
    else:
        ledger.dropped(row, cause)
    report = audit(ledger.columns(), [], {}, {}, [vin(0)]).report
    assert report.dropped == {cause.name.lower(): 1}
    assert (report.acknowledged, report.explained, report.unexplained) == (0, 1, 0)
    assert report.stories[0].explanation


def test_what_a_dead_shard_had_is_neither_lost_nor_a_phantom() -> None:
    run = Pipeline([5], unacked={(0, 2), (0, 3), (0, 4)})
    run.write_ledger()
    sent = run.ledger.column("sent_ns")
    sent[[1, 2]] = 0  # it died before it could note that
    for row in (1, 2, 3):
        run.ledger.dropped(row, DropCause.SHARD_LOST)
    for stream in run.stream:
        for message in ((0, 3), (0, 4)):  # the one before did arrive
            if message in stream:
                stream.remove(message)
    run.applied[0] -= {3, 4}
    report = run.audit().report
    assert (report.phantom, report.unsent, report.lost, report.unexplained) == (0, 0, 0, 0)
    assert report.dropped == {"shard_lost": 2}
    assert report.fates == {"applied": 2, "dropped": 2, "unacknowledged_archived": 1}


def test_a_message_neither_sent_nor_given_up_is_unexplained() -> None:
    ledger = Ledger(1)
    ledger.open(0, 1, T0)
    report = audit(ledger.columns(), [], {}, {}, [vin(0)]).report
    assert (report.unsent, report.unexplained) == (1, 1)


def test_without_a_cloud_acknowledgements_alone_are_audited() -> None:
    run = Pipeline([3])
    run.unacked.add((0, 2))
    run.write_ledger()
    report = audit(run.ledger.columns(), None, None, None, [vin(0)]).report
    assert (report.archived, report.applied) == (None, None)
    assert report.fates == {"acknowledged": 2, "unacknowledged": 1}
    assert (report.lost, report.unexplained) == (0, 1)
    assert "audit_archived" not in report.metrics()


def test_applied_numbers_that_nobody_sent_are_counted_and_named_however_many() -> None:
    run = Pipeline([3])
    run.write_ledger()
    report = audit(
        run.ledger.columns(), run.archive(), {vin(0): "1-4000000000"}, {vin(0): 4 * 10**9}, [vin(0)]
    ).report
    assert report.applied_not_archived == report.unexplained == 4 * 10**9 - 3
    assert len(report.stories) == 100
    assert (report.stories[0].seq, report.stories[0].fate) == (4, "applied_not_archived")


@pytest.mark.parametrize("stored", [2, 4, 0])
def test_a_stored_newest_that_contradicts_the_applied_numbers(stored: int) -> None:
    run = Pipeline([3])
    run.newest[vin(0)] = stored
    run.write_ledger()
    report = run.audit().report
    assert (report.newest_mismatch, report.unexplained) == (1, 1)
    assert named(run.audit()) == {(vin(0), stored, "newest_mismatch")}


def test_stage_times_come_from_the_first_copy() -> None:
    run = Pipeline([2])
    run.stream[0].append((0, 1))
    run.write_ledger()
    archive = run.archive()
    late = archive[-1]
    archive[-1] = (*late[:4], late[4] + 5000, late[5] + 5000)
    result = audit(run.ledger.columns(), archive, {vin(0): "1-2"}, {vin(0): 2}, [vin(0)])
    assert result.stream_ns.tolist() == [T0 + 1030 * MS, T0 + 2030 * MS]
    assert result.processed_ns.tolist() == [T0 + 1130 * MS, T0 + 2130 * MS]


def test_metrics_are_counts() -> None:
    run = Pipeline([3])
    run.write_ledger()
    metrics = run.audit().report.metrics()
    assert metrics["audit_lost"] == {"count": 0}
    assert metrics["audit_unexplained"] == {"count": 0}
    assert metrics["audit_applied"] == {"count": 3}
    assert metrics["audit_dropped"] == {"count": 0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1-3,", "'' is not N or N-M"),
        ("3-1", "'3-1' is not a range"),
        ("1-3,3-5", "'3-5' does not come after 3"),
        ("0-2", "'0-2' is not N or N-M"),
        ("1 -2", "'1 -2' is not N or N-M"),
        ("1-99999999999", "is not N or N-M"),
        ("1-9999999999", "is not a range within"),
        ("\u0661", "is not N or N-M"),
    ],
)
def test_malformed_intervals_name_the_vehicle_and_the_text(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="applied intervals of vehicle") as error:
        audit(Ledger(1).columns(), [], {vin(0): text}, {}, [vin(0)])
    assert vin(0) in str(error.value)
    assert repr(text) in str(error.value)
    assert problem in str(error.value)


def test_refuses_what_it_cannot_audit() -> None:
    ledger = Ledger(1)
    ledger.open(0, 1, T0)
    with pytest.raises(ValueError, match="vehicle 0 is not among the 0 vins"):
        audit(ledger.columns(), [], {}, {}, [])
    with pytest.raises(ValueError, match="given together"):
        audit(ledger.columns(), [], None, {}, [vin(0)])
    with pytest.raises(ValueError, match="same vehicle twice"):
        audit(ledger.columns(), [], {}, {}, [vin(0), vin(0)])
    with pytest.raises(ValueError, match=r"seq 1, s/-1: out of range"):
        audit(ledger.columns(), [(vin(0), 1, "s", -1, 0.0, 0.0)], {}, {}, [vin(0)])
    ledger.open(0, 1, T0)
    with pytest.raises(ValueError, match="vehicle 0 seq 1 was opened more than once"):
        audit(ledger.columns(), [], {}, {}, [vin(0)])


def test_records_are_in_the_order_of_their_whole_sequence_number() -> None:
    numbers = [2**130, 5, 2**64, 2**64 + 1, 6, 2**64]
    rows = [
        ("a", seq, "s", number, 0.0, 0.0)
        for seq, number in zip((1, 2, 3, 4, 5, 3), numbers, strict=True)
    ]
    packed = ArchiveRows(rows)
    assert len(packed) == 6
    found = load_archive(packed, VehicleIndex(["a"]))
    assert (found.key & np.uint64(0xFFFFFFFF)).tolist() == [2, 5, 3, 4, 1]
    assert found.rearchived == 1
