"""docs/ota.md says what the update machine does."""

import re
from pathlib import Path

from fleet_sim.vehicle import ota, ota_fetch, ota_talk
from fleet_sim.vehicle.ota_table import (
    RESUMES,
    UPDATE_TRANSITIONS,
    Persisted,
    UpdateEvent,
    UpdateState,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "ota.md"


def diagram() -> str:
    """The transition table, and where a boot leads, as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (kind, stored), state in RESUMES.items():
        outcome = ", outcome stored" if stored else ""
        lines.append(f"    [*] --> {state.value}: {kind.value} boot{outcome}")
    lines += [
        f"    {source.value} --> {target.value}: {event.value}"
        for (source, event), target in UPDATE_TRANSITIONS.items()
    ]
    lines += [
        f"    {state.value} --> [*]: reboot"
        for state in (UpdateState.REBOOTING, UpdateState.REVERTING)
    ]
    return "\n".join(lines)


def rows(heading: str) -> list[str]:
    section = DOCUMENT.read_text().partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_the_diagram_is_drawn_from_the_table() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL)
    assert drawn == diagram(), f"docs/ota.md should hold:\n{diagram()}"


def test_every_state_event_and_survivor_is_explained() -> None:
    explained = rows("States and events")
    assert explained[: len(UpdateState)] == [state.value for state in UpdateState]
    assert explained[len(UpdateState) :] == [event.value for event in UpdateEvent]
    assert rows("What survives a power loss") == list(Persisted.__struct_fields__)


def test_the_limits_named_are_the_limits() -> None:
    named = re.findall(r"`([A-Z_]+)` \((\d+)", DOCUMENT.read_text())
    assert len(named) >= 6
    limits = vars(ota) | vars(ota_fetch) | vars(ota_talk)
    for name, value in named:
        assert float(value) == limits.get(name), name
