"""Everything of a run that has a time, on one time axis."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.maphistory import tally
from fleet_sim.measure.stages import STAGES
from fleet_sim.report import axes
from fleet_sim.report.charts import Band, Chart, Line, figure, thin
from fleet_sim.report.folder import RunFolder, Series
from fleet_sim.report.html import Html, join, missing, table, tag
from fleet_sim.report.lines import latency_scale

FloatArray = NDArray[np.float64]

MOST_POINTS = 480
"""Of a line: about two pixels a point on a wide page."""

_TIME_LABEL = "time since the first phase began (min:s)"


class _Panel(NamedTuple):
    """One chart of the common time axis."""

    anchor: str
    title: str
    caption: str
    names: Mapping[str, str]
    """Label to the name in `timeseries.parquet`."""
    y_label: str
    log_ms: bool = False


_PANELS = (
    _Panel(
        "throughput-chart",
        "Messages a second",
        "Messages by the second in which they were due, were sent and were acknowledged.",
        {kind: f"rate{{kind:{kind}}}" for kind in ("scheduled", "sent", "acknowledged")},
        "messages / s",
    ),
    _Panel(
        "connections-chart",
        "Connected vehicles",
        "Vehicles with an open MQTT connection.",
        {"connected": "connected"},
        "vehicles",
    ),
    _Panel(
        "attempts-chart",
        "Attempts to connect",
        "Connections that vehicles began in that second: the storm after an outage.",
        {"attempts": "attempts"},
        "attempts / s",
    ),
    _Panel(
        "in-flight-chart",
        "Messages in flight",
        "Messages sent and not yet acknowledged, and messages that vehicles keep.",
        {"in flight": "in_flight", "kept": "stored"},
        "messages",
    ),
    _Panel(
        "lateness-chart",
        "Lateness",
        "The generator's own event loop, and how late messages were sent, whoever's fault it was.",
        {"event loop lag": "event_loop_lag_ms", "sent, p99": "latency_ms{stage:sent,q:p99}"},
        "late by",
        log_ms=True,
    ),
    _Panel(
        "latency-p95-chart",
        "Latency by stage, 95th percentile",
        "From the intended time, by the second in which messages were due. Logarithmic.",
        {stage: f"latency_ms{{stage:{stage},q:p95}}" for stage in STAGES},
        "p95 latency",
        log_ms=True,
    ),
)
_LAST = (
    _Panel(
        "occupancy-chart",
        "Occupied stalls",
        "Share of the stalls that are occupied, and of the spots that the map knows, how many it"
        " believes are.",
        {"truth": "occupancy{kind:truth}", "map": "occupancy{kind:map}"},
        "share",
    ),
    _Panel(
        "map-chart",
        "How right the map is",
        "Share of right answers among the spots that the map knows, and share of the spots that it"
        " knows.",
        {"right": "map{kind:accuracy}", "known": "map{kind:coverage}"},
        "share",
    ),
)
_CAMPAIGN = _Panel(
    "campaign-chart",
    "Vehicles of the update campaign",
    "In truth: that had begun, that run the new image, and whose new image has failed.",
    {kind: f"campaign{{kind:{kind}}}" for kind in ("started", "installed", "failed")},
    "vehicles",
)
_LOAD = (
    _Panel(
        "load-chart",
        "Users of the API and their requests",
        "Locust's users at a time, their HTTP requests a second, and how many of these failed.",
        {
            "users": "load_users",
            "requests / s": "load_rate{kind:requests}",
            "failed / s": "load_rate{kind:failed}",
        },
        "users, requests / s",
    ),
    _Panel(
        "load-latency-chart",
        "Latency of the API to its users",
        "HTTP requests by the second in which they ended. Logarithmic.",
        {"median": "load_ms{q:p50}", "95th percentile": "load_ms{q:p95}"},
        "latency",
        log_ms=True,
    ),
)


def happened(run: RunFolder) -> Html:
    """Everything that has a time, on one time axis; phases and faults have their names on top."""
    if isinstance(run.timeline, str):
        return missing(f"No charts. {run.timeline}")
    timeline = {**run.timeline, **_of_the_map(run)}
    middle = (_CAMPAIGN,) if run.summary.ota is not None else ()
    panels = [
        panel
        for panel in (*_PANELS, *_LOAD, *middle, *_LAST)
        if any(name in timeline for name in panel.names.values())
    ]
    span = _span(run, timeline, panels)
    charts = [
        _over_time(run, timeline, panel, span, "time", named=i == 0)
        for i, panel in enumerate(panels)
    ]
    return join([*charts, _in_numbers(run, timeline, panels)])


def _in_numbers(run: RunFolder, timeline: Mapping[str, Series], panels: Sequence[_Panel]) -> Html:
    """The charts' figures by phase, for who sees no chart."""
    phases = run.summary.phases
    if not phases:
        return Html("")
    rows = []
    for panel in panels:
        for label, name in panel.names.items():
            if name not in timeline:
                continue
            t_s, value = timeline[name]
            _, text = _scale_of(panel)([value])
            cells = []
            for phase in phases:
                there = value[(t_s >= phase.start_s) & (t_s < phase.end_s)]
                there = there[~np.isnan(there)]
                if not len(there):
                    cells.append("–")
                else:
                    low, middle, high = there.min(), np.median(there), there.max()
                    cells.append(f"{text(low)} · {text(middle)} · {text(high)}")
            rows.append((f"{panel.title}: {label}", *cells))
    return tag(
        "details",
        tag("summary", "The charts by phase, in numbers"),
        table(
            "Lowest · median · highest of the seconds of each phase",
            ("figure", *(phase.name for phase in phases)),
            rows,
        ),
    )


def median_over_time(run: RunFolder) -> Html:
    """The median by stage, apart from the common axis."""
    if isinstance(run.timeline, str):
        return missing(f"Latency by stage: no chart. {run.timeline}")
    panel = _Panel(
        "latency-p50-chart",
        "Latency by stage, median",
        "From the intended time, by the second in which messages were due. Logarithmic.",
        {stage: f"latency_ms{{stage:{stage},q:p50}}" for stage in STAGES},
        "p50 latency",
        log_ms=True,
    )
    if not any(name in run.timeline for name in panel.names.values()):
        return missing(f"{panel.title}: no chart. The run recorded none of it.")
    span = _span(run, run.timeline, [panel])
    return _over_time(run, run.timeline, panel, span, "", named=True)


def _of_the_map(run: RunFolder) -> dict[str, Series]:
    if isinstance(run.history, str) or not run.history.shots:
        return {}
    t_s = np.array([shot.t_s for shot in run.history.shots])
    tallies = [tally(shot.states) for shot in run.history.shots]
    return {
        f"map{{kind:{kind}}}": Series(t_s, np.array([getattr(t, kind) for t in tallies]))
        for kind in ("accuracy", "coverage")
    }


def _span(
    run: RunFolder, timeline: Mapping[str, Series], panels: Sequence[_Panel]
) -> tuple[float, float]:
    """From the first to the last of all that is drawn."""
    names = [name for panel in panels for name in panel.names.values() if name in timeline]
    low = [float(timeline[n].t_s[0]) for n in names if len(timeline[n].t_s)]
    high = [float(timeline[n].t_s[-1]) for n in names if len(timeline[n].t_s)]
    low += [p.start_s for p in run.summary.phases]
    high += [p.end_s for p in run.summary.phases]
    return min(low, default=0.0), max(high, default=1.0)


def _over_time(
    run: RunFolder,
    timeline: Mapping[str, Series],
    panel: _Panel,
    span: tuple[float, float],
    axis: str,
    *,
    named: bool,
) -> Html:
    names, caption = panel.names, panel.caption
    found = {label: timeline[name] for label, name in names.items() if name in timeline}
    x, columns = _aligned(list(found.values()))
    x, columns, every = thin(x, columns, MOST_POINTS)
    if every > 1:
        caption += f" Each point is the highest of {every} seconds."
    # A stage keeps its colour whichever others are there.
    colour = {label: i for i, label in enumerate(names)}
    lines = [
        Line(label, y, colour[label], label == "scheduled")
        for label, y in zip(found, columns, strict=True)
    ]
    phases = [Band(p.start_s, p.end_s, p.name) for p in run.summary.phases]
    faults = [
        Band(e.t_s, e.t_s if e.end_s is None else e.end_s, e.text)
        for e in run.summary.events
        if e.kind in ("fault", "outage")
    ]
    y_scale, y_text = _scale_of(panel)(columns)
    return figure(
        Chart(
            panel.anchor,
            panel.title,
            caption,
            x,
            lines,
            _TIME_LABEL,
            panel.y_label,
            partial(axes.clock, *span),
            y_scale,
            axes.clock_text,
            y_text,
            phases,
            faults,
            axis,
            named,
            270 if panel.log_ms and axis else 190 if axis else 270,
        )
    )


_Scales = Callable[
    [Sequence[FloatArray]], tuple[Callable[[int], axes.Scale], Callable[[float], str]]
]


def _scale_of(panel: _Panel) -> _Scales:
    if panel.log_ms:
        return latency_scale
    return _share_scale if panel.y_label == "share" else _count_scale


def _aligned(series: Sequence[Series]) -> tuple[FloatArray, list[FloatArray]]:
    """All series on the union of their times, to a tenth of a second; NaN where one has no row
    within half a second: a gauge is read somewhat after the full second that a message's figure
    has, and each would be a gap in the other's line.
    """
    times = [np.round(s.t_s, 1) for s in series]
    x = np.unique(np.concatenate(times))
    columns = []
    for t_s, one in zip(times, series, strict=True):
        after = np.minimum(np.searchsorted(t_s, x), len(t_s) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(np.abs(t_s[before] - x) < np.abs(t_s[after] - x), before, after)
        columns.append(np.where(np.abs(t_s[nearest] - x) <= 0.5, one.value[nearest], np.nan))
    return x, columns


def _share_scale(
    _: Sequence[FloatArray],
) -> tuple[Callable[[int], axes.Scale], Callable[[float], str]]:
    scale = axes.linear(0.0, 1.0, 5)
    percent = [(value, f"{100 * value:.0f} %") for value, _ in scale.ticks]
    return lambda _ticks: axes.Scale(scale.place, percent), lambda v: f"{100 * v:.1f} %"


def _count_scale(
    columns: Sequence[FloatArray],
) -> tuple[Callable[[int], axes.Scale], Callable[[float], str]]:
    highest = max((float(np.nanmax(c)) for c in columns if not np.isnan(c).all()), default=1.0)
    return partial(axes.linear, 0.0, max(highest, 1.0)), axes.number
