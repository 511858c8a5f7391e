"""An update campaign: what the backend says of each vehicle against what is true of it.

Times are simulated seconds after the run's beginning, so that they compare with the scenario's
durations; the gate's reaction is the backend's own work and is measured by its clock.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from fleet_sim.contract.campaigns import FINAL, Target
from fleet_sim.measure.thresholds import ThresholdResult, evaluate

GB = 1e9
MESSAGE_USD = 1.0 / 1e6
"""AWS IoT Core, a message of up to 5 KB, us-east-1."""
JOB_USD = 0.003
"""AWS IoT Device Management, an execution of a job, us-east-1."""
OUT_USD_PER_GB = 0.09
"""Amazon S3, data out to the internet, us-east-1, first 10 TB a month."""


class VehicleTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What really happened to one vehicle."""

    vehicle: int
    """Index in the whole fleet."""
    had: str
    """Version before, ..."""
    runs: str
    """... and the one that is committed at the end."""
    boots: bool = True
    """Whether what is committed boots."""
    writes: int = 0
    """Most often that one release was written whole."""
    commits: int = 0
    started_s: float | None = None
    """First step of its first job."""
    installed_s: float | None = None
    bad_boot_s: float | None = None
    """First boot or self-test of a new image that failed."""
    broken_s: float | None = None
    """When it broke after an installation that had succeeded."""
    downloaded: float = 0.0
    """Bytes that came, ..."""
    wasted: float = 0.0
    """... those deleted without an installation, ..."""
    resumed: float = 0.0
    """... and those that did not have to come again."""
    power_losses: int = 0
    requests: int = 0
    """To the Jobs service."""
    violations: int = 0
    """Installations that began while a precondition did not hold."""
    states: list[tuple[float, str]] = []


class Decision(msgspec.Struct, frozen=True):
    """A line of the backend's audit log."""

    t_s: float
    """By the backend's clock: s after the run's beginning."""
    who: str
    action: str
    detail: str = ""


class CampaignRecord(msgspec.Struct, frozen=True):
    """What the backend has on record."""

    state: str
    reason: str
    targets: list[Target]
    """`heard_s`: s after the run's beginning, by the backend's clock."""
    decisions: list[Decision]
    waves: list[dict[str, int]] = []
    """By wave: `size`, `completed` and `bad`: the gate's denominator and numerator."""
    first_bad_s: float | None = None
    """When the first failure was on record."""


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One wave's gate."""

    size: int
    completed: int
    bad: int
    in_truth_bad: int
    """Vehicles of it whose new image failed, whatever the backend knows."""


class OtaReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Record against truth."""

    vehicles: int
    eligible: int
    """Those that did not run the version."""
    state: str
    """Of the campaign at the end."""
    statuses: dict[str, int]
    reasons: dict[str, int]
    """Of those that did not succeed."""
    attack: str
    runs_new: int
    """Vehicles that run the new image in truth."""
    notified: int
    started: int
    """Vehicles that began with the job."""
    false_success: int
    """It is said to have succeeded, and the new image does not run."""
    false_failure: int
    """The new image runs, and the record says that it ended otherwise."""
    stuck: int
    """Got a job, and no end is on record."""
    unbootable: int
    installed_twice: int
    attack_installed: int
    """Vehicles that run what an attacker brought."""
    violations: int
    """Installations that began while a precondition did not hold."""
    bad_boots: int
    """Vehicles whose new image did not boot or pass its self-test."""
    broken_later: int
    """Vehicles that broke after a successful installation."""
    retries: int
    downloaded_gb: float
    wasted_gb: float
    resumed_gb: float
    done_50_s: float | None
    """Time until half of the eligible vehicles run the new image, ..."""
    done_95_s: float | None
    done_99_s: float | None
    requests: int
    """Of vehicles to the Jobs service."""
    cost_usd: float
    """Of messages, job executions and downloads, at list prices."""
    waves: list[Wave]
    first_bad_s: float | None
    """First image that failed, in truth."""
    report_s: float | None
    """From there until the backend had it on record, by its clock."""
    decision_s: float | None
    """From the record until it stopped the campaign, by its clock."""
    last_start_s: float | None
    """From the decision until the last vehicle that began, by its clock; 0: none after it."""
    exposed: dict[str, int]
    """Notified, started, installed and failed at the moment of the decision; empty without one."""
    decisions: list[Decision]
    simulated_s: float = 0.0

    @property
    def sound(self) -> bool:
        """Every vehicle boots, every job that was given ended, and every status is the truth."""
        return not (
            self.false_success
            or self.false_failure
            or self.stuck
            or self.unbootable
            or self.installed_twice
            or self.attack_installed
        )

    def metrics(self) -> dict[str, dict[str, float]]:
        """As thresholds ask for them."""
        found: dict[str, dict[str, float]] = {
            f"ota_{name}": {"count": getattr(self, name)} for name in COUNTED
        }
        for name in MEASURED:
            value = getattr(self, name)
            if value is not None:
                found[f"ota_{name}"] = {"value": value}
        share = self.runs_new / self.vehicles if self.vehicles else 0.0
        wrong = self.false_success + self.false_failure
        found["ota_updated"] = {"value": share}
        found["ota_correct"] = {"value": 1.0 - wrong / self.vehicles if self.vehicles else 1.0}
        failed = self.statuses.get("failed", 0) + self.statuses.get("rejected", 0)
        found["ota_failed"] = {"count": failed}
        of = max(self.eligible, 1)
        found["ota_started_share"] = {"value": self.started / of}
        found["ota_retry_share"] = {"value": self.retries / of}
        found["ota_aborted"] = {"value": float(self.state in ("aborting", "aborted"))}
        found["ota_done_s"] = {
            f"p{n}": value
            for n, value in ((50, self.done_50_s), (95, self.done_95_s), (99, self.done_99_s))
            if value is not None
        }
        succeeded = self.statuses.get("succeeded", 0)
        if succeeded:
            found["ota_requests_each"] = {"value": self.requests / succeeded}
            found["ota_cost_each_usd"] = {"value": self.cost_usd / succeeded}
        for name in ("notified", "started", "installed", "failed"):
            if self.exposed:
                found[f"ota_exposed{{kind:{name}}}"] = {"count": self.exposed[name]}
        for name, count in self.statuses.items():
            found[f"ota_vehicles{{status:{name}}}"] = {"count": count}
        for name, count in self.reasons.items():
            found[f"ota_reasons{{reason:{name.replace(' ', '_')}}}"] = {"count": count}
        return found


COUNTED = (
    "eligible", "notified", "started", "runs_new", "false_success", "false_failure", "stuck",
    "unbootable", "installed_twice", "attack_installed", "violations", "bad_boots", "broken_later",
    "retries", "requests",
)  # fmt: skip
MEASURED = ("downloaded_gb", "wasted_gb", "resumed_gb", "report_s", "decision_s", "last_start_s")
METRICS = (
    *(f"ota_{name}" for name in COUNTED),
    *(f"ota_{name}" for name in MEASURED),
    "ota_updated",
    "ota_correct",
    "ota_aborted",
    "ota_failed",
    "ota_started_share",
    "ota_retry_share",
    "ota_done_s",
    "ota_requests_each",
    "ota_cost_each_usd",
    "ota_exposed",
    "ota_vehicles",
    "ota_reasons",
)
"""Names of all that a campaign measures."""


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


def judge_campaign(seen: Campaigned) -> OtaReport:
    """Compare."""
    truths, record = seen.truths, seen.record
    new = seen.version
    eligible = sum(truth.had != new for truth in truths)
    runs = [truth.runs == new for truth in truths]
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    false_success = false_failure = stuck = notified = 0
    sizes: Counter[int] = Counter()
    bad_in_truth: Counter[int] = Counter()
    for target in record.targets:
        i = seen.vehicle_of(target.thing)
        truth = truths[i]
        statuses[target.status] += 1
        notified += target.attempt > 0
        sizes[target.wave] += 1
        bad_in_truth[target.wave] += truth.bad_boot_s is not None or truth.broken_s is not None
        false_success += target.status == "succeeded" and not runs[i]
        false_failure += target.status in FINAL and target.status != "succeeded" and runs[i]
        stuck += target.attempt > 0 and target.status not in FINAL
        if target.status in ("failed", "rejected"):
            reasons[target.reason] += 1
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
        false_success=false_success,
        false_failure=false_failure,
        stuck=stuck,
        unbootable=sum(not truth.boots for truth in truths),
        installed_twice=sum(truth.writes > 1 for truth in truths),
        attack_installed=sum(t.writes > 0 for t in truths) if seen.attack != "none" else 0,
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
        # An answer to each request, and a notice an execution.
        cost_usd=(2 * requests + executions) * MESSAGE_USD
        + executions * JOB_USD
        + downloaded / GB * OUT_USD_PER_GB,
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
    )


STOPS = frozenset({"gate abort", "gate pause", "abort", "pause"})
"""Actions of the audit log that stop new starts."""


class _Reaction(NamedTuple):
    first_bad_s: float | None
    report_s: float | None
    decision_s: float | None
    last_start_s: float | None
    exposed: dict[str, int]


def _reaction(seen: Campaigned) -> _Reaction:
    """How long it took from the first image that failed to the last start, and who was exposed."""
    truths, record, speed = seen.truths, seen.record, seen.speed
    bad = [s for t in truths for s in (t.bad_boot_s, t.broken_s) if s is not None]
    first_bad_s = min(bad, default=None)
    stopped = [d.t_s for d in record.decisions if d.action in STOPS]
    decided_s = min(stopped, default=None)
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
            "notified": sum(t.attempt > 0 for t in record.targets),
            "started": sum(s <= at_s for s in started),
            "installed": sum(t.installed_s is not None and t.installed_s <= at_s for t in truths),
            "failed": sum(s <= at_s for s in bad),
        }
    return _Reaction(first_bad_s, report_s, decision_s, last_start_s, exposed)


def campaign_thresholds(
    thresholds: Mapping[str, Sequence[str]], report: OtaReport
) -> list[ThresholdResult]:
    """Those of a scenario that are about its campaign."""
    mine = {name: conditions for name, conditions in thresholds.items() if name[:4] == "ota_"}
    return evaluate(mine, report.metrics())


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
