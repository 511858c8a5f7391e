"""Thresholds while a run goes on: which hold so far, and which end it."""

from collections.abc import Mapping, Sequence

from fleet_sim.engine.status import Status
from fleet_sim.measure.histogram import PERCENTILES, Stats
from fleet_sim.measure.thresholds import (
    ThresholdResult,
    canonical_metric,
    evaluate,
    percentiles_needed,
)
from fleet_sim.scenario import Scenario, Threshold


class Guard:
    """Evaluated with each status, on what was measured from the first phase's beginning on.

    As in k6 a metric without a value yet breaks nothing, and what has `abort_on_fail` ends the run
    once it is broken, but not before its `delay`.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._thresholds = scenario.conditions
        self._speed = scenario.clock.speed
        self._abort: dict[tuple[str, str], float] = {
            (metric, rule.threshold): rule.delay_s
            for metric, rules in scenario.thresholds.items()
            for rule in rules
            if isinstance(rule, Threshold) and rule.abort_on_fail
        }
        self._wanted = percentiles_needed(self._thresholds)
        self.results: list[ThresholdResult] = []
        """Of the newest look: those that could be evaluated."""

    def look(self, status: Status, elapsed_s: float) -> str | None:
        """Why the run must end now, or None. `elapsed_s`: wall time."""
        found = evaluate(self._thresholds, live_metrics(status, elapsed_s, self._wanted))
        self.results = [result for result in found if not result.missing]
        for result in self.results:
            delay_s = self._abort.get((result.metric, result.condition))
            if delay_s is None or elapsed_s * self._speed < delay_s:
                continue
            if not result.passed:
                return f"{result.message} after {elapsed_s:.1f} s (abort_on_fail)"
        return None


def live_metrics(
    status: Status, elapsed_s: float, wanted: Mapping[str, set[float]] | None = None
) -> dict[str, Stats]:
    """The metrics that are known while a run goes on. `wanted`: further percentiles by metric."""
    metrics: dict[str, Stats] = {}
    for name, live in status.live.items():
        further: Sequence[float] = sorted((wanted or {}).get(canonical_metric(name), ()))
        if live.counts:
            metrics[name] = live.stats([*PERCENTILES, *further])
    sent = status.live.get("latency_ms{stage:sent}")
    metrics["messages"] = {
        "count": status.opened,
        "rate": sent.count / elapsed_s if sent and elapsed_s > 0 else 0.0,
    }
    metrics["reconnects"] = {"count": status.reconnects}
    if status.probe_timeouts is not None:
        metrics["probe_timeouts"] = {"count": status.probe_timeouts}
    return metrics
