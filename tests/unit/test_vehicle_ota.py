"""A vehicle's update against a model of the Jobs service: two machines joined by bytes."""

import msgspec
import pytest
from ota_bench import LENGTH, THING, Bench

from fleet_sim.contract.jobs import Preconditions
from fleet_sim.engine.ota.jobs import Answer
from fleet_sim.vehicle import InvalidTransitionError
from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota import WRITE_TRIES
from fleet_sim.vehicle.ota_fetch import FETCH_TRIES
from fleet_sim.vehicle.ota_table import UPDATE_TRANSITIONS, UpdateEvent, UpdateState
from fleet_sim.vehicle.ota_talk import Report, Talk
from fleet_sim.world.firmware import Firmware

GOOD = Firmware("1.1.0", 2)
S = UpdateState


def bench(image: Firmware = GOOD, preconditions: Preconditions | None = None) -> Bench:
    made = Bench(Firmware("1.0.0", 1), image, preconditions=preconditions)
    made.create("j1", image.release)
    return made


def until(made: Bench, state: UpdateState, rounds: int = 50) -> None:
    """Go on as usual until the vehicle is in a state."""
    for _ in range(rounds):
        assert made.agent is not None
        if made.agent.state is state:
            return
        made.connect()
        if made.up or made.down:
            made.deliver_up()
            made.deliver_down()
        elif made.fetch is not None:
            made.fetch_some(LENGTH // 4)
        elif made.busy is not None:
            made.work_ends()
        else:
            made.tick(1.0)
    raise AssertionError(f"never {state}")


def reason(made: Bench, job: str = "j1") -> str:
    return made.service.details(THING, job)["reason"]


def test_a_good_image_is_installed_once_and_told() -> None:
    made = bench()
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}
    assert made.slots.committed == GOOD
    assert made.slots.writes == made.slots.commits == {2: 1}
    assert made.service.details(THING, "j1") == {"reason": "installed", "version": "1.1.0"}
    assert made.record == t.Persisted(staged="sha-2", release=2, floor=2, trust=made.record.trust)
    order = [S.IDLE, S.CHECKING, S.DOWNLOADING, S.VERIFYING, S.WAITING, S.INSTALLING, S.ARMED]
    assert made.states[: len(order) + 1] == [*order, S.REBOOTING]


def armed_while_driving() -> Bench:
    made = bench()
    until(made, S.INSTALLING)
    made.conditions = t.Conditions(False, 0.1, 600)
    made.work_ends()
    for _ in range(10):
        made.tick(300.0)
        made.deliver_up()
        made.deliver_down()
    assert made.agent is not None
    assert made.agent.state is S.ARMED
    return made


def test_a_vehicle_that_drives_off_meanwhile_reboots_when_it_stands() -> None:
    """A slot takes half an hour to write; whoever sits in it then must not lose the vehicle."""
    made = armed_while_driving()
    assert made.service.details(THING, "j1")["deferred"] == "driving"
    assert made.slots.boots == 1
    made.conditions = t.Conditions(True, 0.1, 600)
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}


def test_what_was_written_before_a_power_loss_is_not_written_again() -> None:
    made = armed_while_driving()
    made.power_off()
    made.conditions = t.Conditions(True, 0.9, 600)
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}
    assert made.slots.writes == {2: 1}


def test_a_job_that_is_taken_back_before_the_reboot_changes_nothing() -> None:
    made = armed_while_driving()
    made.down.extend(made.service.cancel("j1", made.now_s, force=True))
    made.conditions = t.Conditions(True, 0.9, 600)
    made.run()
    assert (made.statuses, made.slots.boots) == ({"j1": "CANCELED"}, 1)
    made.images[3] = Firmware("1.2.0", 3)
    made.create("j2", 3)
    made.run()
    assert made.slots.committed == Firmware("1.2.0", 3)
    assert made.slots.writes == {2: 1, 3: 1}


def test_an_answer_of_before_a_reboot_is_none_to_a_request_after_it() -> None:
    """The broker keeps it for the session. It once settled what had the same number after the
    boot: an outcome that the service never got."""

    def third(talk: Talk, status: str) -> bytes:
        talk.went_online()
        talk.tell(Report(status, {}, None))  # type: ignore[arg-type]
        payload = b""
        for _ in range(3):
            talk._wants_next = False
            request = talk.next_request(1e9 * talk._turn)
            assert request is not None
            payload = request.payload
        return payload

    before, after = (Talk(THING, "j1", 1, 1) for _ in range(2))
    before.booted(100.0)
    after.booted(160.0)
    token = msgspec.json.decode(third(before, "IN_PROGRESS"))["clientToken"]
    third(after, "FAILED")
    late = msgspec.json.encode({"clientToken": token})
    assert after.heard(f"$aws/things/{THING}/jobs/j1/update/accepted", late, 1e10) is None
    assert not after.quiet
    assert len(token) <= 64


@pytest.mark.parametrize(("defect", "why"), [("boot", "boot"), ("self-test", "self-test")])
def test_a_bad_image_is_left_for_the_old_one_and_reported_as_failed(defect: str, why: str) -> None:
    made = bench(Firmware("1.1.0", 2, defect))  # type: ignore[arg-type]
    made.run()
    assert made.statuses == {"j1": "FAILED"}
    assert reason(made) == why
    assert made.slots.committed == made.slots.running == Firmware("1.0.0", 1)
    assert not made.slots.commits


def test_preconditions_defer_the_installation_and_nothing_fails() -> None:
    made = bench()
    made.conditions = t.Conditions(True, 0.3, 600)
    until(made, S.WAITING)
    for _ in range(30):
        made.tick(60.0)
        made.deliver_up()
        made.deliver_down()
    assert made.writes_begun == 0
    assert made.statuses == {"j1": "IN_PROGRESS"}
    assert made.service.details(THING, "j1")["deferred"] == "charge"
    made.conditions = t.Conditions(True, 0.4, 600)
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}


@pytest.mark.parametrize(
    ("window", "minute", "why"),
    [
        ((1320, 300), 1319, "window"),
        ((1320, 300), 1320, ""),
        ((1320, 300), 299, ""),
        ((1320, 300), 300, "window"),
        ((60, 120), 119, ""),
        ((60, 120), 120, "window"),
    ],
)
def test_a_window_may_pass_midnight(window: tuple[int, int], minute: int, why: str) -> None:
    assert t.unmet(Preconditions(window=window), t.Conditions(True, 1.0, minute)) == why


def test_who_drives_waits_and_a_document_may_ask_for_less() -> None:
    assert t.unmet(Preconditions(), t.Conditions(False, 1.0, 0)) == "driving"
    assert t.unmet(Preconditions(parked=False), t.Conditions(False, 1.0, 0)) == ""


def test_an_url_that_ended_is_renewed_and_the_download_goes_on_where_it_was() -> None:
    made = bench()
    until(made, S.DOWNLOADING)
    made.fetch_some(30)
    made.tick(61.0)
    made.fetch_some(30)
    assert made.agent is not None
    assert made.agent.state is S.RENEWING
    until(made, S.DOWNLOADING)
    assert isinstance(made.fetch, t.FetchImage)
    assert made.fetch.offset == 30
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}


def test_a_download_goes_on_after_a_power_loss_and_starts_anew_for_another_image() -> None:
    made = bench()
    until(made, S.DOWNLOADING)
    made.fetch_some(40)
    made.power_off()
    made.power_on()
    until(made, S.DOWNLOADING)
    assert isinstance(made.fetch, t.FetchImage)
    assert made.fetch.offset == 40
    made.images[3] = Firmware("1.2.0", 3)
    made.down.extend(made.service.cancel("j1", made.now_s, force=True))
    made.create("j2", 3)
    made.power_off()
    made.power_on()
    until(made, S.DOWNLOADING)
    assert isinstance(made.fetch, t.FetchImage)
    assert made.fetch.offset == 0
    made.run()
    assert made.statuses == {"j1": "CANCELED", "j2": "SUCCEEDED"}


def test_a_download_that_never_gets_anywhere_fails_and_may_be_tried_again() -> None:
    made = bench()
    until(made, S.DOWNLOADING)
    for _ in range(FETCH_TRIES * 2):
        made.end_fetch("broken")
        made.tick(121.0)
    made.run()
    assert made.statuses == {"j1": "FAILED"}
    assert reason(made) == "download"


def test_urls_that_are_dead_on_arrival_end_the_job() -> None:
    made = bench()
    for _ in range(FETCH_TRIES * 20):
        made.connect()
        made.deliver_up()
        made.deliver_down()
        made.end_fetch("expired")
    made.run()
    assert made.statuses == {"j1": "FAILED"}
    assert reason(made) == "url"


def test_a_slot_that_cannot_be_written_fails_after_some_tries() -> None:
    made = bench()
    for _ in range(WRITE_TRIES):
        until(made, S.INSTALLING)
        made.work_ends(well=False)
    made.run()
    assert made.statuses == {"j1": "FAILED"}
    assert reason(made) == "write"
    assert made.slots.boot().firmware == Firmware("1.0.0", 1)


def test_a_write_that_failed_is_not_begun_again_while_the_vehicle_drives() -> None:
    made = bench()
    until(made, S.INSTALLING)
    made.conditions = t.Conditions(False, 0.8, 600)
    made.work_ends(well=False)
    for _ in range(20):
        made.go_on()
    assert made.writes_begun == 1
    made.conditions = t.Conditions(True, 0.8, 600)
    made.run()
    assert made.writes_begun == 2
    assert made.statuses == {"j1": "SUCCEEDED"}


def test_a_flipped_byte_is_rejected_and_nothing_of_it_stays() -> None:
    made = bench()
    made.tampered = True
    made.run()
    assert made.statuses == {"j1": "REJECTED"}
    assert reason(made) == "hash"
    assert made.staged == made.writes_begun == 0


def test_an_image_that_does_not_end_is_cut_off() -> None:
    made = bench()
    until(made, S.DOWNLOADING)
    agent, fetch = made.agent, made.fetch
    assert agent is not None
    assert fetch is not None
    made.do(agent.received(fetch.token, LENGTH + 1, made.now_s))
    assert made.fetch is None
    made.run()
    assert made.statuses == {"j1": "REJECTED"}
    assert reason(made) == "endless data"


def test_an_image_that_ends_early_is_of_the_wrong_length() -> None:
    made = bench()
    until(made, S.DOWNLOADING)
    made.fetch_some(30)
    made.end_fetch("complete")
    made.run()
    assert made.statuses == {"j1": "REJECTED"}
    assert reason(made) == "wrong length"


def test_what_the_metadata_refuses_is_rejected_with_its_reason() -> None:
    made = bench()
    made.refuse = "freeze"
    made.run()
    assert made.statuses == {"j1": "REJECTED"}
    assert reason(made) == "freeze"


def test_an_older_image_is_a_replay_and_the_same_one_is_there_already() -> None:
    made = bench()
    made.run()
    made.create("j2", 1)
    made.create("j3", 2)
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED", "j2": "REJECTED", "j3": "SUCCEEDED"}
    assert reason(made, "j2") == "replay"
    assert reason(made, "j3") == "already installed"
    assert made.slots.commits == {2: 1}


def test_a_document_that_is_none_of_ours_is_rejected() -> None:
    made = bench()
    made.service = type(made.service)(lambda thing, job, now: b'{"operation":"reboot"}')
    made.down.clear()
    made.down.extend(made.service.create("j1", [THING], 0.0))
    made.run()
    assert made.statuses == {"j1": "REJECTED"}
    assert reason(made).startswith("document: ")


def test_the_last_status_is_told_again_after_it_was_lost_with_power() -> None:
    made = bench()
    until(made, S.REPORTING)
    made.power_off()  # the update is in the queue, and lost
    assert made.statuses == {"j1": "IN_PROGRESS"}
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}
    assert made.slots.commits == {2: 1}


def test_an_answer_that_is_lost_makes_the_status_told_twice_and_counted_once() -> None:
    made = bench()
    until(made, S.REPORTING)
    while made.statuses["j1"] == "IN_PROGRESS":
        made.deliver_up()
        if made.statuses["j1"] == "IN_PROGRESS":
            made.deliver_down()
    made.disconnect()
    made.run()
    assert [c.status for c in made.service.changes] == ["QUEUED", "IN_PROGRESS", "SUCCEEDED"]


def test_power_lost_in_the_self_test_brings_the_old_image_back() -> None:
    made = bench()
    until(made, S.TESTING)
    made.power_off()
    made.run()
    assert made.statuses == {"j1": "FAILED"}
    assert made.slots.running == Firmware("1.0.0", 1)


@pytest.mark.parametrize("defect", ["none", "boot", "self-test"])
def test_power_lost_after_any_command_of_an_update_leaves_the_truth_on_record(defect: str) -> None:
    """Each event on the way, and each number of the commands that it brings."""
    lost = 0
    for step in range(60):
        for cut in range(5):
            made = bench(Firmware("1.1.0", 2, defect))  # type: ignore[arg-type]
            for _ in range(step):
                made.go_on()
            made.go_on(cut)
            lost += made.agent is None
            made.run()
            runs_new = made.slots.committed.release == 2
            assert runs_new == (made.statuses["j1"] == "SUCCEEDED"), (step, cut)
            assert made.slots.committed.defect == "none"
            assert max(made.slots.commits.values(), default=0) <= 1
            assert max(made.trials.values(), default=0) <= 1
    assert lost > 100


@pytest.mark.parametrize("state", [S.CHECKING, S.DOWNLOADING, S.WAITING, S.INSTALLING])
def test_a_job_that_is_cancelled_before_the_new_slot_is_marked_changes_nothing(
    state: UpdateState,
) -> None:
    made = bench()
    if state is S.WAITING:
        made.conditions = t.Conditions(False, 0.8, 600)
    until(made, state)
    made.down.extend(made.service.cancel("j1", made.now_s, force=True))
    made.run()
    assert made.statuses == {"j1": "CANCELED"}
    assert not made.slots.commits
    assert made.slots.boot().firmware == Firmware("1.0.0", 1)
    assert made.record.job_id == ""


def test_throttled_and_mismatched_updates_are_told_again() -> None:
    made = bench()
    until(made, S.DOWNLOADING)
    answers = iter(["RequestThrottled", "VersionMismatch", "InternalError"])
    real = made.service.request

    def sometimes(thing: str, topic: str, payload: bytes, now_s: float):  # type: ignore[no-untyped-def]
        code = next(answers, None) if topic.endswith("/update") else None
        if code is None:
            return real(thing, topic, payload, now_s)
        if code == "VersionMismatch":
            made.service._jobs[THING]["j1"].version += 3
            return real(thing, topic, payload, now_s)
        token = msgspec.json.decode(payload)["clientToken"]
        body = msgspec.json.encode({"code": code, "message": "", "clientToken": token})
        return iter([Answer(thing, f"{topic}/rejected", body)])

    made.service.request = sometimes  # type: ignore[method-assign]
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}


def test_every_event_in_every_state_is_taken_or_refused_with_the_story() -> None:
    refused = 0
    for state in UpdateState:
        for event in UpdateEvent:
            made = bench()
            assert made.agent is not None
            made.agent.state = state
            if (state, event) in UPDATE_TRANSITIONS:
                made.agent._move(event)
                assert made.agent.state is UPDATE_TRANSITIONS[state, event]
            else:
                with pytest.raises(
                    InvalidTransitionError, match=f"an update that is {state.value}"
                ):
                    made.agent._move(event)
                refused += 1
    assert refused == len(UpdateState) * len(UpdateEvent) - len(UPDATE_TRANSITIONS)


def test_every_state_reaches_the_end() -> None:
    ends = {S.IDLE}
    for _ in UpdateState:
        ends |= {source for (source, _), target in UPDATE_TRANSITIONS.items() if target in ends}
    reboots = {S.REBOOTING, S.REVERTING}  # a boot follows, and `RESUMES` says where it leads
    assert ends | reboots == set(UpdateState)
    assert set(t.RESUMES.values()) <= ends


@pytest.mark.parametrize("stopped", ["freeze", ""])
def test_what_was_committed_is_a_success_though_power_went_before_it_was_stored(
    stopped: str,
) -> None:
    """It was once asked of the network again, which may refuse the metadata by then, or not be
    there: a failure on record, and the new image runs."""
    made = bench()
    until(made, S.TESTING)
    made.work_ends(cut=1)
    assert made.slots.committed == GOOD
    made.refuse = stopped or None
    made.power_on()
    for _ in range(0 if stopped else 40):
        made.end_fetch("broken")
        made.go_on()
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED"}
    assert made.record.floor == 2


def test_a_power_loss_before_the_next_job_is_looked_at_is_no_success_of_it() -> None:
    made = bench()
    made.run()
    made.images[3] = Firmware("1.2.0", 3)
    made.create("j2", 3)
    until(made, S.CHECKING)
    made.power_off()
    made.power_on()
    assert made.agent is not None
    assert made.agent.state is S.IDLE
    made.run()
    assert made.statuses == {"j1": "SUCCEEDED", "j2": "SUCCEEDED"}
    assert made.slots.committed == Firmware("1.2.0", 3)
