"""Latency over time as a heat map: how many messages took how long, by when they were due.

A percentile by the second hides two populations behind one line; here both are seen.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.grid import BINS_AN_OCTAVE, edges_ms, quantiles_ms
from fleet_sim.report import axes
from fleet_sim.report.html import Html, missing, table, tag
from fleet_sim.report.ledger import LedgerGrids

MOST_COLUMNS = 120
BINS_A_ROW = BINS_AN_OCTAVE // 4
LEVELS = 6
"""Classes `h0` to `h5` of `report.css`, faint to strong."""
TABLE_ROWS = 12
KNOWN_SHARE = 0.5


class _Cells(NamedTuple):
    counts: NDArray[np.int64]
    """`[columns, rows]`, rows from the fastest"""
    first_bin: int
    slots_a_column: int


def figures(grids: LedgerGrids | str) -> list[Html]:
    """One of the acknowledgement, and one of the last stage that is known of most messages: that
    of the few which a probe saw would be a scatter of dots."""
    if isinstance(grids, str):
        return [missing(f"Latency over time: no heat map. {grids}")]
    known = {stage: int(g.counts.sum()) for stage, g in grids.stages.items()}
    last = [
        stage
        for stage in ("stream", "processed", "visible")
        if known.get(stage, 0) >= max(1, KNOWN_SHARE * grids.rows)
    ][-1:]
    stages = [s for s in ("acknowledged", *last) if s in grids.stages]
    if not stages:
        return [missing("Latency over time: no heat map. No message was acknowledged.")]
    return [_figure(stage, grids) for stage in stages]


def _figure(stage: str, grids: LedgerGrids) -> Html:
    cells = _cells(grids.stages[stage].counts)
    title = f"Latency over time: {stage}"
    column_s = cells.slots_a_column * grids.slot_s
    caption = (
        f"From the intended time, by when messages were due; a column is {column_s:g} s. The"
        " stronger a cell's colour, the more messages took so long: from one to"
        f" {int(cells.counts.max()):,}, in equal steps of the logarithm."
    )
    swatches = [tag("span", class_=f"chip h{level}") for level in range(LEVELS)]
    return tag(
        "figure",
        tag("h3", title, id=f"heat-{stage}-title"),
        tag("ul", tag("li", "one ", *swatches, " many messages"), class_="legend"),
        tag(
            "div",
            _svg(title, cells, grids, (920, 300, 62, 22, 10), "wide"),
            _svg(title, cells, grids, (380, 250, 52, 20, 5), "narrow"),
            class_="plot",
        ),
        tag("figcaption", caption),
        tag("details", tag("summary", "As a table"), _table(stage, grids)),
        class_="heat",
        id=f"heat-{stage}",
    )


def _cells(counts: NDArray[np.int64]) -> _Cells:
    slots = len(counts)
    per = -(-slots // MOST_COLUMNS)
    by_column = np.add.reduceat(counts, np.arange(0, slots, per), axis=0)
    used = np.flatnonzero(by_column.any(axis=0))
    # Whole rows, from one that begins at a multiple: bin 1 is where a microsecond begins.
    first = max((int(used[0]) - 1) // BINS_A_ROW * BINS_A_ROW + 1, 0) if len(used) else 1
    last = int(used[-1]) + 1 if len(used) else first + 1
    rows = np.add.reduceat(by_column[:, first:last], np.arange(0, last - first, BINS_A_ROW), axis=1)
    return _Cells(rows, first, per)


def _svg(
    title: str,
    cells: _Cells,
    grids: LedgerGrids,
    frame: tuple[int, int, int, int, int],
    variant: str,
) -> Html:
    width, height, left, right, ticks = frame
    top, bottom = 22, 42
    columns, rows = cells.counts.shape
    across = (width - left - right) / columns
    up = (height - top - bottom) / rows
    floor = height - bottom
    level = _levels(cells.counts)
    parts = [
        tag("path", d=_rects(level == k, left, floor, across, up), class_=f"cell h{k}")
        for k in range(LEVELS)
    ]
    edges = edges_ms()
    octaves = rows * BINS_A_ROW / BINS_AN_OCTAVE
    low_ms = max(float(edges[cells.first_bin]), 1e-3)
    power = int(np.ceil(np.log10(low_ms) - 1e-9))
    while (share := np.log2(10.0**power / low_ms) / octaves) <= 1:
        y = round(floor - share * (floor - top), 1)
        parts.append(tag("line", x1=left - 5, x2=left, y1=y, y2=y, class_="axis"))
        label = axes.ms_tick(10.0**power)
        parts.append(tag("text", label, x=left - 7, y=y, dy="0.35em", class_="tick end"))
        power += 1
    span_s = columns * cells.slots_a_column * grids.slot_s
    scale = axes.clock(0.0, span_s, ticks)
    for value, label in scale.ticks:
        x = round(left + scale.place(value) * (width - left - right), 1)
        parts.append(tag("line", x1=x, x2=x, y1=floor, y2=floor + 5, class_="axis"))
        parts.append(tag("text", label, x=x, y=floor + 17, class_="tick middle"))
    parts.append(tag("text", "latency", x=2, y=13, class_="label"))
    along = "time since the first phase began (min:s)"
    parts.append(tag("text", along, x=width - right, y=height - 6, class_="label end"))
    return tag(
        "svg",
        *parts,
        class_=variant,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"{title}: a heat map. The table below it has percentiles by time.",
    )


def _levels(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """-1 where there is no message, else 0 to `LEVELS - 1` by the logarithm of the count."""
    most = max(float(counts.max()), 2.0)
    share = np.log(np.maximum(counts, 1)) / np.log(most)
    found: NDArray[np.int64] = np.minimum((share * LEVELS).astype(np.int64), LEVELS - 1)
    return np.where(counts > 0, found, -1)


def _rects(mask: NDArray[np.bool_], left: float, floor: float, across: float, up: float) -> str:
    """Path data; neighbours in a row are one rectangle. `mask`: [columns, rows]."""
    pieces = []
    for row in range(mask.shape[1]):
        edge = np.flatnonzero(np.diff(np.concatenate([[0], mask[:, row].view(np.int8), [0]])))
        y = floor - (row + 1) * up
        for begin, end in edge.reshape(-1, 2).tolist():
            x, wide = left + begin * across, (end - begin) * across
            pieces.append(f"M{x:.1f} {y:.1f}h{wide:.1f}v{up:.1f}h-{wide:.1f}z")
    return "".join(pieces)


def _table(stage: str, grids: LedgerGrids) -> Html:
    counts = grids.stages[stage].counts
    per = -(-len(counts) // TABLE_ROWS)
    starts = np.arange(0, len(counts), per)
    by_row = np.add.reduceat(counts, starts, axis=0).astype(np.float64)
    found = quantiles_ms(by_row, np.array([0.5, 0.95, 0.99, 1.0]))
    rows = [
        (
            axes.clock_text(float(start) * grids.slot_s),
            f"{int(counted.sum()):,}",
            *(axes.ms_text(float(value)) for value in values),
        )
        for start, counted, values in zip(starts, by_row, found, strict=True)
    ]
    head = ("from (min:s)", "messages", "p50", "p95", "p99", "max")
    return table(f"Latency of {stage} over time, within 1.1 %", head, rows)
