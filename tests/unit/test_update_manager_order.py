"""What no order of events may break in a campaign."""

import itertools

from campaign_bench import fleet, request
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleet_sim.contract.campaign_records import FINAL, job_id
from fleet_sim.contract.jobs import TERMINAL
from update_manager import logic
from update_manager.logic import CancelJob, NotAllowedError, StartJob
from update_manager.memory import MemoryCampaign

RULES = st.fixed_dictionaries(
    {
        "waves": st.sampled_from(
            [{"shares": [1.0], "soak_s": 0}, {"shares": [0.1, 0.5, 1.0], "soak_s": 30},
             {"shares": [0.5, 1.0], "soak_s": 5, "per_minute": 4}]
        ),
        "gate": st.fixed_dictionaries(
            {"max_failed": st.sampled_from([0.0, 0.2, 1.0]), "min_executed": st.integers(1, 6),
             "on_failure": st.sampled_from(["abort", "pause"]),
             "in_progress": st.sampled_from(["finish", "cancel"])}
        ),
        "retry": st.fixed_dictionaries(
            {"attempts": st.integers(1, 4), "backoff_s": st.sampled_from([0, 20]),
             "budget": st.sampled_from([0.0, 0.2, 1.0])}
        ),
        "timeouts": st.just({"silent_s": 60, "unreached_s": 120}),
    }
)  # fmt: skip


class AnyOrder(RuleBasedStateMachine):
    """Events late, twice, out of order and lost; commands that get lost with their sender."""

    @initialize(rules=RULES, n=st.integers(1, 12))
    def begin(self, rules: dict[str, object], n: int) -> None:
        self.now_s = 0.0
        self.service = MemoryCampaign("c", request(**rules), fleet(n), 0.0)
        self.jobs: dict[tuple[str, str], str] = {}
        """The Jobs service's own truth: (thing, job id) → status."""
        self.sent: list[tuple[str, str, str, str]] = []
        """Every event there ever was: any of them may come (again)."""
        self.ended: dict[str, int] = {}

    def _set(self, thing: str, name: str, status: str, reason: str = "") -> None:
        self.jobs[thing, name] = status
        self.sent.append((thing, name, status, reason))

    @rule(delay_s=st.sampled_from([0.0, 1.0, 15.0, 70.0]))
    def manager_runs(self, delay_s: float) -> None:
        self.now_s += delay_s
        before = self.service.campaign.state
        for command in self.service.due(self.now_s):
            if isinstance(command, StartJob):
                assert self.service.campaign.state == "running", "a start while it is stopped"
                assert before == "running" or self.service.campaign.state == "running"
                for target in command.targets:
                    key = (target.thing, command.job_id)
                    assert key not in self.jobs, "a job was made twice"
                    others = [n for (t, n), s in self.jobs.items()
                              if t == target.thing and s not in TERMINAL]  # fmt: skip
                    assert not others, "two jobs at once"
                    self._set(*key, "QUEUED")
            else:
                self._cancel(command)

    def _cancel(self, command: CancelJob) -> None:
        thing = command.target.thing
        key = (thing, job_id("c", command.target, command.target.attempt))
        status = self.jobs[key]
        if status == "QUEUED" or (status == "IN_PROGRESS" and command.force):
            self._set(*key, "CANCELED")

    @rule(data=st.data())
    def vehicle_goes_on(self, data: st.DataObject) -> None:
        going = sorted(key for key, status in self.jobs.items() if status not in TERMINAL)
        if not going:
            return
        key = data.draw(st.sampled_from(going))
        if self.jobs[key] == "QUEUED":
            self._set(*key, "IN_PROGRESS")
        else:
            end = data.draw(st.sampled_from(["SUCCEEDED", "SUCCEEDED", "FAILED", "REJECTED"]))
            reason = data.draw(st.sampled_from(["download", "boot"])) if end == "FAILED" else ""
            self._set(*key, end, reason)

    @rule(data=st.data(), times=st.integers(1, 2))
    def event_comes(self, data: st.DataObject, times: int) -> None:
        if self.sent:
            thing, name, status, reason = data.draw(st.sampled_from(self.sent))
            for _ in range(times):
                self.service.observe(thing, name, status, self.now_s, reason)

    @rule(data=st.data())
    def vehicle_breaks(self, data: st.DataObject) -> None:
        done = sorted(t for (t, _), status in self.jobs.items() if status == "SUCCEEDED")
        if done:
            self.service.fault(data.draw(st.sampled_from(done)), self.now_s)

    @rule(what=st.sampled_from(["pause", "resume", "resume", "abort"]))
    def operator(self, what: str) -> None:
        try:
            getattr(self.service, what)(self.now_s)
        except NotAllowedError:
            return

    @invariant()
    def records_hold(self) -> None:
        plan, sizes = self.service.campaign.plan, self.service.campaign.sizes
        targets = list(self.service.targets.values())
        assert logic.retries(targets) <= logic.retry_budget(self.service.campaign)
        assert all(t.failures <= plan.retry.attempts for t in targets)
        for target in targets:
            if target.status in FINAL:
                # A final record is final, and it is the service's truth.
                assert self.ended.setdefault(target.thing, target.attempt) == target.attempt
            if target.status == "succeeded":
                assert self.jobs[target.thing, job_id("c", target, target.attempt)] == "SUCCEEDED"
        counts = logic.count(sizes, targets)
        for earlier, later in itertools.pairwise(counts):
            if later.statuses.get("waiting", 0) < later.size:
                assert earlier.ended, "a wave began before the one before had ended"

    def teardown(self) -> None:
        """When everybody answers in the end, a campaign comes to its own."""
        for _ in range(400):
            if self.service.ended:
                return
            if self.service.campaign.state == "paused":
                self.service.resume(self.now_s)
            self.manager_runs(30.0)
            for key, status in list(self.jobs.items()):
                if status not in TERMINAL:
                    self._set(*key, "SUCCEEDED")
            for (thing, name), status in self.jobs.items():
                self.service.observe(thing, name, status, self.now_s)
        raise AssertionError(f"it hangs: {self.service.campaign}")


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
