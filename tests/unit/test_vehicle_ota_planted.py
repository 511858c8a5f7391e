"""How many interleavings hypothesis tries, and which planted bugs it finds: `make scale`, or

pytest -m scale -s tests/unit/test_vehicle_ota_planted.py
"""

import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import ota_bench
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_vehicle_ota_interleavings import Interleavings

from fleet_sim.vehicle import ota_table as t
from fleet_sim.vehicle.ota import UpdateAgent
from fleet_sim.vehicle.ota_talk import Talk

pytestmark = [pytest.mark.scale, pytest.mark.timeout(3_600)]

EXAMPLES = int(os.environ.get("FLEET_SIM_INTERLEAVINGS", "5000"))
STEPS = 40

EVENTS = (
    "begin", "online", "offline", "message", "tick", "metadata_ended", "received", "image_ended",
    "verified", "written", "tested",
)  # fmt: skip


class Counted(Interleavings):
    """Keeps what the vehicle's machine was told, in its order, example by example."""

    examples = 0
    events = 0
    told: ClassVar[list[str]] = []
    orders: ClassVar[set[int]] = set()
    taken: ClassVar[set[tuple[t.UpdateState, t.UpdateEvent]]] = set()

    def __init__(self) -> None:
        super().__init__()
        Counted.examples += 1
        Counted.told.clear()

    def teardown(self) -> None:
        super().teardown()
        Counted.events += len(Counted.told)
        Counted.orders.add(hash(tuple(Counted.told)))

    @classmethod
    def start(cls) -> None:
        Counted.examples = Counted.events = 0
        Counted.orders.clear()
        Counted.taken.clear()


def watched(kind: type[UpdateAgent]) -> type[UpdateAgent]:
    """The machine, with its events and transitions written down."""

    class Watched(kind):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            Counted.told.append("power")
            super().__init__(*args, **kwargs)

        def _move(self, event: t.UpdateEvent) -> None:
            Counted.taken.add((self.state, event))
            super()._move(event)

    def telling(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any) -> Any:
            # Topics end with what was asked and how it was answered; tokens tell late from due.
            said = args[0].rpartition("/jobs/")[2] if name == "message" else args[:-1]
            Counted.told.append(f"{name} {said}")
            return getattr(super(Watched, self), name)(*args)

        return method

    for name in EVENTS:
        setattr(Watched, name, telling(name))
    return Watched


def say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")


def search(most: int, *phases: Phase) -> None:
    """`AssertionError` or another when an example breaks an invariant."""
    Counted.start()
    run_state_machine_as_test(
        Counted,
        settings=settings(
            max_examples=most,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )


def test_how_many_interleavings_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ota_bench, "UpdateAgent", watched(UpdateAgent))
    search(EXAMPLES, Phase.generate)
    missed = sorted(f"{s.value} {e.value}" for s, e in set(t.UPDATE_TRANSITIONS) - Counted.taken)
    say(
        f"{Counted.examples:,} examples of up to {STEPS} steps: {len(Counted.orders):,} different "
        f"orders of {Counted.events:,} events; {len(Counted.taken)} of "
        f"{len(t.UPDATE_TRANSITIONS)} transitions, without {', '.join(missed) or 'none'}"
    )
    assert not missed
    assert Counted.examples >= EXAMPLES
    assert len(Counted.orders) > 0.3 * EXAMPLES


# --- planted bugs ---------------------------------------------------------------------------------


class TellsBeforeItCommits(UpdateAgent):
    def tested(self, healthy: bool, now_s: float) -> list[t.Command]:
        out = super().tested(healthy, now_s)
        return sorted(out, key=lambda command: isinstance(command, t.Commit))


class ForgetsTheTrialFirst(UpdateAgent):
    def begin(self, now_s: float) -> list[t.Command]:
        out = super().begin(now_s)
        return sorted(out, key=lambda command: not isinstance(command, t.ForgetTrial))


class CommitsUntested(UpdateAgent):
    def begin(self, now_s: float) -> list[t.Command]:
        out = super().begin(now_s)
        trial = self.boot.kind is t.BootKind.TRIAL
        return [t.Commit(), *out] if trial else out

    def tested(self, healthy: bool, now_s: float) -> list[t.Command]:
        out = super().tested(healthy, now_s)
        return [command for command in out if not isinstance(command, t.Commit)]


class TakesOlderImages(UpdateAgent):
    def __init__(self, thing: str, boot: t.Boot, *args: Any, **kwargs: Any) -> None:
        super().__init__(thing, boot._replace(release=0), *args, **kwargs)


class InstallsWhileItDrives(UpdateAgent):
    def _consider(self, conditions: t.Conditions) -> None:
        super()._consider(t.Conditions(True, 1.0, conditions.minute))


class RebootsWhileItDrives(UpdateAgent):
    def _consider_reboot(self, conditions: t.Conditions) -> None:
        super()._consider_reboot(conditions._replace(parked=True))


class KeepsNoOutcome(UpdateAgent):
    def _flush(self, now_s: float) -> list[t.Command]:
        out = super()._flush(now_s)
        return [c for c in out if not (isinstance(c, t.Persist) and c.record.outcome is not None)]


class NeverAsksAfterTheEnd(UpdateAgent):
    def _finish(self, event: t.UpdateEvent) -> None:
        super()._finish(event)
        self.talk._wants_next = False


AGENTS = (
    TellsBeforeItCommits,
    ForgetsTheTrialFirst,
    CommitsUntested,
    TakesOlderImages,
    InstallsWhileItDrives,
    RebootsWhileItDrives,
    KeepsNoOutcome,
    NeverAsksAfterTheEnd,
)


def asks_once_only(talk: Talk, now_s: float) -> Any:
    return None if talk._token is not None else ASKED(talk, now_s)


def asks_nothing_when_it_comes_back(talk: Talk) -> Any:
    topics = ONLINE(talk)
    talk._wants_next = False
    return topics


def keeps_its_own_version(talk: Talk, answer: Any, now_s: float) -> Any:
    version = talk.version
    heard = REFUSED(talk, answer, now_s)
    talk.version = version
    return heard


ASKED, ONLINE, REFUSED = Talk.next_request, Talk.went_online, Talk._refused
TALKS: dict[str, Callable[..., Any]] = {
    "next_request": asks_once_only,
    "went_online": asks_nothing_when_it_comes_back,
    "_refused": keeps_its_own_version,
}


@pytest.mark.parametrize("bug", AGENTS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_of_the_machine_is_found(
    bug: type[UpdateAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ota_bench, "UpdateAgent", watched(bug))
    found(bug.__name__)


@pytest.mark.parametrize("name", TALKS)
def test_a_planted_bug_of_its_talk_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Talk, name, TALKS[name])
    monkeypatch.setattr(ota_bench, "UpdateAgent", watched(UpdateAgent))
    found(TALKS[name].__name__)


def found(bug: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whichever invariant it breaks
        search(4 * EXAMPLES, Phase.generate)  # the rarest one took 3,000
    first = str(raised.value).partition("\n")[0]
    say(f"{bug}: found in example {Counted.examples:,}: {raised.typename} {first[:90]}")
