"""When vehicles may be started: windows of local time, and a rate over open time. Pure.

Open time passes while the campaign is not paused and the window of any region is open. Only it
earns starts, so that neither an opening nor a resume lets more begin at once than the rate.
"""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo

import msgspec

from fleet_sim.contract.campaigns import Plan, Window

DAY_MIN = 1_440


class Pace(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a campaign with a rate has started in the newest open time."""

    at_s: float = 0.0
    """Open time is counted up to here, s since the epoch, ..."""
    open_s: float = 0.0
    """... and was so long by then."""
    starts: tuple[tuple[float, int], ...] = ()
    """Open time and number, oldest first; those that no longer bound anything are dropped."""


def bound(rate: float) -> tuple[int, float]:
    """At most so many starts, in any so many seconds: a rate below 2 a minute is kept to with one
    start at a time."""
    most = max(1, math.floor(rate))
    return most, 60.0 * most / rate


def allowed(pace: Pace, plan: Plan, now_s: float) -> tuple[float, float]:
    """How many may be started now, and the open time until it is more, s (0: it is all that ever
    may)."""
    rate = plan.waves.per_minute
    if rate is None:
        return math.inf, 0.0
    most, span_s = bound(rate)
    open_s = _open_s(pace, plan, now_s)
    counted = [(at_s, n) for at_s, n in pace.starts if at_s + span_s > open_s]
    left = most - sum(n for _, n in counted)
    return left, counted[0][0] + span_s - open_s if counted else 0.0


def begun(pace: Pace, plan: Plan, now_s: float, count: int) -> Pace:
    """`count` more are started now."""
    rate = plan.waves.per_minute
    if rate is None or not count:
        return pace
    _, span_s = bound(rate)
    open_s = _open_s(pace, plan, now_s)
    kept = tuple((at_s, n) for at_s, n in pace.starts if at_s + span_s > open_s)
    return Pace(now_s, open_s, (*kept, (open_s, count)))


def stopped(pace: Pace, plan: Plan, now_s: float) -> Pace:
    """A pause begins."""
    if not pace.starts:
        return pace
    return msgspec.structs.replace(pace, at_s=now_s, open_s=_open_s(pace, plan, now_s))


def resumed(pace: Pace, now_s: float) -> Pace:
    """A pause ends: it was no open time."""
    return msgspec.structs.replace(pace, at_s=now_s) if pace.starts else pace


def _open_s(pace: Pace, plan: Plan, now_s: float) -> float:
    """Open time by now, as far as it matters: up to the moment at which no start counts any
    more."""
    rate = plan.waves.per_minute
    if rate is None or not pace.starts:
        return pace.open_s
    enough_s = pace.starts[-1][0] + bound(rate)[1] - pace.open_s
    return pace.open_s + opened_s(plan, pace.at_s, now_s, enough_s)


def opened_s(plan: Plan, begin_s: float, end_s: float, enough_s: float) -> float:
    """How long a window was open between two moments, s; no more than `enough_s`."""
    if plan.window is None:
        return min(max(0.0, end_s - begin_s), enough_s)
    regions = ["", *plan.window.utc_offsets_min, *plan.window.time_zones]
    found_s, at_s, speed = 0.0, begin_s, plan.clock.speed
    while at_s < end_s and found_s < enough_s:
        # Offsets are whole minutes: nothing opens or closes within one.
        sim_s = _sim_s(plan, at_s)
        step_s = (60.0 - sim_s % 60.0) / speed
        until_s = min(at_s + max(step_s, 1e-6), end_s)
        if any(_inside(plan.window, region, sim_s + 1e-6) for region in regions):
            found_s += until_s - at_s
        at_s = until_s
    return min(found_s, enough_s)


def in_window(plan: Plan, region: str, now_s: float) -> bool:
    """Whether vehicles of a region may be started, by their local time of day."""
    return plan.window is None or _inside(plan.window, region, _sim_s(plan, now_s))


def _sim_s(plan: Plan, now_s: float) -> float:
    clock = plan.clock
    return clock.sim_s + (now_s - clock.real_s) * clock.speed


def _inside(window: Window, region: str, sim_s: float) -> bool:
    minute = local_minute(window, region, sim_s)
    if window.begin < window.end:
        return window.begin <= minute < window.end
    return minute >= window.begin or minute < window.end


def local_minute(window: Window, region: str, sim_s: float) -> float:
    """Minute of a region's day, 0 to below 1,440, at `sim_s`, s since the epoch. Where clocks are
    put forward a window is shorter by what is left out; where they are put back, longer by what
    comes twice."""
    offsets = window.utc_offsets_min
    zone = window.time_zones.get(region, "")
    if not zone and region not in offsets:
        zone = window.time_zone
    if not zone:
        return (sim_s / 60.0 + offsets.get(region, window.utc_offset_min)) % DAY_MIN
    local = dt.datetime.fromtimestamp(sim_s, zoneinfo.ZoneInfo(zone))
    return local.hour * 60 + local.minute + (local.second + local.microsecond / 1e6) / 60.0
