"""An update campaign in the report and in the terminal: the record against the truth."""

from collections.abc import Iterator

import msgspec

from fleet_sim.measure.ota import OtaReport
from fleet_sim.report.html import Html, missing, section, table, tag

_MUST = (
    ("false_success", "said to have succeeded, and do not run the new image"),
    ("false_failure", "run the new image, and are said to have failed"),
    ("stuck", "were given a job, and no end is on record"),
    ("unbootable", "have no image that boots"),
    ("installed_twice", "wrote the same release twice"),
    ("attack_installed", "run what an attacker brought"),
)
"""What no campaign may have."""


def campaign_lines(report: OtaReport) -> Iterator[str]:
    """For a terminal, a line a fact."""
    for name, value in _facts(report):
        yield f"{name:<34} {value}"
    for wave, gate in enumerate(report.waves):
        yield (
            f"{f'wave {wave + 1}':<34} {gate.size:,} vehicles, {gate.completed:,} completed, "
            f"{gate.bad:,} failed on record, {gate.in_truth_bad:,} in truth"
        )
    for name, text in _MUST:
        yield f"{name.replace('_', ' '):<34} {getattr(report, name):,}  ({text})"


def campaign(report: OtaReport | None) -> Html:
    """The report's section; empty when the run had no campaign."""
    if report is None:
        return Html("")
    rows = [(text, f"{getattr(report, name):,}") for name, text in _MUST]
    good = report.sound
    said = "The record is the truth, for every vehicle."
    if not good:
        ended = msgspec.structs.replace(report, stuck=0).sound
        said = (
            f"{report.stuck:,} vehicles have no end yet; of all others the record is true."
            if ended
            else "The record is not the truth."
        )
    gates = [
        (
            f"{wave + 1}",
            f"{gate.size:,}",
            f"{gate.completed:,}",
            f"{gate.bad:,}",
            _share(gate.bad, gate.completed),
            f"{gate.in_truth_bad:,}",
        )
        for wave, gate in enumerate(report.waves)
    ]
    happened = [
        (f"{d.t_s:,.1f}", d.action, d.detail, d.who.rpartition("/")[2]) for d in report.decisions
    ]
    head = ("wave", "vehicles", "completed", "failed", "share", "failed in truth")
    return section(
        "campaign",
        "Update campaign",
        tag("p", said, class_="ok" if good else "broken"),
        tag(
            "div",
            table("Record against truth: vehicles that", ("what", "vehicles"), rows),
            table("The campaign", ("what", "value"), _facts(report)),
            class_="pair",
        ),
        table("Gates: failures over those that completed in the wave", head, gates),
        _verdicts(report),
        table(
            "What the service did, by its own clock",
            ("after (s)", "action", "detail", "who"),
            happened,
            numbers_from=9,
        )
        if happened
        else missing("The service has told of no decision."),
    )


def _verdicts(report: OtaReport) -> Html:
    attack = "none" if report.attack == "none" else report.attack.replace("_", " ")
    rows: list[tuple[str, str, str, str]] = [
        (attack, reason, f"{count:,}", f"{report.attack_installed:,}")
        for reason, count in report.reasons.items()
    ]
    if not rows:
        rows = [(attack, "–", "0", f"{report.attack_installed:,}")]
    head = ("attack", "reported by vehicles", "vehicles", "installed what it brought")
    return table("Attacks and verdicts", head, rows, numbers_from=2)


def _facts(report: OtaReport) -> list[tuple[str, str]]:
    statuses = ", ".join(f"{count:,} {name}" for name, count in report.statuses.items())
    facts = [
        ("state", report.state),
        ("on record", statuses or "nobody"),
        ("run the new image", f"{report.runs_new:,} of {report.vehicles:,} vehicles"),
        ("notified, started", f"{report.notified:,}, {report.started:,}"),
        ("new images that failed", f"{report.bad_boots:,}, and {report.broken_later:,} later"),
        ("until 50 %, 95 %, 99 % run it", ", ".join(map(_hours, _done(report)))),
        ("downloaded", f"{report.downloaded_gb:,.2f} GB, {report.wasted_gb:,.2f} GB for nothing"),
        ("not downloaded again", f"{report.resumed_gb:,.2f} GB"),
        ("tries again", f"{report.retries:,}"),
        ("installations below preconditions", f"{report.violations:,}"),
    ]
    succeeded = report.statuses.get("succeeded", 0)
    if succeeded:
        facts.append(("requests each success", f"{report.requests / succeeded:.1f}"))
        facts.append(("list price each success", f"${report.cost_usd / succeeded:.4f}"))
    for name, value in (
        ("first failure to its report", report.report_s),
        ("its report to the decision", report.decision_s),
        ("the decision to the last start", report.last_start_s),
    ):
        if value is not None:
            facts.append((name, f"{value:,.1f} s"))
    if report.exposed:
        shown = ", ".join(f"{count:,} {name}" for name, count in report.exposed.items())
        facts.append(("at the decision", shown))
    return facts


def _done(report: OtaReport) -> tuple[float | None, ...]:
    return report.done_50_s, report.done_95_s, report.done_99_s


def _hours(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 3600:.2f} h"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
