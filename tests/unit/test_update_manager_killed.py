"""The driver killed anywhere, with its events twice; and stopped while it makes a job."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from campaign_driver import WAVES, Bench
from campaign_fakes import FakeDynamo, KilledError

from fleet_sim.contract.campaign_records import job_id, parse_job_id
from update_manager import logic
from update_manager.jobs import MAKER_S
from update_manager.logic import Event


class Mortal:
    """A client that kills its caller at the n-th call: before it takes effect, or after."""

    def __init__(self, inner: Any, counter: Iterator[int]) -> None:
        self.inner, self.counter = inner, counter
        self.at: int | None = None
        self.after = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)

        def mortal(**request: Any) -> Any:
            dies = self.at is not None and next(self.counter) == self.at
            if dies and not self.after:
                raise KilledError
            answer = call(**request)
            if dies:
                raise KilledError
            return answer

        return mortal


class TestStoppedWhileItStarts:
    """Between the last look at the campaign and the record of its job a vehicle is nobody's: what
    stops the campaign then has to find the job all the same."""

    def stopped(self, event: Event, before: bool) -> Bench:
        """An operator's step, and another driver's turn, right before or after a job is made."""
        bench = Bench(FakeDynamo(), waves={"shares": [1.0], "soak_s": 0})
        other = bench.new_driver(bench.dynamodb, bench.iot)
        inner = bench.iot.create_job

        def create_job(**request: Any) -> None:
            bench.iot.create_job = inner  # type: ignore[method-assign]
            if not before:
                inner(**request)
            bench.act(lambda c: logic.advance(c, event, bench.now_s))
            other.drive("c", reconcile=True)
            if before:
                inner(**request)

        bench.iot.create_job = create_job  # type: ignore[method-assign]
        bench.drive()
        bench.at(bench.now_s + 30)
        bench.drive(reconcile=True)
        return bench

    @pytest.mark.parametrize("before", [True, False])
    def test_an_abort_leaves_no_job(self, before: bool) -> None:
        bench = self.stopped(Event.ABORTED, before)
        assert {e["status"] for e in bench.iot.executions.values()} == {"CANCELED"}
        assert bench.drive().campaign.state == "aborted"

    @pytest.mark.parametrize("before", [True, False])
    def test_a_pause_leaves_no_job_and_a_resume_starts_all(self, before: bool) -> None:
        bench = self.stopped(Event.PAUSED, before)
        assert {e["status"] for e in bench.iot.executions.values()} == {"CANCELED"}
        bench.act(lambda c: logic.resume(c, bench.store.targets("c", 1), bench.now_s))
        bench.drive()
        (again,) = bench.iot.made[1:]
        assert again.startswith("c-w0-a2-g")
        for thing in bench.queued():
            bench.tell(bench.iot.report(thing, "SUCCEEDED"))
        assert bench.drive().ended

    @pytest.mark.parametrize("made", [True, False])
    @pytest.mark.parametrize("event", [Event.ABORTED, Event.PAUSED])
    def test_a_maker_who_died_is_cleaned_up_after(self, made: bool, event: Event) -> None:
        bench = Bench(FakeDynamo(), waves={"shares": [1.0]})
        inner = bench.iot.create_job

        def create_job(**request: Any) -> None:
            if made:
                inner(**request)
            raise KilledError

        bench.iot.create_job = create_job  # type: ignore[method-assign]
        with pytest.raises(KilledError):
            bench.drive()
        bench.iot.create_job = inner  # type: ignore[method-assign]
        bench.act(lambda c: logic.advance(c, event, bench.now_s))
        turn = bench.drive()
        assert not bench.queued()
        if not made:  # it may live, and make it yet
            assert turn.counts[0].statuses == {"queued": 12}
            bench.at(bench.now_s + MAKER_S)
            turn = bench.drive()
        status = "canceled" if event is Event.ABORTED else "waiting"
        assert turn.counts[0].statuses == {status: 12}
        assert turn.campaign.state == {"canceled": "aborted", "waiting": "paused"}[status]

    def test_a_maker_who_died_before_a_window_closed_is_cleaned_up_after_too(self) -> None:
        bench = Bench(FakeDynamo(), waves={"shares": [1.0]}, window={"begin": 0, "end": 30})
        inner = bench.iot.create_job

        def create_job(**request: Any) -> None:
            raise KilledError

        bench.iot.create_job = create_job  # type: ignore[method-assign]
        with pytest.raises(KilledError):
            bench.drive()  # at 16:40
        bench.iot.create_job = inner  # type: ignore[method-assign]
        for hour in (1, 2, 23):
            bench.at(hour * 3_600.0)
            bench.drive()
            assert bench.iot.made == []
        bench.at(86_400.0)
        bench.drive()
        assert len(bench.queued()) == 12


class TestKilled:
    """A manager that dies at any of its calls, and whose events come twice."""

    def run(self, at: int, after: bool) -> tuple[Bench, bool]:
        """A campaign with a retry and a wave boundary, to its end; whether it was killed."""
        dynamodb = FakeDynamo()
        bench = Bench(
            dynamodb, waves=WAVES, retry={"backoff_s": 10, "budget": 1.0},
            vehicles=[{"thing": f"V{i:03}"} for i in range(4)],
        )  # fmt: skip
        counter = itertools.count()
        clients = [Mortal(dynamodb, counter), Mortal(bench.iot, counter)]
        for client in clients:
            client.at, client.after = at, after
        mortal = bench.new_driver(*clients)
        killed = False
        events: list[tuple[str, str, str, Any]] = []
        for turn in range(30):
            bench.at(bench.now_s + 20)
            bench.driver = bench.driver if killed else mortal
            try:
                bench.tell(*events)
                if bench.drive(reconcile=turn % 2 == 1).ended:
                    break
            except KilledError:
                killed = True
                bench.driver = bench.new_driver(dynamodb, bench.iot)
            for thing in bench.queued():
                first = turn < 3 and thing == "V001"
                detail = {"reason": "download"} if first else {}
                events.append(bench.iot.report(thing, "FAILED" if first else "SUCCEEDED", **detail))
        return bench, killed

    @pytest.mark.parametrize("after", [False, True])
    def test_at_any_call(self, after: bool) -> None:
        for at in itertools.count():
            bench, killed = self.run(at, after)
            self.holds(bench)
            if not killed:
                assert at > 40, "a campaign that makes so few calls has not run"
                return

    def holds(self, bench: Bench) -> None:
        held = bench.store.read("c")
        assert held is not None
        assert held.campaign.state == "completed", held
        targets = bench.store.targets("c", 2)
        assert [t.status for t in targets] == ["succeeded"] * 4
        # No job twice, and none beside the one that the record says.
        assert len(bench.iot.made) == len(set(bench.iot.made))
        for target in targets:
            mine = [n for n, thing in bench.iot.executions if thing == target.thing]
            assert mine == [job_id("c", target, n + 1) for n in range(target.attempt)]
            assert target.attempt == target.failures + 1
        # No gate skipped: the second wave's first job comes after the first wave's last end.
        waves = [parse_job_id(name)[1] for name in bench.iot.made]  # type: ignore[index]
        assert waves == sorted(waves)
        actions = [e.action for e in bench.store.audit("c")]
        assert actions == ["create", "started", *["wave ended", "gate passed"] * 2, "completed"]
        assert list(dict.fromkeys(bench.told)) == [
            "started",
            "wave ended",
            "gate passed",
            "completed",
        ]
