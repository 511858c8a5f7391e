"""The campaign's rules: gates, waves, retries, windows."""

import itertools

import msgspec
import pytest
from campaign_bench import IMAGE, campaign, finish, fleet, request, starts

from fleet_sim.contract.campaign_records import Target, job_id
from fleet_sim.contract.campaigns import Plan, Retry, Window, plan_of
from fleet_sim.contract.jobs import TERMINAL
from update_manager import logic, planning, records, views
from update_manager.logic import CancelJob, Event, NotAllowedError, StartJob
from update_manager.memory import MemoryCampaign
from update_manager.planning import Vehicle
from update_manager.records import Observation


class TestWaves:
    def test_each_wave_waits_for_the_one_before_and_its_soak(self) -> None:
        service = campaign(waves={"shares": [0.01, 0.05, 1.0], "soak_s": 100})
        now_s, sizes = 0.0, []
        while not service.ended:
            things = starts(service.due(now_s))
            sizes.append(len(things))
            assert not starts(service.due(now_s + 50))
            finish(service, things, "SUCCEEDED", now_s + 60)
            assert service.due(now_s + 60) == []
            assert service.due(now_s + 159) == []
            now_s += 160
            if service.campaign.wave == 2 and service.campaign.state == "soaking":
                assert service.due(now_s) == []
        assert sizes == [1, 4, 95]
        assert service.campaign.state == "completed"

    def test_a_rate_bounds_the_starts(self) -> None:
        service = campaign(waves={"shares": [1.0], "per_minute": 10, "soak_s": 0})
        begun = [len(starts(service.due(t))) for t in (0.0, 30.0, 60.0, 120.0, 300.0)]
        assert begun == [10, 0, 10, 10, 10]  # a service that was away for long owes nothing

    def test_who_is_in_which_wave_depends_on_the_campaigns_name(self) -> None:
        def canaries(name: str) -> set[str]:
            laid_out, _, _ = planning.lay_out(name, request(), plan_of(request()), fleet(1000))
            return {t.thing for t in laid_out if t.wave == 0}

        assert len(canaries("a")) == 10
        assert canaries("a") == canaries("a") != canaries("b")

    def test_a_small_fleet_leaves_waves_out(self) -> None:
        _, sizes, _ = planning.lay_out("c", request(), plan_of(request()), fleet(3))
        assert sizes == (1, 2)

    def test_a_part_is_one_model_of_one_region_and_fits_into_a_job(self) -> None:
        vehicles = [Vehicle(f"V{i}", "ab"[i % 2], "xyz"[i % 3], "1.0.0") for i in range(900)]
        laid_out, _, _ = planning.lay_out("c", request(), plan_of(request()), vehicles)
        parts: dict[tuple[int, int], list[Target]] = {}
        for target in laid_out:
            parts.setdefault((target.wave, target.part), []).append(target)
        assert max(len(part) for part in parts.values()) == 100
        assert all(len({(t.model, t.region) for t in part}) == 1 for part in parts.values())


class TestEligibility:
    @pytest.mark.parametrize(
        ("need", "vehicle", "why"),
        [
            ({}, Vehicle("v"), ""),
            ({}, Vehicle("v", version="1.1.0"), "up to date"),
            ({"models": ["a"]}, Vehicle("v", "b"), "model"),
            ({"regions": ["a"]}, Vehicle("v", region="b"), "region"),
            ({"min_version": "0.9.0"}, Vehicle("v", version="0.10.0"), ""),
            ({"min_version": "0.9.0"}, Vehicle("v", version="0.8.9"), "version"),
            ({"max_version": "0.9.0"}, Vehicle("v", version="0.10.0"), "version"),
            ({"max_version": "0.9.0"}, Vehicle("v"), "version unknown"),
            ({"min_soc": 0.5}, Vehicle("v", soc=0.5), ""),
            ({"min_soc": 0.5}, Vehicle("v", soc=0.4), "battery"),
            ({"min_soc": 0.5}, Vehicle("v"), "battery"),
            ({"flagged": True}, Vehicle("v"), "not flagged"),
            ({"flagged": True}, Vehicle("v", flagged=True), ""),
        ],
    )
    def test_the_first_condition_that_does_not_hold(
        self, need: dict[str, object], vehicle: Vehicle, why: str
    ) -> None:
        assert planning.why_not(request(eligibility=need), vehicle) == why

    def test_a_model_without_an_image_takes_no_part(self) -> None:
        only = request(firmware={"version": "1.1.0", "images": {"a": IMAGE}})
        assert planning.why_not(only, Vehicle("v", "b")) == "no image"

    def test_a_campaign_for_nobody_is_completed(self) -> None:
        service = MemoryCampaign("c", request(), [Vehicle("v", version="1.1.0")], 0.0)
        assert (service.campaign.state, service.campaign.ineligible) == (
            "completed",
            {"up to date": 1},
        )


class TestGate:
    @pytest.mark.parametrize(
        ("good", "bad", "verdict"),
        [
            (19, 1, "running"),  # 5 % is not above 5 %
            (18, 2, "aborting"),
            (0, 4, "running"),  # too few have completed
            (0, 5, "aborting"),
            (94, 5, "aborting"),  # 5 of 99
            (95, 5, "soaking"),
            (4, 1, "aborting"),  # silent ones do not hide it
        ],
    )
    def test_failures_over_completed(self, good: int, bad: int, verdict: str) -> None:
        service = campaign(waves={"shares": [1.0], "soak_s": 100}, gate={"min_executed": 5})
        things = starts(service.due(0.0))
        finish(service, things[:good], "SUCCEEDED", 1.0)
        finish(service, things[good : good + bad], "FAILED", 1.0, "boot")
        service.due(2.0)
        assert service.campaign.state == verdict

    def test_a_canary_smaller_than_the_minimum_is_judged_at_its_end(self) -> None:
        service = campaign(20, gate={"min_executed": 5})
        (canary,) = starts(service.due(0.0))
        finish(service, [canary], "FAILED", 1.0, "boot")
        service.due(2.0)
        assert service.campaign.state == "aborted"
        assert service.campaign.reason == "wave 1: 1 of 1 completed have failed"

    def test_a_wave_in_which_nobody_answers_is_no_evidence(self) -> None:
        service = campaign(10, waves={"shares": [0.5, 1.0]}, timeouts={"unreached_s": 100})
        things = starts(service.due(0.0))
        cancels = service.due(100.0)
        assert [type(c) for c in cancels] == [CancelJob] * 5
        for thing in things:
            service.observe(thing, job_id("c", service.targets[thing], 1), "CANCELED", 101.0)
        assert service.due(102.0) == []
        assert service.campaign.state == "paused"
        assert "only 0 of 5 have answered" in service.campaign.reason
        service.resume(103.0)  # an operator knows why
        while service.campaign.state == "running" and service.campaign.wave == 0:
            service.due(104.0)
        assert service.campaign.state == "soaking"

    def test_a_late_fault_is_caught_by_the_soak(self) -> None:
        service = campaign(waves={"shares": [0.1, 1.0], "soak_s": 100})
        things = starts(service.due(0.0))
        finish(service, things, "SUCCEEDED", 1.0)
        service.due(2.0)
        service.fault(things[0], 50.0, "no camera")
        service.due(51.0)
        assert service.campaign.state == "aborted"
        assert len(starts(service.due(500.0))) == 0

    def test_and_passes_a_gate_without_one_until_the_next_wave_runs(self) -> None:
        service = campaign(waves={"shares": [0.1, 1.0], "soak_s": 0})
        things = starts(service.due(0.0))
        finish(service, things, "SUCCEEDED", 1.0)
        assert len(starts(service.due(2.0))) == 90
        service.fault(things[0], 50.0)
        service.due(51.0)
        assert service.campaign.state == "aborting"

    def test_after_a_gates_pause_what_had_failed_is_waived(self) -> None:
        service = campaign(waves={"shares": [1.0]}, gate={"on_failure": "pause", "max_failed": 0.2})
        things = starts(service.due(0.0))
        finish(service, things[:5], "FAILED", 1.0, "boot")
        service.due(2.0)
        assert service.campaign.state == "paused"
        service.resume(3.0)
        service.due(3.0)
        assert service.campaign.state == "running"
        finish(service, things[5:10], "FAILED", 4.0, "boot")
        service.due(5.0)
        assert service.campaign.state == "paused"

    def test_what_an_operator_has_seen_does_not_count_again_and_what_is_new_does(self) -> None:
        service = campaign(waves={"shares": [1.0], "soak_s": 100}, gate={"on_failure": "pause"})
        things = starts(service.due(0.0))
        finish(service, things[:10], "FAILED", 1.0, "boot")
        finish(service, things[10:], "SUCCEEDED", 1.0)
        service.due(2.0)
        assert service.campaign.state == "paused"
        service.resume(3.0)
        service.due(4.0)
        for thing in things[10:14]:  # of the 90 that count, 4 are less than 5 %
            service.fault(thing, 5.0)
            service.due(6.0)
            assert service.campaign.state == "soaking"
        service.fault(things[14], 7.0)
        service.due(8.0)
        assert service.campaign.state == "paused"
        service.resume(9.0)
        service.due(10.0)
        service.due(200.0)
        assert service.campaign.state == "completed"

    def test_who_waives_failures_has_not_waived_silence(self) -> None:
        service = campaign(
            20, waves={"shares": [1.0]}, timeouts={"unreached_s": 100},
            gate={"on_failure": "pause", "min_executed": 2},
        )  # fmt: skip
        things = starts(service.due(0.0))
        finish(service, things[:2], "FAILED", 1.0, "boot")
        for now_s in (2.0, 110.0):  # taken back, then never reached
            service.due(now_s)
            for thing in things[2:]:
                target = service.targets[thing]
                service.observe(thing, job_id("c", target, target.attempt), "CANCELED", now_s)
            if service.campaign.state == "paused":
                service.resume(3.0)
                service.due(3.0)
        service.due(111.0)
        assert service.campaign.reason == "wave 1: only 2 of 20 have answered"


class TestRetry:
    def test_a_transient_failure_is_tried_again_later_and_later(self) -> None:
        service = campaign(4, waves={"shares": [1.0]}, retry={"backoff_s": 100, "budget": 1.0})
        thing = starts(service.due(0.0))[0]
        finish(service, [thing], "FAILED", 10.0, "download")
        assert service.due(109.0) == []
        (again,) = service.due(110.0)
        assert isinstance(again, StartJob)
        assert again.job_id.startswith("c-w0-a2-v")
        finish(service, [thing], "FAILED", 200.0, "download")
        assert service.due(399.0) == []
        assert starts(service.due(400.0)) == [thing]
        finish(service, [thing], "FAILED", 500.0, "download")
        assert service.targets[thing].status == "failed"

    @pytest.mark.parametrize(("status", "reason"), [("FAILED", "boot"), ("REJECTED", "download")])
    def test_what_is_not_transient_counts_at_once(self, status: str, reason: str) -> None:
        service = campaign(10, waves={"shares": [1.0]})
        thing = starts(service.due(0.0))[0]
        finish(service, [thing], status, 1.0, reason)
        assert service.targets[thing].status in ("failed", "rejected")

    def test_the_budget_is_the_campaigns(self) -> None:
        service = campaign(
            20, waves={"shares": [1.0]}, retry={"budget": 0.1, "backoff_s": 10},
            gate={"max_failed": 1.0},
        )  # fmt: skip
        things = starts(service.due(0.0))
        finish(service, things, "FAILED", 1.0, "download")
        service.due(2.0)
        assert (
            sorted(t.status for t in service.targets.values()) == ["failed"] * 18 + ["retrying"] * 2
        )
        finish(service, starts(service.due(11.0)), "FAILED", 12.0, "download")
        service.due(13.0)
        assert {t.status for t in service.targets.values()} == {"failed"}

    def test_those_that_are_due_together_share_jobs(self) -> None:
        service = campaign(
            250, waves={"shares": [1.0]}, retry={"backoff_s": 10, "budget": 1.0},
            gate={"max_failed": 1.0},
        )  # fmt: skip
        things = starts(service.due(0.0))
        finish(service, things, "FAILED", 1.0, "download")
        again = [c for c in service.due(11.0) if isinstance(c, StartJob)]
        assert [len(c.targets) for c in again] == [100, 100, 50]
        assert len({c.job_id for c in again}) == 3
        finish(service, things, "SUCCEEDED", 12.0)  # by the group's name
        service.due(13.0)
        assert service.counts()[0].statuses == {"succeeded": 250}

    def test_a_silent_vehicle_is_given_up_and_tried_again(self) -> None:
        service = campaign(4, waves={"shares": [1.0]}, timeouts={"silent_s": 50})
        thing = starts(service.due(0.0))[0]
        name = job_id("c", service.targets[thing], 1)
        service.observe(thing, name, "IN_PROGRESS", 10.0)
        assert service.due(59.0) == []
        (cancel,) = service.due(60.0)
        assert cancel == CancelJob(service.targets[thing], True)
        service.observe(thing, name, "CANCELED", 61.0)
        assert (service.targets[thing].status, service.targets[thing].reason) == (
            "retrying",
            "timeout",
        )

    def test_one_that_waits_for_its_preconditions_has_longer(self) -> None:
        plan = Plan()
        target = Target("v", 0, 0, status="in_progress", heard_s=10.0)
        assert logic.give_up_s(plan, target) == 10.0 + 7_200
        waits = msgspec.structs.replace(target, reason="deferred: charge")
        assert logic.give_up_s(plan, waits) == 10.0 + 86_400


class TestOperators:
    def test_a_pause_takes_back_what_has_not_begun(self) -> None:
        service = campaign(4, waves={"shares": [1.0]})
        one, two, *_ = starts(service.due(0.0))
        service.observe(one, job_id("c", service.targets[one], 1), "IN_PROGRESS", 1.0)
        service.pause(2.0)
        cancels = service.due(2.0)
        assert {c.target.thing for c in cancels if isinstance(c, CancelJob)} == set(
            service.targets
        ) - {one}
        assert not any(c.force for c in cancels if isinstance(c, CancelJob))
        service.observe(two, job_id("c", service.targets[two], 1), "CANCELED", 3.0)
        assert service.targets[two].status == "waiting"
        service.resume(4.0)
        (again,) = [c for c in service.due(4.0) if isinstance(c, StartJob)]
        assert again.job_id.startswith("c-w0-a2-v")
        assert service.targets[two].failures == 0

    def test_a_pause_earns_no_starts_and_what_it_took_back_counts(self) -> None:
        service = campaign(100, waves={"shares": [1.0], "per_minute": 10})
        first = starts(service.due(0.0))
        service.pause(1.0)
        service.due(1.0)
        for thing in first:
            service.observe(thing, job_id("c", service.targets[thing], 1), "CANCELED", 2.0)
        service.resume(3_601.0)
        assert starts(service.due(3_601.0)) == starts(service.due(3_659.0)) == []
        (again,) = [c for c in service.due(3_660.0) if isinstance(c, StartJob)]
        assert sorted(t.thing for t in again.targets) == sorted(first)
        assert again.job_id.startswith("c-w0-a2-g")
        assert starts(service.due(3_661.0)) == []
        assert len(starts(service.due(3_720.0))) == 10

    def test_what_begins_before_it_could_be_taken_back_goes_on(self) -> None:
        service = campaign(2, waves={"shares": [1.0]})
        one = starts(service.due(0.0))[0]
        service.pause(1.0)
        service.due(1.0)
        name = job_id("c", service.targets[one], 1)
        service.observe(one, name, "IN_PROGRESS", 2.0)
        assert (service.targets[one].status, service.targets[one].ending) == ("in_progress", "")
        service.observe(one, name, "CANCELED", 3.0)  # by somebody else
        assert service.targets[one].status == "canceled"

    @pytest.mark.parametrize("choice", ["finish", "cancel"])
    def test_an_abort_leaves_or_takes_what_has_begun(self, choice: str) -> None:
        service = campaign(4, waves={"shares": [1.0]}, gate={"in_progress": choice})
        one = starts(service.due(0.0))[0]
        service.observe(one, job_id("c", service.targets[one], 1), "IN_PROGRESS", 1.0)
        service.abort(2.0)
        cancels = {c.target.thing: c.force for c in service.due(2.0) if isinstance(c, CancelJob)}
        assert (one in cancels) == (choice == "cancel")
        assert all(force == (choice == "cancel") for force in cancels.values())
        for thing in cancels:
            target = service.targets[thing]
            service.observe(thing, job_id("c", target, 1), "CANCELED", 3.0)
        if choice == "finish":
            assert service.campaign.state == "aborting"
            finish(service, [one], "SUCCEEDED", 4.0)
        service.due(5.0)
        assert service.campaign.state == "aborted"

    def test_a_state_that_does_not_take_an_event_says_which_do(self) -> None:
        service = campaign()
        with pytest.raises(NotAllowedError, match=r"is running \(allowed for resumed: paused\)"):
            service.resume(1.0)
        for state, event in itertools.product(("completed", "aborted"), Event):
            assert (state, event) not in logic.TRANSITIONS

    @pytest.mark.parametrize(
        ("now_h", "offset_h", "inside"),
        [(23, 0, True), (4, 0, True), (5, 0, False), (12, 0, False), (20, 2, True), (5, -1, True)],
    )
    def test_a_window_is_in_the_regions_local_time(
        self, now_h: int, offset_h: int, inside: bool
    ) -> None:
        window = Window(begin=22 * 60, end=5 * 60, utc_offsets_min={"r": offset_h * 60})
        assert logic.in_window(Plan(window=window), "r", now_h * 3600.0) is inside

    def test_a_window_knows_compressed_time(self) -> None:
        clock = {"real_s": 1_000.0, "sim_s": 12 * 3_600.0, "speed": 60.0}
        service = MemoryCampaign(
            "c", request(clock=clock, window={"begin": 1_320, "end": 300}), fleet(9), 1_000.0
        )
        assert starts(service.due(1_000.0)) == []
        assert starts(service.due(1_599.0)) == []  # 21:59
        assert len(starts(service.due(1_661.0))) == 1  # 600 s are ten hours


class TestRecords:
    def test_a_status_never_goes_back(self) -> None:
        retry, target = Retry(), records.started(Target("v", 0, 0), 0.0)
        begun = records.observe(target, Observation(1, "IN_PROGRESS", 1.0), retry)
        assert records.observe(begun, Observation(1, "QUEUED", 2.0), retry) is begun
        done = records.observe(begun, Observation(1, "SUCCEEDED", 3.0), retry)
        for status in TERMINAL | {"IN_PROGRESS", "QUEUED"}:
            assert records.observe(done, Observation(1, status, 4.0), retry) is done

    def test_news_of_another_attempt_is_none(self) -> None:
        target = Target("v", 0, 0, status="queued", attempt=2, failures=1)
        assert records.observe(target, Observation(1, "FAILED", 1.0), Retry()) is target
        assert records.observe(target, Observation(3, "FAILED", 1.0), Retry()) is target

    def test_a_fault_that_is_faster_than_the_success_counts_with_it(self) -> None:
        target = records.started(Target("v", 0, 0), 0.0)
        told = records.broken(target, "no camera")
        assert logic.count((1,), [told])[0].bad == 0
        begun = records.observe(told, Observation(1, "IN_PROGRESS", 1.0, "deferred: x"), Retry())
        done = records.observe(begun, Observation(1, "SUCCEEDED", 2.0), Retry())
        (counts,) = logic.count((1,), [done])
        assert (counts.bad, counts.completed, done.reason) == (1, 1, "no camera")
        failed = records.observe(told, Observation(1, "FAILED", 2.0, "boot"), Retry())
        assert logic.count((1,), [failed])[0].bad == 1

    def test_a_job_whose_maker_was_killed_is_recorded_by_its_first_event(self) -> None:
        target = records.observe(Target("v", 0, 0), Observation(1, "SUCCEEDED", 5.0), Retry())
        assert (target.status, target.attempt) == ("succeeded", 1)


def test_operators_see_why_vehicles_failed_and_what_others_wait_for() -> None:
    states = [("failed", "boot"), ("failed", "boot"), ("rejected", "hash"), ("retrying", "url")]
    states += [("in_progress", "deferred: charge"), ("in_progress", ""), ("failed", "")]
    states += [("succeeded", ""), ("waiting", "")]
    targets = [
        Target(f"V{i}", 0, 0, status=status, reason=reason)  # type: ignore[arg-type]
        for i, (status, reason) in enumerate(states)
    ]
    targets.append(Target("V9", 0, 0, status="succeeded", reason="broken", faulty=True))
    asked = request()
    seen = views.view(logic.Campaign("c", asked, plan_of(asked), "me", 0, sizes=(10,)), targets)
    assert seen.reasons == {"boot": 2, "hash": 1, "url": 1, "not said": 1, "broken": 1}
    assert seen.deferred == {"charge": 1}
