"""An update campaign in the report and in the terminal: the record against the truth."""

from collections.abc import Iterator, Sequence

import msgspec

from fleet_sim.measure.ota import MOST_CONTRADICTIONS, REASONS, OtaReport
from fleet_sim.report.html import Html, join, missing, section, table, tag
from fleet_sim.report.ota_waves import WaveTimes, wave_chart

Rows = list[tuple[str, str]]

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
    for name, value in (*_course(report), *_gate(report), *_traffic(report)):
        yield f"{name:<34} {value}"
    for wave, gate in enumerate(report.waves):
        yield (
            f"{f'wave {wave + 1}':<34} {gate.size:,} vehicles, {gate.completed:,} completed, "
            f"{gate.bad:,} failed on record, {gate.in_truth_bad:,} in truth"
        )
    for name, text in _MUST:
        yield f"{name.replace('_', ' '):<34} {getattr(report, name):,}  ({text})"


def campaign(report: OtaReport | None, waves: Sequence[WaveTimes] | str) -> Html:
    """The report's section; empty when the run had no campaign. `waves`: or why there are none."""
    if report is None:
        return Html("")
    return section(
        "campaign",
        "Update campaign",
        _verdict(report),
        tag(
            "div",
            table(
                "Record against truth: vehicles that",
                ("what", "vehicles"),
                [(text, f"{getattr(report, name):,}") for name, text in _MUST],
            ),
            _by_truth(report),
            class_="pair",
        ),
        _contradictions(report),
        wave_chart(waves, report),
        tag(
            "div",
            table("The campaign", ("what", "value"), _course(report)),
            join(
                [
                    table("How its gate reacted, by its own clock", ("what", "value"), gate)
                    for gate in [_gate(report)]
                    if gate
                ]
            ),
            table("What it took", ("what", "value"), _traffic(report)),
            class_="pair",
        ),
        _gates(report),
        _installs(report),
        _attacks(report),
        _decisions(report),
    )


def _verdict(report: OtaReport) -> Html:
    if report.sound:
        return tag("p", "The record is the truth, for every vehicle.", class_="ok")
    others = msgspec.structs.replace(report, stuck=0).sound
    said = (
        f"{report.stuck:,} vehicles have no end yet; of all others the record is true."
        if others
        else "The record is not the truth."
    )
    return tag("p", said, class_="broken")


def _by_truth(report: OtaReport) -> Html:
    """Vehicles by what is on record and what is true."""
    if not report.truth:
        return Html("")
    runs = sorted({run for found in report.truth.values() for run in found})
    return table(
        "Vehicles by status on record and by what runs in truth",
        ("on record", *runs),
        [
            (status.replace("_", " "), *(f"{found.get(run, 0):,}" for run in runs))
            for status, found in report.truth.items()
        ],
    )


def _contradictions(report: OtaReport) -> Html:
    """The vehicles with which something is wrong."""
    if not report.contradictions:
        return Html("")
    listed = table(
        "By VIN; ota.parquet has the states of every vehicle",
        ("VIN", "what", "on record", "try", "reason", "runs in truth"),
        [
            (c.vin, c.what, c.status.replace("_", " "), str(c.attempt), c.reason or "–", c.runs)
            for c in report.contradictions
        ],
        numbers_from=9,
    )
    count = len(report.contradictions)
    first = "The first " if count == MOST_CONTRADICTIONS else ""
    summary = tag("summary", f"{first}{count:,} vehicles with which something is wrong")
    return tag("details", summary, listed)


def _gates(report: OtaReport) -> Html:
    head = ("wave", "vehicles", "completed", "failed", "share", "failed in truth")
    return table(
        "Gates: failures over those that completed in the wave",
        head,
        [
            (
                f"{wave + 1}",
                f"{gate.size:,}",
                f"{gate.completed:,}",
                f"{gate.bad:,}",
                _share(gate.bad, gate.completed),
                f"{gate.in_truth_bad:,}",
            )
            for wave, gate in enumerate(report.waves)
        ],
    )


def _installs(report: OtaReport) -> Html:
    if not report.installs:
        return Html("")
    return table(
        "Installations, in truth, by release",
        ("release", "vehicles that wrote it", "that boot it", "most often by one vehicle"),
        [
            (f"{r.release}", f"{r.written:,}", f"{r.committed:,}", f"{r.most:,}")
            for r in report.installs
        ],
    )


def _attacks(report: OtaReport) -> Html:
    """Each attack there is, what vehicles have to say of it, and what they said."""
    if report.attack == "none":
        return missing("Nobody attacked the firmware of this run (campaign.firmware.attack).")
    rows = []
    for attack, reasons in REASONS.items():
        row = (attack.replace("_", " "), ", ".join(reasons))
        if attack != report.attack:
            rows.append((*row, "–", "–", "not in this run"))
            continue
        said = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
        refused = report.attack_installed == 0 and {*report.reasons} == {*reasons}
        rows.append(
            (
                *row,
                said or "nothing",
                f"{report.attack_installed:,}",
                "refused" if refused else "not refused",
            )
        )
    head = ("attack", "has to be reported as", "was reported as", "installed it", "verdict")
    return table("Attacks and verdicts", head, rows, numbers_from=9)


def _decisions(report: OtaReport) -> Html:
    if not report.decisions:
        return missing("The service has told of no decision.")
    return table(
        "What the service did, by its own clock",
        ("after (s)", "action", "detail", "who"),
        [
            (f"{d.t_s:,.1f}", d.action, d.detail, d.who.rpartition("/")[2].rpartition(":")[2])
            for d in report.decisions
        ],
        numbers_from=9,
    )


def _course(report: OtaReport) -> Rows:
    statuses = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in report.statuses.items()
    )
    reasons = ", ".join(f"{count:,} {name}" for name, count in report.reasons.items() if name)
    return [
        ("state", report.state),
        ("on record", statuses or "nobody"),
        *([("reasons", reasons)] if reasons else []),
        ("run the new image", f"{report.runs_new:,} of {report.vehicles:,} vehicles"),
        ("notified, started", f"{report.notified:,}, {report.started:,}"),
        ("new images that failed", f"{report.bad_boots:,}, and {report.broken_later:,} later"),
        ("until 50 %, 95 %, 99 % run it", ", ".join(map(_hours, _done(report)))),
        ("tries again", f"{report.retries:,}"),
        ("installations below preconditions", f"{report.violations:,}"),
    ]


def _gate(report: OtaReport) -> Rows:
    """Its reaction, and who was exposed when it decided; empty when it stopped nothing."""
    facts = [
        (name, f"{value:,.1f} s")
        for name, value in (
            ("first failure to its report", report.report_s),
            ("its report to the decision", report.decision_s),
            ("the decision to the last start", report.last_start_s),
        )
        if value is not None
    ]
    facts += [(f"{kind} at the decision", f"{n:,}") for kind, n in report.exposed.items()]
    return facts


def _traffic(report: OtaReport) -> Rows:
    facts = [
        ("downloaded", f"{report.downloaded_gb:,.2f} GB"),
        ("of that for nothing", f"{report.wasted_gb:,.2f} GB"),
        ("not downloaded again", f"{report.resumed_gb:,.2f} GB"),
        ("requests to the Jobs service", f"{report.requests:,}"),
    ]
    priced = f" ({report.priced})" if report.priced else ""
    if report.cost_usd is not None:
        facts.append((f"list price{priced}", f"${report.cost_usd:,.2f}"))
    succeeded = report.statuses.get("succeeded", 0)
    if succeeded:
        facts.append(("requests each success", f"{report.requests / succeeded:.1f}"))
        if report.cost_usd is not None:
            facts.append(("list price each success", f"${report.cost_usd / succeeded:.4f}"))
    return facts


def _done(report: OtaReport) -> tuple[float | None, ...]:
    return report.done_50_s, report.done_95_s, report.done_99_s


def _hours(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 3600:.2f} h"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
