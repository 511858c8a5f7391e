"""docs/session.md says what the session machine does."""

import re
from pathlib import Path

from fleet_sim.transport import LinkSettings
from fleet_sim.vehicle import TRANSITIONS, Backoff, Event, State

DOCUMENT = Path(__file__).parents[2] / "docs" / "session.md"


def diagram() -> str:
    """The transition table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.IDLE.value}"]
    lines += [
        f"    {source.value} --> {target.value}: {event.value}"
        for (source, event), target in TRANSITIONS.items()
    ]
    return "\n".join([*lines, f"    {State.CLOSED.value} --> [*]"])


def test_the_diagram_is_drawn_from_the_table() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL)
    assert drawn == diagram(), f"docs/session.md should hold:\n{diagram()}"


def test_every_state_and_event_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert rows[: len(State)] == [state.value for state in State]
    assert rows[len(State) : len(State) + len(Event)] == [event.value for event in Event]


def test_the_defaults_named_are_the_defaults() -> None:
    defaults = {**LinkSettings._field_defaults, **Backoff._field_defaults}
    named = re.findall(r"`(\w+)` \(default ([\d.]+)", DOCUMENT.read_text())
    assert len(named) >= 8
    for name, value in named:
        assert float(value) == defaults[name], name
