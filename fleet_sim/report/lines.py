"""Latency by percentile, from what the run folder holds."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.stages import STAGES
from fleet_sim.report import axes
from fleet_sim.report.charts import Chart, Line, figure
from fleet_sim.report.folder import Percentiles, RunFolder
from fleet_sim.report.html import Html, missing

FloatArray = NDArray[np.float64]


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
