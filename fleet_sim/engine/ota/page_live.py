"""Runs of the update scenarios over the local AWS: made one after another, and told as tables."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fleet_sim.engine.ota.page_rows import MUST_BREAK, VARIANTS, named, outcome, table, told, yes
from fleet_sim.measure.ota import OtaReport
from fleet_sim.measure.summary import Summary, from_json
from fleet_sim.measure.thresholds import ThresholdResult
from fleet_sim.resources import data_dir


class LiveRow(NamedTuple):
    """One run."""

    scenario: str
    attack: str
    """Empty where the scenario has but one."""
    held: bool
    """Whether it came out as it had to, with the exit code that it had to have."""
    summary: Summary
    campaign: OtaReport


def check_new(into: Path) -> None:
    """`ValueError` when `into` is there already: what an earlier run left would be taken for this
    one."""
    if into.exists():
        raise ValueError(f"{into}: is there already (allowed: a new folder)")


def run_all(into: Path) -> Iterator[Path]:
    """Run every scenario, with each of its attacks, on this machine: a folder each. `ValueError`
    when `into` is there already."""
    check_new(into)
    for path in sorted(data_dir("scenarios").glob("ota_*.yaml")):
        for attack in VARIANTS.get(path.stem, ("",)):
            folder = into / "-".join(filter(None, (path.stem, attack)))
            command = [sys.executable, "-m", "fleet_sim", "run", str(path), "--out", str(folder)]
            if attack:
                command += ["--set", f"campaign.firmware.attack={attack}"]
            subprocess.run(command, check=False)  # how it ended is in its folder
            yield folder


def live_row(folder: Path) -> LiveRow:
    """`ValueError` when it is no run folder, or its run had no campaign."""
    try:
        summary = from_json((folder / "summary.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder}: not a run folder (it has no summary.json)") from None
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if summary.ota is None:
        raise ValueError(f"{folder}: its run had no campaign (allowed: a run with one)")
    scenario = summary.run.scenario.replace("-", "_")
    broken = {result.metric for result in summary.thresholds if not result.passed}
    must_break = MUST_BREAK.get(scenario, frozenset())
    return LiveRow(
        scenario,
        summary.ota.attack if scenario in VARIANTS else "",
        summary.run.exit_code == (99 if must_break else 0) and broken == must_break,
        summary,
        summary.ota,
    )


def live_tables(found: Sequence[LiveRow]) -> str:
    """What they had to hold, and how it went; of several runs of one the newest."""
    newest = {
        (row.scenario, _order(row)): row
        for row in sorted(found, key=lambda row: row.summary.run.started)
    }
    found = [newest[key] for key in sorted(newest)]
    everywhere = _held_everywhere(found)
    lines = [_head(found)]
    if everywhere:
        lines.append(f"In each of them held: {told(everywhere.values())}.")
    lines += [_held_table(found, frozenset(everywhere)), _course_table(found)]
    return "\n\n".join(lines)


def _order(row: LiveRow) -> int:
    attacks = VARIANTS.get(row.scenario, ())
    return attacks.index(row.attack) if row.attack in attacks else 0


def _head(found: Sequence[LiveRow]) -> str:
    days = sorted({row.summary.run.started[:10] for row in found})
    day = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    vehicles = " or ".join(f"{n:,}" for n in sorted({row.campaign.vehicles for row in found}))
    machine = found[0].summary.environment
    return (
        f"{len(found)} runs with {vehicles} vehicles each, {day}, Python {machine.python}, "
        f"{machine.cpus} cores for vehicles and local AWS together."
    )


def _held_everywhere(found: Sequence[LiveRow]) -> dict[tuple[str, str], ThresholdResult]:
    """Thresholds that all runs have, and that all measured the same."""
    by_run = [{(r.metric, r.condition): r for r in row.summary.thresholds} for row in found]
    return {
        key: result
        for key, result in by_run[0].items()
        if result.passed
        and all(key in run and run[key].observed == result.observed for run in by_run)
    }


def _held_table(found: Sequence[LiveRow], everywhere: frozenset[tuple[str, str]]) -> str:
    head = (
        "scenario", "wall time", "verdict, exit code", "as it had to", "on record",
        "had to hold: measured",
    )  # fmt: skip
    return table(
        head,
        [
            (
                named(row.scenario, row.attack),
                _minutes(row.summary.run.wall_s),
                f"{row.summary.run.verdict.replace('_', ' ')}, {row.summary.run.exit_code}",
                yes(held=row.held),
                outcome(row.campaign),
                told(
                    result
                    for result in row.summary.thresholds
                    if (result.metric, result.condition) not in everywhere
                ),
            )
            for row in found
        ],
    )


def _course_table(found: Sequence[LiveRow]) -> str:
    head = (
        "scenario", "failure → on record → decision → last start",
        "at the decision: notified, started, installed, failed", "50, 95, 99 % done (simulated)",
        "GB: came, for nothing, not again", "requests each success", "messages audit",
    )  # fmt: skip
    return table(
        head,
        [
            (
                named(row.scenario, row.attack),
                _reaction(row.campaign),
                ", ".join(f"{n:,}" for n in row.campaign.exposed.values()) or "–",
                _done(row.campaign),
                f"{row.campaign.downloaded_gb:,.1f}, {row.campaign.wasted_gb:,.1f}, "
                f"{row.campaign.resumed_gb:,.1f}",
                _each(row.campaign),
                _audit(row.summary),
            )
            for row in found
        ],
    )


def _reaction(campaign: OtaReport) -> str:
    steps = (campaign.report_s, campaign.decision_s, campaign.last_start_s)
    if all(step is None for step in steps):
        return "–"
    return " → ".join("–" if step is None else f"{step:.1f} s" for step in steps)


def _done(campaign: OtaReport) -> str:
    times = (campaign.done_50_s, campaign.done_95_s, campaign.done_99_s)
    if all(time is None for time in times):
        return "–"
    return ", ".join("–" if time is None else f"{time / 3600:.2f} h" for time in times)


def _each(campaign: OtaReport) -> str:
    succeeded = campaign.statuses.get("succeeded", 0)
    return f"{campaign.requests / succeeded:.1f}" if succeeded else "–"


def _audit(summary: Summary) -> str:
    audit = summary.audit
    if audit is None:
        return "**none**"
    return (
        f"{audit.acknowledged:,} acknowledged, {audit.applied:,} applied, {audit.lost:,} lost, "
        f"{audit.unexplained:,} unexplained"
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
