"""The report's charts, from what the run folder holds."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.stages import STAGES
from fleet_sim.report import axes
from fleet_sim.report.charts import Band, Chart, Line, figure, thin
from fleet_sim.report.folder import Percentiles, RunFolder, Series
from fleet_sim.report.html import Html, join, missing

FloatArray = NDArray[np.float64]

MOST_POINTS = 480
"""Of a line: about two pixels a point on a wide page."""

_TIME_LABEL = "time since the first phase began (min:s)"


def throughput(run: RunFolder) -> Html:
    names = {
        "scheduled": "rate{kind:scheduled}",
        "sent": "rate{kind:sent}",
        "acknowledged": "rate{kind:acknowledged}",
    }
    return _over_time(
        run,
        "throughput-chart",
        "Messages a second",
        "Messages by the second in which they were due, were sent and were acknowledged.",
        names,
        "messages / s",
    )


def connections(run: RunFolder) -> Html:
    return join(
        [
            _over_time(
                run,
                "connections-chart",
                "Connected vehicles",
                "Vehicles with an open MQTT connection.",
                {"connected": "connected"},
                "vehicles",
            ),
            _over_time(
                run,
                "attempts-chart",
                "Attempts to connect",
                "Connections that vehicles began in that second: the storm after an outage.",
                {"attempts": "attempts"},
                "attempts / s",
            ),
            _over_time(
                run,
                "in-flight-chart",
                "Messages in flight",
                "Messages sent and not yet acknowledged.",
                {"in flight": "in_flight"},
                "messages",
            ),
        ]
    )


def occupancy(run: RunFolder) -> Html:
    return _over_time(
        run,
        "occupancy-chart",
        "Occupied stalls",
        "How many stalls are occupied, and how many the map believes are.",
        {"truth": "occupancy{kind:truth}", "map": "occupancy{kind:map}"},
        "stalls",
    )


def campaign(run: RunFolder) -> Html:
    """How an update spreads; empty when there was none."""
    if run.summary.ota is None:
        return Html("")
    return _over_time(
        run,
        "campaign-chart",
        "Vehicles of the campaign",
        "In truth: that had begun, that run the new image, and whose new image has failed.",
        {kind: f"campaign{{kind:{kind}}}" for kind in ("started", "installed", "failed")},
        "vehicles",
    )


def latency_over_time(run: RunFolder, percentile: str) -> Html:
    """`percentile`: `p95`."""
    number = percentile.removeprefix("p")
    return _over_time(
        run,
        f"latency-{percentile}-chart",
        f"Latency by stage, {number}th percentile",
        "From the intended time, by the second in which messages were due. Logarithmic.",
        {stage: f"latency_ms{{stage:{stage},q:{percentile}}}" for stage in STAGES},
        f"p{number} latency",
        log_ms=True,
    )


def _over_time(
    run: RunFolder,
    anchor: str,
    title: str,
    caption: str,
    names: Mapping[str, str],
    y_label: str,
    *,
    log_ms: bool = False,
) -> Html:
    if isinstance(run.timeline, str):
        return missing(f"{title}: no chart. {run.timeline}")
    found = {label: run.timeline[name] for label, name in names.items() if name in run.timeline}
    if not found:
        return missing(f"{title}: no chart. The run recorded none of it.")
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
    low = min([float(x.min()), *(p.start for p in phases)])
    high = max([float(x.max()), *(p.end for p in phases)])
    y_scale, y_text = latency_scale(columns) if log_ms else _count_scale(columns)
    return figure(
        Chart(
            anchor,
            title,
            caption,
            x,
            lines,
            _TIME_LABEL,
            y_label,
            partial(axes.clock, low, high),
            y_scale,
            axes.clock_text,
            y_text,
            phases,
            faults,
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
            lambda _ticks: axes.quantiles(10.0**most, labels),
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
