"""A comparison for people: lines for a terminal, and an HTML file that opens offline."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from rich.text import Text

from fleet_sim.measure.compare import Row, judged
from fleet_sim.report import axes
from fleet_sim.report.charts import Chart, Line, figure
from fleet_sim.report.compare import WORDS, Comparison, Side
from fleet_sim.report.folder import RunFolder
from fleet_sim.report.html import Html, join, metric_name, missing, section, table, tag
from fleet_sim.report.lines import at_quantiles, latency_scale, nines
from fleet_sim.report.render import document

MEANING = (
    "An interval says what another drawing of the same runs' seconds could have given: blocks of"
    " time, each phase from its own. It does not know of other machines, other days, or a cloud"
    " that was in another mood. Of twenty intervals at 95 %, one misses its mark."
)


def terminal(found: Comparison) -> Iterator[Text]:
    """Lines for a terminal of 80 columns: a figure's name, then a line each aggregate."""
    cells = [
        (
            row.aggregate,
            value_text(row, row.a),
            value_text(row, row.b),
            difference_text(row),
            interval_text(row),
        )
        for row in found.rows
    ]
    head = ("", "A", "B", "difference", f"{100 * found.confidence:.4g} % interval")
    wide = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]

    def line(texts: Sequence[str], word: str) -> str:
        first, *rest = (f"{text:>{w}}" if i else f"{text:<{w}}" for i, (text, w) in
                        enumerate(zip(texts, wide, strict=True)))  # fmt: skip
        return " ".join([f" {first}", *rest, word]).rstrip()

    yield Text(line(head, ""), style="dim")
    name = ""
    for row, texts in zip(found.rows, cells, strict=True):
        if row.name != name:
            name = row.name
            yield Text(name, style="bold")
        style = {"worse": "red", "better": "green"}.get(row.judgement, "")
        word = row.judgement if style else ""
        yield Text(line(texts, word), style=style)
    yield Text("No word: no difference shown, or no interval (–).", style="dim")


def headline(found: Comparison) -> str:
    """How it came out, in a sentence."""
    counts = judged(found.rows)
    if not counts["worse"] and not counts["better"] and not counts["same"]:
        return "Nothing can be said: the runs are too short for intervals."
    if counts["worse"] or counts["better"]:
        parts = [f"{counts[w]} worse" for w in ("worse",) if counts[w]]
        parts += [f"{counts[w]} better" for w in ("better",) if counts[w]]
        return f"B against A: {', '.join(parts)}, {counts['same']} without a difference shown."
    return f"No difference shown in {counts['same']} figures."


def page(found: Comparison, a: RunFolder, b: RunFolder) -> str:
    """The whole document."""
    doubts = [tag("li", text) for text in found.doubts]
    worse = any(row.judgement == "worse" for row in found.rows)
    body = join(
        [
            tag(
                "header",
                tag("p", "fleet-sim comparison", class_="eyebrow"),
                tag("h1", headline(found)),
                tag("ul", *doubts, class_="reasons") if doubts else "",
                tag("p", f"A: {_about(found.a)}", _name(found.a), class_="where"),
                tag("p", f"B: {_about(found.b)}", _name(found.b), class_="where"),
                class_=f"verdict {'bad' if worse else 'good'}",
            ),
            tag(
                "main",
                section("figures", "Figures", _table(found), tag("p", MEANING)),
                section("percentiles", "Latency by percentile", *_plots(a, b)),
            ),
        ]
    )
    return document("Comparison of two runs", body)


def _about(side: Side) -> str:
    return (
        f"{side.scenario} on {side.target}, seed {side.seed}, {side.vehicles:,} vehicles,"
        f" {side.messages:,} messages, {side.verdict.replace('_', ' ')}, "
    )


def _name(side: Side) -> Html:
    return tag("span", f"run {side.id}", class_="whole")


def _table(found: Comparison) -> Html:
    widest = max((abs(v) for row in found.rows for v in _shares(row)), default=0.0)
    rows = []
    for row in found.rows:
        word = {"worse": "broken", "better": "ok"}.get(row.judgement)
        rows.append(
            (
                join([metric_name(row.name), f" {row.aggregate}"]),
                value_text(row, row.a),
                value_text(row, row.b),
                difference_text(row),
                interval_text(row),
                _bar(row, min(widest, 1.0)),
                tag("span", WORDS[row.judgement], class_=word),
            )
        )
    caption = (
        f"B minus A, with the {100 * found.confidence:.4g} % interval from {found.rounds:,}"
        f" drawings of blocks of {found.block_s:g} s ({found.a.blocks} of A, {found.b.blocks} of B)"
    )
    head = ("figure", "A", "B", "difference", "interval", "of A, in %", "")
    return table(caption, head, rows)


def _shares(row: Row) -> list[float]:
    if row.low is None or row.high is None or not row.a:
        return []
    return [row.low / abs(row.a), row.high / abs(row.a)]


def _bar(row: Row, widest: float) -> Html:
    """The interval on a scale that all rows share; cut off at 100 %."""
    ends = _shares(row)
    if not ends or not widest:
        return Html("")
    low, high = (60 + 56 * max(-1.0, min(1.0, v / widest)) for v in ends)
    text = f"{100 * ends[0]:+.1f} % to {100 * ends[1]:+.1f} %"
    colour = {"worse": "bad", "better": "good"}.get(row.judgement, "soft")
    return tag(
        "svg",
        tag("line", x1=60, x2=60, y1=1, y2=13, class_="axis"),
        tag(
            "line",
            x1=f"{low:.1f}",
            x2=f"{max(high, low + 1):.1f}",
            y1=7,
            y2=7,
            class_=f"bar {colour}",
        ),
        width=120,
        height=14,
        role="img",
        aria_label=text,
    )


def _plots(a: RunFolder, b: RunFolder) -> list[Html]:
    stages = [s for s in a.percentiles if s in b.percentiles]
    if not stages:
        return [missing("No stage is in both runs.")]
    return [_plot(stage, a, b) for stage in stages]


def _plot(stage: str, a: RunFolder, b: RunFolder) -> Html:
    both = [a.percentiles[stage], b.percentiles[stage]]
    most = max(nines(p) for p in both)
    x = 10.0 ** np.arange(0, most + 1e-9, 0.05)
    columns = [at_quantiles(p, 1 - 1 / x) for p in both]
    scale, text = latency_scale(columns)
    labels = axes.percentile_labels()
    return figure(
        Chart(
            f"percentiles-{stage}",
            stage,
            "From the intended time; both axes are logarithmic.",
            x,
            [Line(name, y, k) for k, (name, y) in enumerate(zip("AB", columns, strict=True))],
            "percentile",
            "latency",
            partial(_quantile_scale, 10.0**most, labels),
            scale,
            axes.percentile_text,
            text,
        )
    )


def _quantile_scale(high: float, labels: list[str], ticks: int) -> axes.Scale:
    return axes.quantiles(high, labels, ticks)


def value_text(row: Row, value: float | None) -> str:
    """A value of the row in its unit."""
    if value is None:
        return "–"
    if row.unit == "ms":
        return axes.ms_text(value)
    if row.unit in ("of messages", "share") or row.name.startswith("occupancy_"):
        return f"{100 * value:.3g} %" if "brier" not in row.name else f"{value:.3f}"
    return f"{value:,.6g}"


def difference_text(row: Row) -> str:
    if row.difference is None:
        return "–"
    text = _signed(row, row.difference)
    if row.a and row.difference and row.unit in ("ms", "messages/s"):
        change = row.difference / abs(row.a)
        # Ten times as much and more is no percentage that anybody reads.
        said = f"{100 * change:+.1f} %".replace("-", "−") if change < 9 else f"×{change + 1:.0f}"
        text += f" ({said})"
    return text


def _signed(row: Row, change: float) -> str:
    """With its sign, unless nothing is left of it; shares differ by points."""
    text = value_text(row, abs(change)).replace(" %", " points")
    if not any(digit in text for digit in "123456789"):
        return "0"
    return f"{'−' if change < 0 else '+'}{text}"


def interval_text(row: Row) -> str:
    if row.low is None or row.high is None:
        return "–"
    return " to ".join(_signed(row, v) for v in (row.low, row.high))
