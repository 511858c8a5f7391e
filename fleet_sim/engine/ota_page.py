"""Writes the table of docs/ota.md: each scenario of an update, what had to hold, what was measured.

python -m fleet_sim.engine.ota_page docs/ota.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.ota_fleet import rehearse
from fleet_sim.measure.ota import campaign_thresholds
from fleet_sim.resources import data_dir
from fleet_sim.scenario import scale_fleet

VEHICLES = 10_000
BEGIN, END = "<!-- rehearsals -->", "<!-- /rehearsals -->"
VARIANTS = {
    "ota_tampered": ("flipped_byte", "wrong_key", "wrong_length", "endless_data"),
    "ota_replay": ("replay", "freeze", "mix_and_match", "rollback"),
}
"""Attacks that a scenario is rehearsed with, beside its own."""
MUST_FAIL = frozenset({"ota_delayed_fault_no_soak"})


class Row(NamedTuple):
    scenario: str
    held: bool
    """Whether it came out as it had to: one has to break its thresholds."""
    outcome: str
    thresholds: str


def rows(vehicles: int = VEHICLES) -> Iterator[Row]:
    """Rehearse them all."""
    for path in sorted(data_dir("scenarios").glob("ota_*.yaml")):
        for attack in VARIANTS.get(path.stem, ("",)):
            yield row(path, attack, vehicles)


def row(path: Path, attack: str, vehicles: int) -> Row:
    overrides = (f"campaign.firmware.attack={attack}",) if attack else ()
    scenario = scale_fleet(load_scenario(path, overrides=overrides), vehicles)
    found = rehearse(scenario)
    results = campaign_thresholds(scenario.conditions, found)
    kept = found.sound and all(result.passed for result in results)
    must_fail = path.stem in MUST_FAIL
    told = [
        f"`{r.metric.removeprefix('ota_')}` {_comparison(r.condition)}: "
        + ("–" if r.observed is None else f"{r.observed:,.4g}")
        + ("" if r.passed else " **broken**")
        for r in results
    ]
    statuses = ", ".join(f"{count:,} {name}" for name, count in found.statuses.items())
    reasons = ", ".join(name for name in found.reasons if name)
    outcome = f"{found.state}: {statuses}" + (f" ({reasons})" if reasons else "")
    name = f"`{path.stem}`" + (f", {attack.replace('_', ' ')}" if attack else "")
    return Row(name, kept != must_fail, outcome, "; ".join(told))


def table(found: list[Row], vehicles: int) -> str:
    lines = [f"Rehearsed with {vehicles:,} vehicles each.", ""]
    lines += [
        "| scenario | as it had to | on record | had to hold: measured |",
        "|---|---|---|---|",
    ]
    lines += [f"| {r.scenario} | {_yes(r)} | {r.outcome} | {r.thresholds} |" for r in found]
    return "\n".join(lines)


def write(page: Path, found: list[Row], vehicles: int) -> None:
    """Replace what stands between the page's two marks. `ValueError` when it has none."""
    text = page.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: {BEGIN} and {END} are missing (allowed: both, in this order)")
    page.write_text(f"{head}{BEGIN}\n{table(found, vehicles)}\n{END}{tail}", "utf-8")


def _comparison(condition: str) -> str:
    return condition.removeprefix("value").removeprefix("count")


def _yes(row: Row) -> str:
    return "yes" if row.held else "**no**"


if __name__ == "__main__":
    how_many = int(sys.argv[2]) if len(sys.argv) > 2 else VEHICLES
    found_rows = list(rows(how_many))
    write(Path(sys.argv[1]), found_rows, how_many)
    sys.exit(0 if all(each.held for each in found_rows) else 99)
