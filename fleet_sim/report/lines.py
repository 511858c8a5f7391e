"""The report's charts, from what the run folder holds."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.maphistory import tally
from fleet_sim.measure.stages import STAGES
from fleet_sim.report import axes
from fleet_sim.report.charts import Band, Chart, Line, figure, thin
from fleet_sim.report.folder import Percentiles, RunFolder, Series
from fleet_sim.report.html import Html, join, missing

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


def happened(run: RunFolder) -> Html:
    """Everything that has a time, on one time axis; phases and faults have their names on top."""
    if isinstance(run.timeline, str):
        return missing(f"No charts. {run.timeline}")
    timeline = {**run.timeline, **_of_the_map(run)}
    middle = (_CAMPAIGN,) if run.summary.ota is not None else ()
    panels = [
        panel
        for panel in (*_PANELS, *middle, *_LAST)
        if any(name in timeline for name in panel.names.values())
    ]
    span = _span(run, timeline, panels)
    return join(
        _over_time(run, timeline, panel, span, "time", named=i == 0)
        for i, panel in enumerate(panels)
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
    shares = panel.y_label == "share"
    scale = latency_scale if panel.log_ms else _share_scale if shares else _count_scale
    y_scale, y_text = scale(columns)
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


def _aligned(series: Sequence[Series]) -> tuple[FloatArray, list[FloatArray]]:
    """All series on the union of their times; NaN where one has no row."""
    x = np.unique(np.concatenate([s.t_s for s in series]))
    columns = []
    for one in series:
        column = np.full(len(x), np.nan)
        column[np.searchsorted(x, one.t_s)] = one.value
        columns.append(column)
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


def latency_scale(
    columns: Sequence[FloatArray],
) -> tuple[Callable[[int], axes.Scale], Callable[[float], str]]:
    values = np.concatenate(columns)
    # Zero has no place on a logarithmic axis; nor has a negative latency, which the stage table
    # counts. Both are drawn at its lower end.
    positive = values[values > 0]
    low = max(float(positive.min()), 0.01) if len(positive) else 0.1
    high = max(float(positive.max()), low) if len(positive) else 1.0
    scale = axes.decades(low, high, axes.ms_tick)
    return lambda _ticks: scale, axes.ms_text


def percentile_plot(run: RunFolder) -> Html:
    """Latency over percentile by stage, as HDR plots have it."""
    if not run.percentiles:
        return missing("Latency by percentile: no chart. The run wrote no .hgrm file.")
    most = max(nines(p) for p in run.percentiles.values())
    x = 10.0 ** np.arange(0, most + 1e-9, 0.05)
    columns = [at_quantiles(p, 1 - 1 / x) for p in run.percentiles.values()]
    lines = [
        Line(stage, y, STAGES.index(stage))
        for stage, y in zip(run.percentiles, columns, strict=True)
    ]
    y_scale, y_text = latency_scale(columns)
    labels = axes.percentile_labels()
    return figure(
        Chart(
            "percentiles-chart",
            "Latency by percentile",
            "From the intended time. Both axes are logarithmic: each step to the right is one more"
            " nine. A line ends where its stage has too few messages to say more.",
            x,
            lines,
            "percentile",
            "latency",
            lambda ticks: axes.quantiles(10.0**most, labels, ticks),
            y_scale,
            axes.percentile_text,
            y_text,
        )
    )


def nines(percentiles: Percentiles) -> float:
    """Decades of 1/(1-q) that the count supports, at least one."""
    below_one = percentiles.quantile[percentiles.quantile < 1]
    last = float(below_one.max()) if len(below_one) else 0.0
    return min(max(math.log10(1 / (1 - last)), 1.0), 7.0)


def at_quantiles(percentiles: Percentiles, wanted: FloatArray) -> FloatArray:
    """Value at each quantile; NaN beyond the last that the histogram resolves."""
    at = np.searchsorted(percentiles.quantile, wanted - 1e-12)
    value = percentiles.value_ms[np.minimum(at, len(percentiles.value_ms) - 1)]
    beyond = wanted > 1 - 10.0 ** -nines(percentiles) + 1e-12
    return np.where(beyond, np.nan, value)
