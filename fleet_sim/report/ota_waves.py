"""An update campaign's waves over simulated time, from `ota.parquet`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleet_sim.measure.ota import STOPS, OtaReport
from fleet_sim.report import axes
from fleet_sim.report.charts import COLOURS, Band, Chart, Line, figure
from fleet_sim.report.html import Html, missing

FloatArray = NDArray[np.float64]

POINTS = 240


class WaveTimes(NamedTuple):
    """One wave's vehicles, in simulated seconds since the run's beginning; ascending."""

    size: int
    started_s: FloatArray
    """Of those that have begun, ..."""
    installed_s: FloatArray
    """... and of those that run the new image, both in truth."""


def read_waves(path: Path) -> list[WaveTimes]:
    """By wave. `ValueError` when the file cannot be read."""
    columns = ["record_wave", "started_s", "installed_s"]
    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path.name} could not be read: {error}") from None
    wave, started, installed = (
        table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False) for name in columns
    )
    count = 0 if np.isnan(wave).all() else int(np.nanmax(wave)) + 1
    return [
        WaveTimes(int(mine.sum()), _known(started[mine]), _known(installed[mine]))
        for mine in (wave == k for k in range(count))
    ]


def _known(times: FloatArray) -> FloatArray:
    return np.sort(times[~np.isnan(times)])


def wave_chart(waves: Sequence[WaveTimes] | str, report: OtaReport) -> Html:
    """Shares of each wave that have begun and that run the new image. `waves`: or why not."""
    if isinstance(waves, str):
        return missing(f"Waves over time: no chart. {waves}")
    drawn = _few(waves)
    if not drawn:
        return missing("Waves over time: no chart. No vehicle has begun.")
    times = [t for _, wave in drawn for t in (wave.started_s, wave.installed_s) if len(t)]
    phases, stops = _spans(report)
    begin = min([0.0, *(float(t[0]) for t in times)])
    last = max(float(t[-1]) for t in times)
    end = max([last * 1.02, *(band.start for band in (*phases, *stops)), report.simulated_s])
    x = np.linspace(begin, end, POINTS)
    lines = []
    for k, (name, wave) in enumerate(drawn):
        begun = Line(f"{name} begun", _share(wave.started_s, wave.size, x), k, under=True)
        lines += [begun, Line(f"{name} updated", _share(wave.installed_s, wave.size, x), k)]
    return figure(
        Chart(
            "waves-chart",
            "Waves over time",
            "Share of each wave's vehicles that have begun (broad and pale) and that run the new"
            " image, in truth. Shaded: the service's waves and soaks; red: where it stopped.",
            x,
            lines,
            "simulated time since the run began (h:min:s)",
            "share of the wave",
            partial(axes.clock, begin, end),
            _percent,
            axes.clock_text,
            lambda share: f"{100 * share:.1f} %",
            phases,
            stops,
        )
    )


def _few(waves: Sequence[WaveTimes]) -> list[tuple[str, WaveTimes]]:
    """Those that have begun, and no more than there are colours: the last are taken together."""
    begun = [(f"wave {k + 1}", wave) for k, wave in enumerate(waves) if len(wave.started_s)]
    if len(begun) <= COLOURS:
        return begun
    rest = [wave for _, wave in begun[COLOURS - 1 :]]
    together = WaveTimes(
        sum(wave.size for wave in rest),
        np.sort(np.concatenate([wave.started_s for wave in rest])),
        np.sort(np.concatenate([wave.installed_s for wave in rest])),
    )
    return [*begun[: COLOURS - 1], (f"from {begun[COLOURS - 1][0]} on", together)]


def _share(times: FloatArray, size: int, x: FloatArray) -> FloatArray:
    return np.searchsorted(times, x, "right") / max(size, 1)


def _percent(_ticks: int) -> axes.Scale:
    scale = axes.linear(0.0, 1.0, 5)
    return axes.Scale(scale.place, [(value, f"{100 * value:.0f} %") for value, _ in scale.ticks])


def _spans(report: OtaReport) -> tuple[list[Band], list[Band]]:
    """What the service did when: its waves and soaks, and the moments at which it or an operator
    stopped new starts."""
    if report.speed is None:
        return [], []
    spans: list[Band] = []
    stops: list[Band] = []
    wave, name, since_s = 0, "", 0.0
    for decision in report.decisions:
        at_s, action = decision.t_s * report.speed, decision.action
        if action not in _ENDS and action not in STOPS:
            continue
        if name and since_s < at_s:
            spans.append(Band(since_s, at_s, name))
        if action in STOPS:
            stops.append(Band(at_s, at_s, action))
        wave += action in ("started", "gate passed")
        name, since_s = _ENDS.get(action, "").format(wave=wave), at_s
    if name:
        spans.append(Band(since_s, max(since_s, report.simulated_s), name))
    return spans, stops


_ENDS = {
    "started": "wave {wave}",
    "wave ended": "soak",
    "gate passed": "wave {wave}",
    "resume": "wave {wave}",
    "completed": "",
    "aborted": "",
}
"""Actions of the audit log that end a span, and the name of the span which they begin."""
