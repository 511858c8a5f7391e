"""docs/campaigns.md says what the campaign service does."""

import re
from pathlib import Path

from fleet_sim.contract.campaign_records import ENDED, THINGS_A_JOB
from fleet_sim.contract.campaigns import TEMPLATES
from update_manager import api, driver, logic

DOCUMENT = (Path(__file__).parents[2] / "docs" / "campaigns.md").read_text()


def diagram() -> str:
    lines = ["stateDiagram-v2", "    [*] --> planned"]
    lines += [
        f"    {source} --> {target}: {event.value}"
        for (source, event), target in logic.TRANSITIONS.items()
    ]
    return "\n".join([*lines, *(f"    {state} --> [*]" for state in sorted(ENDED, reverse=True))])


def test_the_diagram_is_drawn_from_the_table() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)\n```", DOCUMENT, re.DOTALL)
    assert drawn == diagram(), f"docs/campaigns.md should hold:\n{diagram()}"


def test_every_call_is_explained() -> None:
    told = set(re.findall(r"^\| `((?:GET|POST) /[^`]*)` \|", DOCUMENT, re.MULTILINE))
    routes = {
        f"{route.method} " + re.sub(r"<campaign_id>", "{id}", route.path)
        for route in [*api.app._static_routes, *api.app._dynamic_routes]
    }
    assert told == routes


def test_the_figures_are_the_codes() -> None:
    assert f"lists {driver.LISTED_JOBS} jobs of {THINGS_A_JOB} vehicles" in DOCUMENT
    assert all(f"`{name}`" in DOCUMENT for name in TEMPLATES)
