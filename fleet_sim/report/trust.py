"""Generator health: can this run's figures be trusted, or do they describe the generator?"""

from typing import NamedTuple

from fleet_sim.measure.summary import Generator, Summary
from fleet_sim.report.axes import ms_text, number, percent_text
from fleet_sim.report.html import Html, section, table, tag

OVERLOADED = (
    "The generator could not hold the schedule: these figures describe the generator,"
    " not the target."
)

LATE_SHARE = 0.01
LAG_P99_MS = 50.0
"""The generator itself calls a message late from here on."""
CPU_SHARE = 0.85
"""Of one core, by the busiest process: above, its queue is no longer short."""
CLOCK_ERROR_MS = 25.0

_HEAD = ("check", "found", "wanted", "result")
_OF_THE_GENERATOR = ("late_skipped", "shard_lost")
"""Causes of a drop that are the generator's own."""


class Check(NamedTuple):
    """One reason to trust or to doubt."""

    what: str
    found: str
    wanted: str
    good: bool


def checks(summary: Summary) -> list[Check]:
    """What was measured of it; what was not is left out."""
    g = summary.generator
    found = [
        Check(
            "vehicles that were connected when it began",
            f"{g.connected:,} of {g.vehicles:,}",
            "all",
            g.connected == g.vehicles,
        ),
    ]
    # A campaign that is over may end its run, and what was not due by then is nobody's loss.
    over = summary.ota is not None and summary.run.verdict in ("passed", "threshold_broken")
    if not over or any(shard.died for shard in g.shards):
        found.append(
            Check(
                "messages of the schedule that were never due",
                f"{g.not_offered:,}",
                "0",
                not g.not_offered,
            )
        )
    if due(g):
        share = g.late / due(g)
        wanted = f"at most {percent_text(LATE_SHARE)}"
        found.append(
            Check("messages sent late", percent_text(share, 2), wanted, share <= LATE_SHARE)
        )
    for what, stats in (
        ("lateness of the generator, p99", g.lateness_ms),
        ("event loop lag, p99", g.event_loop_lag_ms),
    ):
        p99 = stats.get("p99")
        if p99 is not None:
            wanted = f"at most {ms_text(LAG_P99_MS)}"
            found.append(Check(what, ms_text(p99), wanted, p99 <= LAG_P99_MS))
    span_s = max((phase.end_s for phase in summary.phases), default=0.0)
    if span_s:
        busiest = max([shard.cpu_s for shard in g.shards] or [g.cpu_s]) / span_s
        wanted = f"at most {percent_text(CPU_SHARE)} of a core"
        what = "CPU of the busiest process"
        found.append(Check(what, percent_text(busiest), wanted, busiest <= CPU_SHARE))
    if g.shards:
        died = sum(bool(shard.died) for shard in g.shards)
        found.append(Check("processes that died", f"{died} of {len(g.shards)}", "0", not died))
    if summary.audit is not None:
        own = sum(summary.audit.dropped.get(cause, 0) for cause in _OF_THE_GENERATOR)
        found.append(Check("messages that the generator gave up", f"{own:,}", "0", not own))
    if summary.clock is not None:
        error, steady = summary.clock.error_ms, summary.clock.steady
        found.append(
            Check(
                "the cloud's clock against ours",
                f"known within {ms_text(error)}, {'steady' if steady else 'not steady'}",
                f"within {ms_text(CLOCK_ERROR_MS)}, steady",
                steady and error <= CLOCK_ERROR_MS,
            )
        )
    return found


def due(g: Generator) -> int:
    """Messages that came due: a run that ends early has more in its schedule."""
    return g.scheduled - g.not_offered


def generator(summary: Summary) -> Html:
    """The section."""
    made = checks(summary)
    doubts = [check for check in made if not check.good]
    if summary.run.verdict == "generator_overloaded":
        said = tag("p", OVERLOADED, class_="broken")
    elif doubts:
        text = f"With care: {len(doubts)} of {len(made)} checks did not hold."
        said = tag("p", text, class_="broken")
    else:
        text = (
            f"This run can be trusted: all {len(made)} checks held, and what is slow is the target."
        )
        said = tag("p", text, class_="ok")
    rows = [
        (
            check.what,
            check.found,
            check.wanted,
            tag("span", "held" if check.good else "NOT HELD", class_=_class(check.good)),
        )
        for check in made
    ]
    return section(
        "generator",
        "Generator health: could we trust this run?",
        said,
        table("Reasons to trust or to doubt", _HEAD, rows, numbers_from=9),
        table("The load generator itself", ("what", "value"), _figures(summary.generator)),
        _processes(summary.generator),
    )


def _class(good: bool) -> str:
    return "ok" if good else "broken"


def _figures(g: Generator) -> list[tuple[str, str]]:
    per_message = "–" if g.cpu_us_per_message is None else f"{g.cpu_us_per_message:,.1f} µs"
    rows = [
        ("messages due", f"{due(g):,}"),
        ("messages sent", f"{g.sent:,}"),
        ("messages acknowledged", f"{g.acknowledged:,}"),
        ("messages sent late", f"{g.late:,}"),
        ("messages dropped", f"{g.dropped:,}"),
        ("CPU time", f"{number(g.cpu_s, 0.1)} s"),
        ("CPU time a message", per_message),
    ]
    for name, stats in (("lateness", g.lateness_ms), ("event loop lag", g.event_loop_lag_ms)):
        rows += [
            (f"{name}, {key}", ms_text(stats[key])) for key in ("p50", "p99", "max") if key in stats
        ]
    return rows


def _processes(g: Generator) -> Html:
    if not g.shards:
        return Html("")
    rows = [
        (
            f"{k + 1}",
            f"{shard.vehicles:,}",
            f"{shard.sent:,}",
            f"{number(shard.cpu_s, 0.1)} s",
            f"{shard.rss_mb:,.0f} MB",
            ms_text(shard.lateness_ms.get("p99")),
            shard.died or "at its end",
        )
        for k, shard in enumerate(g.shards)
    ]
    head = ("process", "vehicles", "sent", "CPU", "memory", "lateness, p99", "ended")
    return table("By process", head, rows)
