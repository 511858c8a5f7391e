"""Line charts as SVG: drawn twice, for a wide and a narrow page, so that text keeps its size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.report.axes import Scale
from fleet_sim.report.html import Html, data, join, tag

FloatArray = NDArray[np.float64]

COLOURS = 6
"""Classes `c0` to `c5` of `report.css`."""

_STRIP = 18
_CHAR_PX = 6.3


@dataclass(frozen=True)
class Line:
    """`y` has the chart's number of points; NaN is a gap."""

    label: str
    y: FloatArray
    colour: int
    """Index of the palette, 0-5."""
    under: bool = False
    """Drawn broad and pale, for others to lie on."""


class Band(NamedTuple):
    """A span of the x axis with a name: a phase, a fault."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Lines over a common x. `x_scale` and `y_scale` take the number of ticks that fit."""

    id: str
    title: str
    caption: str
    x: FloatArray
    lines: Sequence[Line]
    x_label: str
    y_label: str
    x_scale: Callable[[int], Scale]
    y_scale: Callable[[int], Scale]
    x_text: Callable[[float], str]
    """An x in a tooltip."""
    y_text: Callable[[float], str]
    phases: Sequence[Band] = field(default=())
    faults: Sequence[Band] = field(default=())
    axis: str = ""
    """Charts of one name have the same x axis: the cursor of one is that of all."""
    named: bool = True
    """Whether phases and faults have their names above the plot; shading they always have."""
    height: int = 270


class _Frame(NamedTuple):
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: int
    y_ticks: int

    def x(self, share: float) -> float:
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def figure(chart: Chart) -> Html:
    """The chart with its title, legend, both drawings and the data for its tooltips."""
    strips = _STRIP * (bool(chart.phases) + bool(chart.faults)) if chart.named else 0
    ticks = 5 if chart.height > 200 else 3
    wide = _Frame(920, chart.height + strips, 62, 22, 26 + strips, 42, 10, ticks)
    narrow = _Frame(380, chart.height - 20 + strips, 52, 20, 26 + strips, 42, 5, ticks)
    legend = [
        tag("li", _swatch(line), " ", line.label) for line in chart.lines if len(chart.lines) > 1
    ]
    return tag(
        "figure",
        tag("h3", chart.title, id=f"{chart.id}-title"),
        tag("ul", *legend, class_="legend") if legend else "",
        tag(
            "div",
            _svg(chart, wide, "wide"),
            _svg(chart, narrow, "narrow"),
            tag("div", class_="tip", role="status", hidden=""),
            class_="plot",
            tabindex=0,
            role="group",
            aria_labelledby=f"{chart.id}-title",
            aria_describedby=f"{chart.id}-caption",
        ),
        tag("figcaption", chart.caption, id=f"{chart.id}-caption"),
        data(_tooltips(chart)),
        class_="chart",
        id=chart.id,
        data_axis=chart.axis or None,
    )


def _tooltips(chart: Chart) -> dict[str, object]:
    scale = chart.x_scale(1)
    return {
        "at": [round(scale.place(x), 5) for x in chart.x.tolist()],
        "x": [chart.x_text(x) for x in chart.x.tolist()],
        "lines": [
            {
                "label": line.label,
                "colour": line.colour,
                "y": [None if math.isnan(y) else chart.y_text(y) for y in line.y.tolist()],
            }
            for line in chart.lines
        ],
    }


def _line_class(line: Line) -> str:
    return f"line c{line.colour % COLOURS}{' under' if line.under else ''}"


def _swatch(line: Line) -> Html:
    stroke = tag("line", x1=1, x2=25, y1=5, y2=5, class_=_line_class(line))
    return tag("svg", stroke, width=26, height=10, aria_hidden="true")


def _svg(chart: Chart, frame: _Frame, variant: str) -> Html:
    x_scale, y_scale = chart.x_scale(frame.x_ticks), chart.y_scale(frame.y_ticks)
    bottom = frame.y(0)
    strip = _STRIP if chart.named else 0
    above = frame.top - strip * (1 + bool(chart.faults))
    parts: list[Html] = [
        *_bands(chart.phases, frame, x_scale, above, "phase", chart.named),
        *_bands(chart.faults, frame, x_scale, frame.top - strip, "fault", chart.named),
    ]
    for value, label in y_scale.ticks:
        y = _px(frame.y(y_scale.place(value)))
        parts.append(tag("line", x1=frame.left, x2=_px(frame.x(1)), y1=y, y2=y, class_="grid"))
        parts.append(tag("text", label, x=frame.left - 7, y=y, dy="0.35em", class_="tick end"))
    for value, label in x_scale.ticks:
        x = _px(frame.x(x_scale.place(value)))
        parts.append(tag("line", x1=x, x2=x, y1=_px(bottom), y2=_px(bottom + 5), class_="axis"))
        parts.append(tag("text", label, x=x, y=_px(bottom + 17), class_="tick middle"))
    parts.append(
        tag(
            "line", x1=frame.left, x2=_px(frame.x(1)), y1=_px(bottom), y2=_px(bottom), class_="axis"
        )
    )
    parts.append(tag("text", chart.y_label, x=2, y=13, class_="label"))
    parts.append(
        tag("text", chart.x_label, x=_px(frame.x(1)), y=frame.height - 6, class_="label end")
    )
    for line in chart.lines:
        points = _points(chart.x, line.y, frame, x_scale, y_scale)
        parts.append(tag("path", d=points, class_=_line_class(line)))
    parts.append(tag("line", x1=0, x2=0, y1=frame.top, y2=_px(bottom), class_="cursor"))
    return tag(
        "svg",
        *parts,
        class_=variant,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        aria_label=f"{chart.title}. {chart.caption}",
        data_left=frame.left,
        data_span=frame.width - frame.left - frame.right,
        data_width=frame.width,
    )


def _bands(
    bands: Sequence[Band], frame: _Frame, scale: Scale, label_y: float, kind: str, named: bool
) -> list[Html]:
    """Shading through the plot, and the name above it, cut or left out where it does not fit."""
    parts: list[Html] = []
    free_from = -math.inf
    for i, band in enumerate(bands):
        start, end = (min(max(scale.place(v), 0.0), 1.0) for v in (band.start, band.end))
        left, right = frame.x(start), frame.x(end)
        if right < left or band.start > band.end:
            continue
        odd = " odd" if i % 2 else ""
        shade = tag(
            "rect",
            x=_px(left),
            y=_px(label_y),
            width=_px(max(right - left, 1.0)),
            height=_px(frame.y(0) - label_y),
            class_=f"{kind}{odd}",
        )
        parts.append(tag("g", tag("title", f"{kind}: {band.label}"), shade))
        # A fault is often shorter than its name, which may run on to the right of it.
        room = (right if kind == "phase" else frame.x(1)) - left
        text = _fit(band.label, room - 8)
        if named and text and left >= free_from:
            parts.append(
                tag("text", text, x=_px(left + 4), y=_px(label_y + 13), class_=f"{kind}-name")
            )
            free_from = left + 8 + _CHAR_PX * len(text)
    return parts


def _fit(text: str, room_px: float) -> str:
    fits = int(room_px / _CHAR_PX)
    if len(text) <= fits:
        return text
    return f"{text[: fits - 1]}…" if fits >= 4 else ""


def _points(x: FloatArray, y: FloatArray, frame: _Frame, x_scale: Scale, y_scale: Scale) -> str:
    """Path data; a gap starts a new piece, and a point between two gaps becomes a dot."""
    pieces: list[str] = []
    pen = "M"
    known = ~np.isnan(y)
    for i, (x_i, y_i) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        if not known[i]:
            pen = "M"
            continue
        at = f"{frame.x(x_scale.place(x_i)):.1f} {frame.y(y_scale.place(y_i)):.1f}"
        lonely = pen == "M" and (i + 1 == len(y) or not known[i + 1])
        pieces.append(f"{pen}{at}{'h0' if lonely else ''}")
        pen = "L"
    return "".join(pieces)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def thin(
    x: FloatArray, lines: Sequence[FloatArray], most: int
) -> tuple[FloatArray, list[FloatArray], int]:
    """At most `most` points, each the maximum of `every` neighbours: peaks are never lost.

    Returns x, the lines and `every` (1 when nothing was thinned).
    """
    every = -(-len(x) // most) if len(x) else 1
    if every <= 1:
        return x, list(lines), 1
    starts = np.arange(0, len(x), every)
    return x[starts], [np.fmax.reduceat(line, starts) for line in lines], every


def figures(charts: Sequence[Chart]) -> Html:
    return join(figure(chart) for chart in charts)
