"""Every order of disconnect, duplicate, power loss, late answer and dead URL: what always holds."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ota_bench import LENGTH, Bench

from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota import WRITE_TRIES, UpdateAgent
from fleet_sim.vehicle.ota_fetch import FETCH_TRIES
from fleet_sim.vehicle.ota_talk import ANSWER_S
from fleet_sim.world.firmware import Firmware

CUTS = st.one_of(st.none(), st.none(), st.integers(0, 4))
"""Power is lost after so many of the commands that an event brings; None: it is not."""
STATES = st.sampled_from(list(t.UpdateState))
RELEASES = 8
"""Images that are published; every second one may be bad."""
TAKES_EFFECT = 6
"""Steps until news has come, was asked about, and was answered."""
MOST_STEPS = 40
"""Of the way to a state; a whole update takes some thirty."""
DEFECTS = st.sampled_from(["none", "none", "boot", "self-test"])


def has_answer(bench: Bench) -> bool:
    return bool(bench.down) and not bench.down[0].topic.endswith("notify-next")


class Interleavings(RuleBasedStateMachine):
    @initialize(defect=DEFECTS, slow=st.booleans(), kept=st.booleans())
    def begin(self, defect: str, slow: bool, kept: bool) -> None:
        """`slow`: a shutdown takes time; `kept`: the broker keeps answers for the session."""
        self.bench = Bench(
            *(
                Firmware(f"1.{release - 1}.0", release, "none" if release % 2 else defect)  # type: ignore[arg-type]
                for release in range(1, RELEASES + 1)
            )
        )
        self.bench.slow, self.bench.kept = slow, kept
        self.highest = 1
        self.cancelled: set[str] = set()
        self.bench.create("j0", 2)

    @rule(release=st.sampled_from([1, 2, 2, 3]), sound=st.sampled_from([True, True, True, False]))
    @precondition(lambda self: len(self.bench.wanted) < 4)
    def another_job(self, release: int, sound: bool) -> None:
        name = f"j{len(self.bench.wanted)}"
        if not sound:
            self.bench.malformed.add(name)
        self.bench.create(name, release)

    @rule(state=STATES)
    def a_renewed_document_is_none(self, state: t.UpdateState) -> None:
        self.come_to(state)
        bench = self.bench
        bench.end_fetch("expired")
        if bench.agent is None or bench.agent.state is not t.UpdateState.RENEWING:
            return
        name = bench.agent.talk.job_id
        bench.malformed.add(name)
        for _ in range(MOST_STEPS):
            if bench.agent is None or bench.agent.state is not t.UpdateState.RENEWING:
                break
            bench.go_on()
        bench.malformed.discard(name)

    @rule(more=st.booleans(), cut=CUTS)
    def the_image_has_the_wrong_length(self, more: bool, cut: int | None) -> None:
        self.come_to(t.UpdateState.DOWNLOADING)
        self.bench.fetch_wrong(cut, more=more)

    @rule(steps=st.integers(1, 25), cut=CUTS)
    def go_on(self, steps: int, cut: int | None) -> None:
        """As if nothing went wrong, up to a moment that random steps alone seldom reach."""
        for _ in range(steps - 1):
            self.bench.go_on()
        self.bench.go_on(cut)

    @rule(state=STATES, on=st.sampled_from([None, 0, 1, 2, 3]))
    def power_goes_and_comes(self, state: t.UpdateState, on: int | None) -> None:
        self.come_to(state)
        if self.bench.agent is not None:
            self.bench.power_off()
        self.bench.power_on(on)

    @rule(state=STATES, cut=st.integers(0, 3))
    def power_goes_as_work_ends(self, state: t.UpdateState, cut: int) -> None:
        self.come_to(state)
        self.bench.work_ends(cut)

    @rule(state=STATES)
    def the_job_is_taken_back_under_way(self, state: t.UpdateState) -> None:
        self.come_to(state)
        for name, status in self.bench.statuses.items():
            if status == "IN_PROGRESS":
                taken = self.bench.service.cancel(name, self.bench.now_s, force=True)
                self.bench.down.extend(taken)
        for _ in range(TAKES_EFFECT):
            self.bench.go_on()

    @rule(state=STATES, kind=st.sampled_from(["broken", "expired"]))
    def nothing_comes_for_long(self, state: t.UpdateState, kind: str) -> None:
        self.come_to(state)
        for _ in range(FETCH_TRIES + 1):
            self.bench.end_fetch(kind)
            self.bench.tick(300.0)

    @rule(state=STATES)
    def the_image_is_tampered_with_or_cannot_be_written(self, state: t.UpdateState) -> None:
        self.come_to(state)
        self.bench.tampered = True
        for _ in range(WRITE_TRIES):
            self.bench.work_ends(well=False)
            self.bench.tick(1.0)
        self.bench.tampered = False

    @rule()
    @precondition(lambda self: has_answer(self.bench))
    def lose_an_answer(self) -> None:
        """A notice is not lost while the connection lasts (QoS 1): nobody would ask for it."""
        self.bench.down.popleft()

    @rule(cut=CUTS)
    @precondition(lambda self: self.bench.agent is not None and not self.bench.connected)
    def connect(self, cut: int | None) -> None:
        self.bench.connect(cut)

    @rule()
    @precondition(lambda self: self.bench.connected)
    def disconnect(self) -> None:
        self.bench.disconnect()

    @rule(cut=CUTS)
    def power(self, cut: int | None) -> None:
        if self.bench.agent is None:
            self.bench.power_on(cut)
        elif cut is not None:
            self.bench.power_off()

    @rule(count=st.integers(1, 3))
    @precondition(lambda self: self.bench.up)
    def deliver_up(self, count: int) -> None:
        for _ in range(count):
            self.bench.deliver_up()

    @rule(cut=CUTS, again=st.booleans())
    @precondition(lambda self: self.bench.down and self.bench.connected)
    def deliver_down(self, cut: int | None, again: bool) -> None:
        self.bench.deliver_down(cut, again=again)

    @rule()
    @precondition(lambda self: self.bench.up)
    def lose_a_message(self) -> None:
        self.bench.up.popleft()

    @rule(steps=st.integers(3, 25))
    def an_answer_to_a_status_is_lost(self, steps: int) -> None:
        """The service has counted a status, and the vehicle does not know that it did: it tells the
        same again. Chance alone seldom comes to the moment at which one is on its way."""
        bench = self.bench
        for _ in range(steps):
            if bench.up and bench.up[0][0].endswith("/update"):
                bench.deliver_up()
                kept = [a for a in bench.down if a.topic.endswith("notify-next")]
                bench.down.clear()
                bench.down.extend(kept)
                bench.tick(ANSWER_S + 1.0)
                return
            bench.go_on()

    @rule()
    @precondition(lambda self: self.bench.up)
    def send_a_request_twice(self) -> None:
        self.bench.up.append(self.bench.up[0])

    @rule(kind=st.sampled_from(["broken", "expired"]), cut=CUTS)
    @precondition(lambda self: self.bench.fetch is not None)
    def fetch_fails(self, kind: str, cut: int | None) -> None:
        self.bench.end_fetch(kind, cut)

    @rule(count=st.integers(10, LENGTH), cut=CUTS)
    @precondition(lambda self: self.bench.fetch is not None)
    def fetch(self, count: int, cut: int | None) -> None:
        self.bench.fetch_some(count, cut)

    @rule(cut=CUTS, well=st.sampled_from([True, True, True, False]))
    @precondition(lambda self: self.bench.busy is not None)
    def work_ends(self, cut: int | None, well: bool) -> None:
        self.bench.work_ends(cut, well=well)

    @rule(seconds=st.sampled_from([1.0, 7.0, 30.0, 300.0]), cut=CUTS)
    def time_passes(self, seconds: float, cut: int | None) -> None:
        self.bench.tick(seconds, cut)

    @rule(parked=st.booleans(), soc=st.sampled_from([0.2, 0.4, 0.9]))
    def conditions_change(self, parked: bool, soc: float) -> None:
        self.bench.conditions = t.Conditions(parked, soc, 600)

    @rule(job=st.integers(0, 3), force=st.booleans())
    def cancel(self, job: int, force: bool) -> None:
        name = f"j{job % len(self.bench.wanted)}"
        self.bench.down.extend(self.bench.service.cancel(name, self.bench.now_s, force=force))

    @rule()
    def everything_ends(self) -> None:
        """Given peace, each job gets to its end, and the service's word is the truth."""
        self.settle()

    @invariant()
    def a_whole_image_that_starts_is_what_boots(self) -> None:
        assert self.bench.slots.committed.defect == "none"

    @invariant()
    def the_service_finds_no_fault_with_what_is_asked(self) -> None:
        """A status that is refused by its version is told again with the right one, and not without
        any: that would overwrite what came meanwhile."""
        assert self.bench.faults == 0

    @invariant()
    def nothing_is_downgraded(self) -> None:
        assert self.bench.slots.committed.release >= self.highest
        self.highest = self.bench.slots.committed.release

    @invariant()
    def one_install_of_a_version_and_one_trial_of_a_job(self) -> None:
        assert all(count == 1 for count in self.bench.slots.commits.values())
        assert all(count == 1 for count in self.bench.trials.values()), self.bench.trials

    def come_to(self, state: t.UpdateState) -> None:
        """As if nothing went wrong, to a state that random steps alone seldom reach; or not, when
        it is not on the way. Where nothing is left to do there is a newer image."""
        bench = self.bench
        newest = max(bench.slots.committed.release, *bench.wanted.values())
        if bench.ended and newest < RELEASES:
            bench.create(f"j{len(bench.wanted)}", newest + 1)
        for _ in range(MOST_STEPS):
            if self.bench.agent is not None and self.bench.agent.state is state:
                return
            self.bench.go_on()

    def settle(self) -> None:
        bench = self.bench
        bench.conditions = t.Conditions(True, 0.9, 600)
        bench.run()
        assert bench.faults == 0
        ran = {1, *bench.slots.commits}
        for job, status in bench.statuses.items():
            if status == "SUCCEEDED":
                assert bench.wanted[job] in ran, f"false success: {bench.statuses}"
        told = {
            bench.wanted[j] for j, s in bench.statuses.items() if s in ("SUCCEEDED", "CANCELED")
        }
        assert set(bench.slots.commits) <= told, f"false failure: {bench.statuses}"
        assert isinstance(bench.agent, UpdateAgent)
        assert bench.agent.done

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.settle()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
