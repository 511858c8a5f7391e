"""The telemetry processor's pure part: decoding, archive, intervals, vehicle states."""

import base64
import gzip
import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lambda_fakes import RUN, VIN, incoming, record

from fleet_sim.contract import MAX_TELEMETRY_BYTES, ArchivedRecord, VehicleView
from telemetry_processor import logic
from telemetry_processor.logic import Accepted, Refused

OTHER_VIN = "1FSMZ91C0T0000002"


class TestDecode:
    def test_a_valid_record_is_accepted_as_it_is(self) -> None:
        sent = record(7)
        decoded = logic.decode(incoming(sent, 1))
        assert isinstance(decoded, Accepted)
        assert decoded.record == sent

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not telemetry"),
            (b"\xff\xfe", "not telemetry"),
            (b"[1, 2]", "not telemetry"),
            (b'{"run": "r"', "not telemetry"),
            (b" " * (MAX_TELEMETRY_BYTES + 1), f"{MAX_TELEMETRY_BYTES + 1} bytes"),
        ],
    )
    def test_what_is_not_telemetry_is_refused(self, data: bytes, reason: str) -> None:
        decoded = logic.decode(incoming(data, 1))
        assert isinstance(decoded, Refused)
        assert reason in decoded.reason

    def test_a_refusal_names_the_field(self) -> None:
        valid = msgspec.to_builtins(record(1))
        decoded = logic.decode(incoming(msgspec.json.encode(valid | {"soc": 1.5}), 1))
        assert isinstance(decoded, Refused)
        assert "$.soc" in decoded.reason

    def test_an_unknown_field_is_refused(self) -> None:
        valid = msgspec.to_builtins(record(1))
        decoded = logic.decode(incoming(msgspec.json.encode(valid | {"color": "red"}), 1))
        assert isinstance(decoded, Refused)
        assert "color" in decoded.reason

    def test_a_vin_that_is_not_the_things_is_refused(self) -> None:
        spoof = msgspec.structs.replace(record(1), thing=OTHER_VIN)
        decoded = logic.decode(incoming(spoof, 1))
        assert isinstance(decoded, Refused)
        assert VIN in decoded.reason
        assert OTHER_VIN in decoded.reason

    def test_a_report_fits_the_queue(self) -> None:
        refused = Refused(incoming(b"\x00" * 1_000_000, 1), "too large")
        report = logic.refusal(refused)
        assert report.size == 1_000_000
        assert 10 * len(msgspec.json.encode(report)) <= 1024 * 1024 * 1.3
        assert base64.b64decode(report.record) == b"\x00" * logic.MAX_REPORTED_BYTES


class TestArchive:
    def test_the_key_is_the_batchs_own(self) -> None:
        arrived = 1_780_279_199_999.0  # 2026-06-01T01:59:59.999Z
        records = [incoming(record(seq), 100 + seq, arrived) for seq in (1, 2, 3)]
        assert logic.archive_key(records) == (
            "telemetry/dt=2026-06-01/hour=01/shardId-000000000000-101-103.jsonl.gz"
        )

    @pytest.mark.parametrize(
        ("data", "archived"),
        [
            (b'{"a": [1, 2]}', b'{"a": [1, 2]}'),
            (b'{\n "a":\r\n 1}', b'{"a":1}'),
            (b"\xff", b'"/w=="'),
            (b'{"a":', b'"eyJhIjo="'),
            (b"", b'""'),
            (b"[" * 100_000, None),
        ],
    )
    def test_any_record_is_one_line(self, data: bytes, archived: bytes | None) -> None:
        body = logic.archive_body([incoming(data, 5, 1.5), incoming(b"1", 6)], processed_ms=2.5)
        lines = gzip.decompress(body).splitlines()
        assert len(lines) == 2
        first, second = (msgspec.json.decode(line, type=ArchivedRecord) for line in lines)
        assert (first.sequence, first.arrival_ms, first.processed_ms) == ("5", 1.5, 2.5)
        expected = archived or msgspec.json.encode(base64.b64encode(data).decode())
        assert bytes(first.record) == expected
        assert bytes(second.record) == b"1"

    def test_a_retry_makes_the_same_bytes(self) -> None:
        records = [incoming(record(1), 1)]
        body = logic.archive_body(records, 1.0)
        assert body == logic.archive_body(records, 1.0)
        assert body[4:8] == b"\0\0\0\0"  # gzip's time stamp (RFC 1952)


class TestIntervals:
    @settings(deadline=None)
    @given(st.lists(st.integers(1, 60)))
    def test_as_a_set(self, numbers: list[int]) -> None:
        intervals: list[tuple[int, int]] = []
        model: set[int] = set()
        for number in numbers:
            assert logic.add_to_intervals(intervals, number) == (number not in model)
            model.add(number)
        held = [n for low, high in intervals for n in range(low, high + 1)]
        assert held == sorted(model)
        for (_, high), (low, _) in itertools.pairwise(intervals):
            assert high + 1 < low  # neighbours are joined: the text is as short as it can be

    @settings(deadline=None)
    @given(st.sets(st.integers(1, 60)))
    def test_the_text_comes_back(self, numbers: set[int]) -> None:
        intervals: list[tuple[int, int]] = []
        for number in numbers:
            logic.add_to_intervals(intervals, number)
        assert logic.parse_intervals(logic.format_intervals(intervals)) == intervals

    def test_the_text(self) -> None:
        assert (
            logic.format_intervals([(1, 118), (120, 121), (9_000, 9_000)]) == "1-118,120-121,9000"
        )


def fold(
    current: VehicleView | None, *records: Accepted, processed_ms: float = 1.0
) -> VehicleView | None:
    return logic.fold_vehicle(current, records, processed_ms).view


def accepted(seq: int, run: str = RUN, arrival_ms: float = 1.78e12) -> Accepted:
    # Position and charge are functions of the number: a test sees whose state it looks at.
    sent = record(seq, run=run, lat=seq / 1e4, soc=1 / (seq + 1))
    return Accepted(incoming(sent, seq, arrival_ms), sent)


class TestFold:
    def test_the_newest_number_decides(self) -> None:
        view = fold(None, accepted(2, arrival_ms=22.0), accepted(3, arrival_ms=33.0), accepted(1))
        assert view is not None
        assert (view.seq, view.applied, view.lat, view.arrival_ms) == (3, "1-3", 3e-4, 33.0)

    def test_a_late_record_only_fills_its_gap(self) -> None:
        before = fold(None, accepted(1), accepted(3))
        assert before is not None
        after = fold(before, accepted(2), processed_ms=9.0)
        assert after == msgspec.structs.replace(before, applied="1-3")

    def test_a_repeated_record_changes_nothing(self) -> None:
        before = fold(None, accepted(1), accepted(2))
        assert fold(before, accepted(2), accepted(1)) is None

    def test_a_newer_run_replaces_the_state(self) -> None:
        before = fold(None, accepted(5, run="20260601T170000Z-aaaa"))
        after = fold(before, accepted(1, run="20260601T180000Z-0000"))
        assert after is not None
        assert (after.run, after.seq, after.applied) == ("20260601T180000Z-0000", 1, "1")

    def test_an_older_run_is_ignored(self) -> None:
        before = fold(None, accepted(1, run="20260601T180000Z-0000"))
        assert fold(before, accepted(9, run="20260601T170000Z-aaaa")) is None

    def test_gaps_are_bounded(self) -> None:
        many = [accepted(2 * i + 1) for i in range(logic.MAX_GAPS + 1)]
        folded = logic.fold_vehicle(None, many, 1.0)
        assert [item.incoming.sequence for item in folded.refused] == [str(2 * logic.MAX_GAPS + 1)]
        assert "gaps" in folded.refused[0].reason
        assert folded.view is not None
        assert folded.view.seq == 2 * logic.MAX_GAPS - 1

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["run-a", "run-b"]), st.integers(1, 12)),
            min_size=1,
            max_size=30,
        ),
        st.randoms(use_true_random=False),
        st.lists(st.integers(1, 5), min_size=1),
    )
    def test_any_order_and_any_cut_end_the_same(self, sent, random, cuts) -> None:  # type: ignore[no-untyped-def]
        def run_through(messages: list[tuple[str, int]], sizes: itertools.cycle) -> VehicleView:  # type: ignore[type-arg]
            view = None
            left = list(messages)
            while left:
                size = next(sizes)
                batch, left = left[:size], left[size:]
                items = [accepted(seq, run=run) for run, seq in batch]
                view = fold(view, *items) or view
            assert view is not None
            return view

        shuffled = sent + [random.choice(sent) for _ in range(5)]
        random.shuffle(shuffled)
        once = run_through(sorted(set(sent)), itertools.cycle([1]))
        assert run_through(shuffled, itertools.cycle(cuts)) == once
        newest = max(run for run, _ in sent)
        numbers = {seq for run, seq in sent if run == newest}
        assert once.seq == max(numbers)
        assert {
            n for low, high in logic.parse_intervals(once.applied) for n in range(low, high + 1)
        } == numbers
