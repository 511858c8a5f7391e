"""An update campaign judged: the backend's record of each vehicle against what is true of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fleet_sim.contract.campaign_records import FINAL, Target
from fleet_sim.measure.cost.prices import Prices
from fleet_sim.measure.cost.workload import GB as BILLED_GB
from fleet_sim.measure.ota import (
    MOST_CONTRADICTIONS,
    STOPS,
    CampaignRecord,
    Contradiction,
    Installs,
    OtaReport,
    Untruth,
    VehicleTruth,
    Wave,
)

GB = 1e9
"""Of the report; AWS counts in 2³⁰ bytes (`BILLED_GB`)."""


class Campaigned(NamedTuple):
    """What is compared."""

    version: str
    """That the campaign brings."""
    attack: str
    truths: Sequence[VehicleTruth]
    """One a vehicle, by index."""
    record: CampaignRecord
    vehicle_of: Callable[[str], int]
    """A thing's index in the fleet."""
    speed: float
    """Simulated seconds a second of the backend's clock."""
    simulated_s: float


def judge_campaign(seen: Campaigned, prices: Prices | None) -> OtaReport:
    """Compare. `prices`: None where the table has none of the run's region."""
    truths, record = seen.truths, seen.record
    new = seen.version
    eligible = sum(truth.had != new for truth in truths)
    runs = [truth.runs == new for truth in truths]
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong: Counter[Untruth] = Counter()
    listed: list[Contradiction] = []
    by_truth: dict[str, Counter[str]] = {}
    notified = 0
    sizes: Counter[int] = Counter()
    bad_in_truth: Counter[int] = Counter()
    for target in sorted(record.targets, key=lambda target: target.thing):
        truth = truths[seen.vehicle_of(target.thing)]
        statuses[target.status] += 1
        notified += target.attempt > 0
        sizes[target.wave] += 1
        bad_in_truth[target.wave] += truth.bad_boot_s is not None or truth.broken_s is not None
        by_truth.setdefault(target.status, Counter())[_true_of(truth)] += 1
        if target.status in ("failed", "rejected"):
            reasons[target.reason] += 1
        for what in _untruths(target, truth, new):
            wrong[what] += 1
            if len(listed) < MOST_CONTRADICTIONS:
                listed.append(
                    Contradiction(
                        target.thing,
                        what,
                        target.status,
                        target.attempt,
                        target.reason,
                        _true_of(truth),
                    )
                )
    times = sorted(t.installed_s for t in truths if t.installed_s is not None)
    downloaded = sum(truth.downloaded for truth in truths)
    requests = sum(truth.requests for truth in truths)
    reaction = _reaction(seen)
    executions = sum(target.attempt for target in record.targets)
    return OtaReport(
        vehicles=len(truths),
        eligible=eligible,
        state=record.state,
        statuses=dict(sorted(statuses.items())),
        reasons=dict(reasons.most_common()),
        attack=seen.attack,
        runs_new=sum(runs),
        notified=notified,
        started=sum(truth.started_s is not None for truth in truths),
        false_success=wrong["false success"],
        false_failure=wrong["false failure"],
        stuck=wrong["stuck"],
        unbootable=sum(not truth.boots for truth in truths),
        installed_twice=sum(_most(truth) > 1 for truth in truths),
        attack_installed=sum(_most(t) > 0 for t in truths) if seen.attack != "none" else 0,
        violations=sum(truth.violations for truth in truths),
        bad_boots=sum(truth.bad_boot_s is not None for truth in truths),
        broken_later=sum(truth.broken_s is not None for truth in truths),
        retries=sum(max(0, target.attempt - 1) for target in record.targets),
        downloaded_gb=downloaded / GB,
        wasted_gb=sum(truth.wasted for truth in truths) / GB,
        resumed_gb=sum(truth.resumed for truth in truths) / GB,
        done_50_s=_time(times, 0.50, eligible),
        done_95_s=_time(times, 0.95, eligible),
        done_99_s=_time(times, 0.99, eligible),
        requests=requests,
        cost_usd=None if prices is None else _usd(prices, requests, executions, downloaded),
        waves=[
            Wave(w.get("size", sizes[k]), w["completed"], w["bad"], bad_in_truth[k])
            for k, w in enumerate(record.waves)
        ],
        first_bad_s=reaction.first_bad_s,
        report_s=reaction.report_s,
        decision_s=reaction.decision_s,
        last_start_s=reaction.last_start_s,
        exposed=reaction.exposed,
        decisions=record.decisions,
        simulated_s=seen.simulated_s,
        truth={status: dict(sorted(found.items())) for status, found in sorted(by_truth.items())},
        installs=_installs(truths),
        contradictions=listed,
        speed=seen.speed,
        priced="" if prices is None else f"{prices.region}, {prices.dated.isoformat()}",
    )


def _true_of(truth: VehicleTruth) -> str:
    return truth.runs if truth.boots else "does not boot"


def _untruths(target: Target, truth: VehicleTruth, new: str) -> Iterator[Untruth]:
    """All that is wrong with one vehicle."""
    ended, runs = target.status in FINAL, truth.runs == new
    if target.status == "succeeded" and not runs:
        yield "false success"
    if ended and target.status != "succeeded" and runs:
        yield "false failure"
    if target.attempt > 0 and not ended:
        yield "stuck"
    if not truth.boots:
        yield "does not boot"
    if _most(truth) > 1:
        yield "installed twice"


def _most(truth: VehicleTruth) -> int:
    """Most often that one release was written whole."""
    return max(truth.writes.values(), default=0)


def _installs(truths: Sequence[VehicleTruth]) -> list[Installs]:
    return [
        Installs(
            release,
            sum(release in t.writes for t in truths),
            sum(release in t.commits for t in truths),
            max(t.writes.get(release, 0) for t in truths),
        )
        for release in sorted({release for t in truths for release in t.writes})
    ]


def _usd(prices: Prices, requests: int, executions: int, downloaded: float) -> float:
    """An answer to each request, and a notice an execution; the first tiers of a month."""
    return (
        prices.figures["iot_message"].usd(2 * requests + executions)
        + prices.figures["iot_job"].usd(executions)
        + prices.figures["transfer_out"].usd(downloaded / BILLED_GB)
    )


class _Reaction(NamedTuple):
    first_bad_s: float | None
    report_s: float | None
    decision_s: float | None
    last_start_s: float | None
    exposed: dict[str, int]


def _reaction(seen: Campaigned) -> _Reaction:
    """How long it took from the first image that failed to the last start, and who was exposed."""
    truths, record, speed = seen.truths, seen.record, seen.speed
    bad = [
        min(s for s in (t.bad_boot_s, t.broken_s) if s is not None)
        for t in truths
        if t.bad_boot_s is not None or t.broken_s is not None
    ]
    first_bad_s = min(bad, default=None)
    decided_s = _decided_s(record)
    report_s = decision_s = last_start_s = None
    exposed: dict[str, int] = {}
    if record.first_bad_s is not None:
        if first_bad_s is not None:
            report_s = max(0.0, record.first_bad_s - first_bad_s / speed)
        if decided_s is not None:
            decision_s = max(0.0, decided_s - record.first_bad_s)
    if decided_s is not None:
        at_s = decided_s * speed
        started = [t.started_s for t in truths if t.started_s is not None]
        last_start_s = max(0.0, max(started, default=0.0) / speed - decided_s)
        exposed = {
            "notified": sum(t.attempt > 0 and t.queued_s <= decided_s for t in record.targets),
            "started": sum(s <= at_s for s in started),
            "installed": sum(t.installed_s is not None and t.installed_s <= at_s for t in truths),
            "failed": sum(s <= at_s for s in bad),
        }
    return _Reaction(first_bad_s, report_s, decision_s, last_start_s, exposed)


def _decided_s(record: CampaignRecord) -> float | None:
    """When new starts were first stopped. A stop that had been taken back before the first failure
    was on record is no answer to it."""
    decided_s = None
    for decision in sorted(record.decisions, key=lambda decision: decision.t_s):
        if decided_s is None and decision.action in STOPS:
            decided_s = decision.t_s
        elif (
            decision.action == "resume"
            and record.first_bad_s is not None
            and decision.t_s < record.first_bad_s
        ):
            decided_s = None
    return decided_s


def _time(times: Sequence[float], share: float, of: int) -> float | None:
    rank = int(np.ceil(share * of))
    return times[rank - 1] if 0 < rank <= len(times) else None


def growth(truths: Sequence[VehicleTruth], t_s: Sequence[float]) -> dict[str, list[int]]:
    """How many had begun, run the new image, and had failed, at each of these times."""
    kinds = {
        "started": [t.started_s for t in truths],
        "installed": [t.installed_s for t in truths],
        "failed": [t.bad_boot_s if t.bad_boot_s is not None else t.broken_s for t in truths],
    }
    at = np.asarray(t_s)
    return {
        name: np.searchsorted(np.sort([s for s in found if s is not None]), at, "right").tolist()
        for name, found in kinds.items()
    }
