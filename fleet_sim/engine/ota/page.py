"""Writes the tables of docs/ota.md: each update scenario, what had to hold, what was measured.

python -m fleet_sim.engine.ota.page docs/ota.md                       rehearsed
python -m fleet_sim.engine.ota.page docs/ota.md --live RUN_FOLDER...  of runs that are there
python -m fleet_sim.engine.ota.page docs/ota.md --run FOLDER          of runs made now, into FOLDER
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.ota.fleet import rehearse
from fleet_sim.engine.ota.page_live import check_new, live_row, live_tables, run_all
from fleet_sim.engine.ota.page_rows import (
    MUST_BREAK,
    VARIANTS,
    Mark,
    check_marks,
    named,
    outcome,
    replace_between,
    table,
    told,
    yes,
)
from fleet_sim.measure.ota import campaign_thresholds
from fleet_sim.resources import data_dir
from fleet_sim.scenario import scale_fleet

VEHICLES = 10_000
REHEARSALS, LIVE = Mark("rehearsals"), Mark("live")


class Row(NamedTuple):
    scenario: str
    held: bool
    """Whether it came out as it had to: one has to break a threshold."""
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
    broken = {result.metric for result in results if not result.passed}
    return Row(
        named(path.stem, attack),
        found.sound and broken == MUST_BREAK.get(path.stem, frozenset()),
        outcome(found),
        told(results),
    )


def rehearsal_table(found: Iterable[Row], vehicles: int) -> str:
    head = ("scenario", "as it had to", "on record", "had to hold: measured")
    body = [(r.scenario, yes(held=r.held), r.outcome, r.thresholds) for r in found]
    return f"Rehearsed with {vehicles:,} vehicles each.\n\n{table(head, body)}"


def main(arguments: Sequence[str]) -> int:
    """Exit code 99 when one did not come out as it had to, 2 when nothing can be run or written."""
    parser = argparse.ArgumentParser(prog="python -m fleet_sim.engine.ota.page")
    parser.add_argument("page", type=Path)
    parser.add_argument("--vehicles", type=int, default=VEHICLES, help="of each rehearsal")
    parser.add_argument("--live", type=Path, nargs="+", metavar="RUN_FOLDER")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="run all of them into it")
    asked = parser.parse_args(arguments)
    live = bool(asked.live or asked.run)
    try:
        check_marks(asked.page, LIVE if live else REHEARSALS)
        if asked.run:
            check_new(asked.run)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    if live:
        return _live(asked.page, asked.live or run_all(asked.run))
    rehearsed = list(rows(asked.vehicles))
    replace_between(asked.page, REHEARSALS, rehearsal_table(rehearsed, asked.vehicles))
    return 0 if all(each.held for each in rehearsed) else 99


def _live(page: Path, folders: Iterable[Path]) -> int:
    found, problems = [], []
    for folder in folders:
        try:
            found.append(live_row(folder))
        except ValueError as error:
            problems.append(str(error))
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    if found:
        replace_between(page, LIVE, live_tables(found))
    return 0 if not problems and all(each.held for each in found) else 99


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
