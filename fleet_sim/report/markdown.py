"""A run in a page of Markdown: what a CI job shows, such as GitHub's step summary."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fleet_sim.measure.stages import STAGES
from fleet_sim.measure.summary import Summary
from fleet_sim.report.axes import length_text, moment_text, ms_text
from fleet_sim.report.cost import cost_text
from fleet_sim.report.sections import VERDICTS, share
from fleet_sim.report.trust import OVERLOADED

_PERCENTILES = ("p50", "p95", "p99", "max")


def write_markdown(summary: Summary, path: Path | None, step_summary: str | None) -> None:
    """Write the page to `path`, and add it to GitHub's step summary, where they are given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(markdown(summary), encoding="utf-8")
    if step_summary:
        with Path(step_summary).open("a", encoding="utf-8") as file:
            file.write(markdown(summary) + "\n")


def markdown(summary: Summary) -> str:
    """Verdict, reasons, thresholds, latency and counts; names in it cannot become markup."""
    run, figures = summary.run, summary.generator
    mark = "✅" if run.verdict == "passed" else "❌"
    reasons = [*([OVERLOADED] if run.verdict == "generator_overloaded" else []), *run.reasons]
    lines = [
        f"## {mark} {_text(run.scenario)}: {VERDICTS[run.verdict]}",
        "",
        f"{_text(run.target)}, seed {run.seed}, {_text(moment_text(run.started))},"
        f" {length_text(run.wall_s)}, run {_text(run.id)}",
        "",
        *(f"- {_text(reason)}" for reason in reasons),
        *([""] if reasons else []),
    ]
    rows: list[tuple[str, str]] = [
        ("vehicles connected", f"{figures.connected:,} of {figures.vehicles:,}"),
        (
            "messages",
            f"{figures.scheduled:,} due, {figures.sent:,} sent, "
            f"{figures.acknowledged:,} acknowledged, {figures.dropped:,} dropped",
        ),
    ]
    if (audit := summary.audit) is not None:
        rows.append(("audit", f"{audit.lost:,} lost, **{audit.unexplained:,} unexplained**"))
    else:
        rows.append(("audit", "none: the run ended before it"))
    if (map_ := summary.accuracy) is not None:
        rows.append(("map", f"{share(map_.accuracy)} right, {share(map_.coverage)} known"))
    if summary.cost is not None:
        rows.append(("cost", cost_text(summary.cost)))
    lines += _table(("", ""), rows)
    if summary.thresholds:
        lines += _table(
            ("", "threshold", "observed"),
            [
                (
                    "✅" if t.passed else "❌",
                    _code(f"{t.metric}: {t.condition}"),
                    "not measured" if t.observed is None else f"{t.observed:,.6g}",
                )
                for t in summary.thresholds
            ],
        )
    latency = []
    for stage in STAGES:
        stats = summary.metrics.get(f"latency_ms{{stage:{stage}}}", {})
        if count := stats.get("count"):
            values = [ms_text(stats.get(key)) for key in _PERCENTILES]
            latency.append((stage, f"{count:,.0f}", *values))
    if latency:
        lines += _table(("latency", "messages", *_PERCENTILES), latency)
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _text(text: str) -> str:
    """Characters that mean something in Markdown or HTML stand for themselves."""
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()#+!|~" else c for c in text)
    return " ".join(escaped.replace("&", "&amp;").replace("<", "&lt;").split())


def _code(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").replace("|", "\\|").split()) + "`"
