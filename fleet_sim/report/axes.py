"""Scales, ticks and numbers as people read them."""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

_CLOCK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)


class Scale(NamedTuple):
    """Maps values to 0-1 along an axis; `ticks` are values with their labels."""

    place: Callable[[float], float]
    ticks: list[tuple[float, str]]


def linear(low: float, high: float, ticks: int) -> Scale:
    """From `low` to at least `high`, ending on a tick; steps of 1, 2 or 5 x 10^n."""
    step = _nice((high - low or 1.0) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    start, width = first * step, (last - first) * step
    marks = [(i * step, number(i * step, step)) for i in range(first, last + 1)]
    return Scale(lambda v: (v - start) / width, marks)


def clock(low: float, high: float, ticks: int) -> Scale:
    """Seconds, labelled `m:ss` (`h:mm:ss` from an hour on), from `low` to `high` exactly."""
    width = (high - low) or 1.0
    steps = (s for s in _CLOCK_STEPS_S if width / s <= ticks)
    step = next(steps, math.ceil(width / ticks / 86400) * 86400)
    at = range(math.ceil(low / step), math.floor(high / step) + 1)
    return Scale(lambda v: (v - low) / width, [(i * step, clock_text(i * step)) for i in at])


def decades(low: float, high: float, label: Callable[[float], str]) -> Scale:
    """Logarithmic, from the power of ten below `low` to the one above `high`."""
    first = math.floor(math.log10(low) + 1e-9)
    last = max(math.ceil(math.log10(high) - 1e-9), first + 1)
    marks = [(10.0**i, label(10.0**i)) for i in range(first, last + 1)]
    return Scale(
        lambda v: (math.log10(max(v, 10.0**first)) - first) / (last - first),
        marks,
    )


def quantiles(high: float, labels: Sequence[str], ticks: int) -> Scale:
    """Of x = 1/(1-q), logarithmic, as HDR plots have it: each decade is one more nine."""
    last = math.log10(high)
    every = 1 if last <= ticks - 1 else 2
    shown = list(enumerate(labels))[::every]
    marks = [(10.0**i, label) for i, label in shown if i <= last + 1e-9]
    return Scale(lambda v: math.log10(max(v, 1.0)) / last, marks)


def percentile_labels() -> list[str]:
    """Of `quantiles`: `0 %`, `90 %`, `99 %`, `99.9 %` …"""
    return ["0 %", "90 %", "99 %", *(f"{100 - 10.0**-i:.{i}f} %" for i in range(1, 8))]


def percentile_text(x: float) -> str:
    """Of x = 1/(1-q), with as many decimals as tell it from its neighbours."""
    return f"{100 * (1 - 1 / x):.{max(1, math.ceil(math.log10(x)))}f} %"


def _nice(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9)) * power


def number(value: float, step: float = 0.0) -> str:
    """With thousands separators, and as many decimals as `step` needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    text = f"{value:,.{decimals}f}"
    return text if float(text.replace(",", "")) else text.lstrip("-")


def clock_text(seconds: float) -> str:
    """`-0:05`, `1:30`, `1:00:00`."""
    sign, whole = ("-", round(-seconds)) if seconds < 0 else ("", round(seconds))
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{sign}{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{sign}{rest // 60}:{rest % 60:02d}"


def length_text(seconds: float) -> str:
    """`0:05 min`, `1:30 min`, `1:00:00 h`."""
    text = clock_text(seconds)
    return f"{text} {'h' if text.count(':') == 2 else 'min'}"


def moment_text(iso: str) -> str:
    """`2026-06-01T17:00:00+00:00` as `2026-06-01 17:00:00 UTC`; as it stands when it is none."""
    try:
        at = dt.datetime.fromisoformat(iso)
    except ValueError:
        return iso
    if at.tzinfo is None:
        return iso
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def percent_text(share: float, decimals: int = 0) -> str:
    """0.5 as `50 %`."""
    return f"{100 * share:,.{decimals}f} %"


def ms_tick(value_ms: float) -> str:
    """Powers of ten of a millisecond in the unit people would use: `10 µs`, `1 ms`, `10 s`."""
    if value_ms >= 999:
        return f"{value_ms / 1000:,.0f} s"
    if value_ms < 0.9:
        return f"{value_ms * 1000:.0f} µs"
    return f"{value_ms:.0f} ms"


def ms_text(value_ms: float | None) -> str:
    """A latency with three significant digits and its unit; a dash when there is none."""
    if value_ms is None or math.isnan(value_ms):
        return "–"
    if abs(value_ms) >= 1000:
        return f"{_digits(value_ms / 1000)} s"
    if 0 < abs(value_ms) < 0.1:
        return f"{value_ms * 1000:.0f} µs"
    return f"{_digits(value_ms)} ms"


def _digits(value: float) -> str:
    magnitude = abs(value)
    decimals = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2
    return f"{value:,.{decimals}f}"
