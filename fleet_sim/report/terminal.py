"""What a terminal shows when a run is over."""

from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fleet_sim.measure.clock import said as clock_said
from fleet_sim.measure.stages import STAGES
from fleet_sim.measure.summary import Summary
from fleet_sim.report.axes import length_text, ms_text
from fleet_sim.report.cost import cost_text
from fleet_sim.report.sections import VERDICTS, share
from fleet_sim.report.trust import OVERLOADED

_PERCENTILES = ("p50", "p95", "p99", "max")


def summary_table(summary: Summary, html: Path | None = None) -> RenderableType:
    """Verdict, connections, throughput, latency, audit and thresholds; `html`: where the report
    is. Nothing in it is read as rich's markup.
    """
    colour = "green" if summary.run.verdict == "passed" else "red"
    parts: list[RenderableType] = [Text(VERDICTS[summary.run.verdict], style=f"bold {colour}")]
    if summary.run.verdict == "generator_overloaded":
        parts.append(Text(OVERLOADED, style=colour))
    parts += [Text(f"· {reason}", style=colour) for reason in summary.run.reasons]
    parts += [Text(), _facts(summary), Text(), _latency(summary)]
    if summary.thresholds:
        parts += [Text(), _thresholds(summary)]
    if html is not None:
        parts += [Text(), Text(f"report: {html}", overflow="fold")]
    title = Text(f"{summary.run.scenario} · {summary.run.target} · seed {summary.run.seed}")
    return Panel(
        Group(*parts), title=title, title_align="left", border_style=colour, padding=(0, 1)
    )


def _facts(summary: Summary) -> Table:
    g = summary.generator
    # Over the phases: nothing is due in the drain that follows them.
    span_s = max((phase.end_s for phase in summary.phases), default=summary.run.wall_s)
    rate = g.sent / span_s if span_s > 0 else 0.0
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row(
        "connected", _flag(f"{g.connected:,} of {g.vehicles:,} vehicles", g.connected < g.vehicles)
    )
    table.add_row(
        "messages",
        f"{g.scheduled:,} due, {g.sent:,} sent, {g.acknowledged:,} acknowledged,"
        f" {g.dropped:,} dropped, {g.late:,} late"
        + (f", {g.not_offered:,} not offered" if g.not_offered else ""),
    )
    table.add_row("throughput", f"{rate:,.0f} messages/s over {length_text(span_s)}")
    audit = summary.audit
    if audit is None:
        table.add_row("audit", _flag("none: the run ended before it", True))
    else:
        counts = [
            (name, count)
            for name, count in (
                ("archived", audit.archived),
                ("applied", audit.applied),
                ("lost", audit.lost),
                ("duplicated", audit.duplicated),
                ("reordered", audit.reordered),
            )
            if count is not None
        ]
        text = Text(", ".join(f"{count:,} {name}" for name, count in counts) + ", ")
        text.append(_flag(f"{audit.unexplained:,} unexplained", audit.unexplained > 0))
        table.add_row("audit", text)
    if summary.clock is not None:
        table.add_row("clock", clock_said(summary.clock))
    if summary.cost is not None:
        table.add_row("cost", cost_text(summary.cost))
    if summary.accuracy is not None:
        a = summary.accuracy
        table.add_row("map", f"{share(a.accuracy)} right, {share(a.coverage)} known")
    return table


def _latency(summary: Summary) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("latency")
    for name in ("messages", *_PERCENTILES):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in STAGES:
        stats = summary.metrics.get(f"latency_ms{{stage:{stage}}}", {})
        if stats.get("count"):
            values = [ms_text(stats.get(key)) for key in _PERCENTILES]
            table.add_row(stage, f"{stats['count']:,.0f}", *values)
    return table if table.row_count else Text("no latency was measured", style="dim")


def _thresholds(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for threshold in summary.thresholds:
        observed = "not measured" if threshold.observed is None else f"{threshold.observed:,.6g}"
        mark = Text("passed", "green") if threshold.passed else Text("FAILED", "bold red")
        table.add_row(mark, Text(f"{threshold.metric}: {threshold.condition}"), observed)
    return table


def _flag(text: str, bad: bool) -> Text:
    return Text(text, style="bold red" if bad else "")
