"""The report's sections, top to bottom."""

from collections.abc import Mapping

from fleet_sim.measure.clock import said as clock_said
from fleet_sim.measure.stages import STAGES
from fleet_sim.measure.summary import MetricStats, Summary, Verdict
from fleet_sim.report import city, heat, lines, timeline
from fleet_sim.report.axes import clock_text, length_text, moment_text, ms_text
from fleet_sim.report.folder import RunFolder
from fleet_sim.report.html import Html, metric_name, missing, section, table, tag
from fleet_sim.report.trust import OVERLOADED, due

VERDICTS: dict[Verdict, str] = {
    "passed": "Passed",
    "threshold_broken": "Failed: a threshold was broken",
    "target_failed": "No result: the target failed",
    "generator_overloaded": "No result: the generator was overloaded",
    "interrupted": "Interrupted",
}

FATES = {
    "applied": "applied: sent, acknowledged, archived and applied",
    "acknowledged": "acknowledged (no cloud was audited)",
    "phantom": "phantom: archived, though never sent",
    "applied_not_archived": "applied, but not archived",
    "lost": "lost: acknowledged, but never archived",
    "unapplied": "unapplied: archived, but not applied",
    "dropped": "dropped by the generator",
    "lost_qos0": "lost: sent with QoS 0, never archived",
    "unsent": "neither sent nor given up",
    "unacknowledged": "unacknowledged, and not archived",
    "duplicated": "duplicated: in the stream more than once",
    "reordered": "reordered: overtaken in the stream",
    "unacknowledged_archived": "archived and applied, acknowledgement missing",
}

_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")


def verdict(run: RunFolder) -> Html:
    summary = run.summary
    first = [OVERLOADED] if summary.run.verdict == "generator_overloaded" else []
    reasons = [tag("li", text) for text in [*first, *summary.run.reasons]]
    where = (
        f"{summary.run.scenario} on {summary.run.target}, seed {summary.run.seed},"
        f" {moment_text(summary.run.started)}, {length_text(summary.run.wall_s)}, "
    )
    name = tag("span", f"run {summary.run.id}", class_="whole")
    return tag(
        "header",
        tag("p", "fleet-sim run report", class_="eyebrow"),
        tag("h1", VERDICTS[summary.run.verdict]),
        tag("ul", *reasons, class_="reasons") if reasons else "",
        tag("p", where, name, class_="where"),
        class_=f"verdict {'good' if summary.run.verdict == 'passed' else 'bad'}",
    )


def key_figures(run: RunFolder) -> Html:
    s = run.summary
    generator = s.generator
    ack = s.metrics.get("latency_ms{stage:acknowledged}", {}).get("p95")
    visible = s.metrics.get("latency_ms{stage:visible}", {}).get("p95")
    tiles = [
        ("connected", f"{generator.connected:,} / {generator.vehicles:,}", "vehicles"),
        ("sent", f"{generator.sent:,}", f"of {due(generator):,} messages due"),
        ("acknowledged", f"{generator.acknowledged:,}", "messages"),
        ("sent late", f"{generator.late:,}", "messages"),
    ]
    if s.audit is not None:
        tiles.append(("unexplained", f"{s.audit.unexplained:,}", "messages; must be 0"))
    tiles.append(("acknowledged, p95", ms_text(ack), "after the intended time"))
    if visible is not None:
        tiles.append(("visible at the API, p95", ms_text(visible), "after the intended time"))
    if s.accuracy is not None:
        tiles.append(("map accuracy", share(s.accuracy.accuracy), "of the spots it knows"))
    items = [
        tag("div", tag("dt", name), tag("dd", tag("strong", value), " ", tag("span", unit)))
        for name, value, unit in tiles
    ]
    return tag("section", tag("dl", *items, class_="tiles"), aria_label="Key figures")


def thresholds(run: RunFolder) -> Html:
    rows = [
        (
            metric_name(t.metric),
            metric_name(t.condition),
            "not measured" if t.observed is None else f"{t.observed:,.6g}",
            tag("span", "passed" if t.passed else "FAILED", class_="ok" if t.passed else "broken"),
        )
        for t in run.summary.thresholds
    ]
    if not rows:
        return section("thresholds", "Thresholds", missing("The scenario sets none."))
    head = ("metric", "condition", "observed", "result")
    return section(
        "thresholds",
        "Thresholds",
        table("Conditions and what was observed", head, rows, numbers_from=2),
    )


def happened(run: RunFolder) -> Html:
    return section(
        "happened",
        "What happened, on one time axis",
        _happened(run.summary),
        timeline.happened(run),
    )


def _happened(summary: Summary) -> Html:
    """Phases and events in words: the charts only shade them."""
    spans: list[tuple[str, float, float | None]] = [
        (f"phase: {p.name}", p.start_s, p.end_s) for p in summary.phases
    ]
    spans += [(f"{e.kind}: {e.text}", e.t_s, e.end_s) for e in summary.events]
    rows = [
        (text, clock_text(start), "" if end is None else clock_text(end))
        for text, start, end in sorted(spans, key=lambda span: span[1])
    ]
    if not rows:
        return missing("The run recorded no phases and no events.")
    return table("Phases and events", ("what", "from (min:s)", "to (min:s)"), rows)


def latency(run: RunFolder) -> Html:
    return section(
        "latency",
        "Latency by stage",
        lines.percentile_plot(run),
        stage_table(run.summary.metrics),
        *heat.figures(run.grids),
        timeline.median_over_time(run),
        tag("p", clock_said(run.summary.clock)) if run.summary.clock else "",
    )


def stage_table(metrics: Mapping[str, MetricStats]) -> Html:
    names = {stage: f"latency_ms{{stage:{stage}}}" for stage in STAGES}
    names["acknowledged, from the send"] = "service_ms{stage:acknowledged}"
    rows = []
    notes = []
    for label, name in names.items():
        stats = metrics.get(name)
        if stats is None or not stats.get("count"):
            continue
        values = [ms_text(stats.get(key)) for key in ("min", "mean", *_PERCENTILES, "max")]
        rows.append((label, f"{stats['count']:,.0f}", *values))
        for key, text in (("negative", "negative"), ("out_of_range", "above one hour")):
            if stats.get(key):
                notes.append(tag("p", f"{label}: {stats[key]:,.0f} {text}, left out of the table."))
    if not rows:
        return missing("No stage has a latency.")
    head = ("stage", "messages", "min", "mean", *_PERCENTILES, "max")
    return tag("div", table("Latency from the intended time", head, rows), *notes)


def audit(run: RunFolder) -> Html:
    report = run.summary.audit
    if report is None:
        sentence = "The run ended before its messages could be audited."
        return section("audit", "Audit", missing(sentence))
    total = report.messages or 1
    rows = [
        (FATES.get(fate, fate), f"{count:,}", f"{100 * count / total:.2f} %")
        for fate, count in report.fates.items()
    ]
    counts = [
        ("sent", report.sent),
        ("acknowledged", report.acknowledged),
        ("archived", report.archived),
        ("applied", report.applied),
        ("duplicated", report.duplicated),
        ("reordered", report.reordered),
        ("unacknowledged", report.unacknowledged),
        ("phantom", report.phantom),
        ("archive lines written twice by a retry (harmless)", report.rearchived),
        ("vehicles whose newest state is not the newest applied", report.newest_mismatch),
        *((f"dropped: {cause.replace('_', ' ')}", n) for cause, n in report.dropped.items()),
        ("problems with an explanation", report.explained),
        ("problems without one", report.unexplained),
    ]
    said = (
        tag("p", "Every message is accounted for.", class_="ok")
        if report.unexplained == 0
        else tag("p", f"{report.unexplained:,} messages have no explanation.", class_="broken")
    )
    return section(
        "audit",
        "Audit",
        said,
        tag(
            "div",
            table("The one fate of each message", ("fate", "messages", "share"), rows),
            table(
                "Counts",
                ("what", "messages"),
                [(name, "not audited" if n is None else f"{n:,}") for name, n in counts],
            ),
            class_="pair",
        ),
        _stories(run.summary),
    )


def _stories(summary: Summary) -> Html:
    stories = summary.audit.stories if summary.audit else []
    if not stories:
        return missing("No message has a story to tell.")
    rows = [
        (
            tag("code", story.vin),
            f"{story.seq:,}",
            story.fate.replace("_", " "),
            story.explanation or tag("span", "unexplained", class_="broken"),
            ", ".join(story.known),
        )
        for story in stories
    ]
    head = ("vehicle", "message", "fate", "explanation", "what is known")
    said = "Story of one message" if len(rows) == 1 else f"Stories of {len(rows)} messages"
    return tag(
        "details",
        tag("summary", f"{said}, those without an explanation first"),
        table("Problem messages", head, rows, numbers_from=9),
        open="" if any(not story.explanation for story in stories) else None,
    )


def parking_map(run: RunFolder) -> Html:
    score, audit = run.summary.accuracy, run.summary.audit
    if isinstance(run.city, str) and audit is not None and audit.archived is None:
        sentence = "A broker alone has no parking map: this run had no cloud behind it."
        return section("map", "Parking map against the truth", missing(sentence))
    drawn = missing(run.city) if isinstance(run.city, str) else city.figure(run.city, run.history)
    if score is None:
        figures = missing("The map was not compared with the truth.")
    else:
        c = score.confusion
        figures = tag(
            "div",
            table(
                "Spots by truth and answer",
                ("truth", "API: free", "API: occupied", "API: unknown"),
                [
                    (
                        truth,
                        *(f"{c[f'{truth}_{api}']:,}" for api in ("free", "occupied", "unknown")),
                    )
                    for truth in ("free", "occupied")
                ],
            ),
            table(
                "How right the map is",
                ("measure", "value"),
                [
                    ("accuracy, of the known spots", share(score.accuracy)),
                    ("coverage: spots that are known", share(score.coverage)),
                    ("free: precision", share(score.free.precision)),
                    ("free: recall", share(score.free.recall)),
                    ("occupied: precision", share(score.occupied.precision)),
                    ("occupied: recall", share(score.occupied.recall)),
                    ("Brier score (0 is best)", f"{score.brier:.3f}"),
                    ("calibration error (0 is best)", f"{score.calibration_error:.3f}"),
                    (
                        "median age of a spot's newest observation",
                        "–" if score.staleness_s is None else f"{score.staleness_s:.0f} s",
                    ),
                ],
            ),
            class_="pair",
        )
    return section("map", "Parking map against the truth", drawn, figures)


def scenario(run: RunFolder) -> Html:
    shown = (
        missing("The run folder has no scenario.yaml.")
        if run.scenario is None
        else tag("pre", tag("code", run.scenario), tabindex=0, aria_label="Scenario as it was run")
    )
    command = run.summary.run.command
    again = tag("pre", tag("code", command), tabindex=0) if command else missing("Not recorded.")
    return section("scenario", "Scenario", shown, tag("h3", "Run it again"), again)


def environment(run: RunFolder) -> Html:
    e = run.summary.environment
    rows = [("Python", e.python), ("platform", e.platform), ("CPUs", str(e.cpus))]
    rows += list(e.versions.items())
    return section(
        "environment",
        "Environment",
        table("Where the generator ran", ("what", "value"), rows, numbers_from=9),
    )


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
