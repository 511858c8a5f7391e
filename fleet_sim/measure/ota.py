"""An update campaign: what the backend says of each vehicle against what is true of it.

Times are simulated seconds after the run's beginning, so that they compare with the scenario's
durations; the gate's reaction is the backend's own work and is measured by its clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from fleet_sim.contract.campaign_records import Target
from fleet_sim.measure.thresholds import ThresholdResult, evaluate

REASONS: dict[str, tuple[str, ...]] = {
    "flipped_byte": ("hash",),
    "wrong_key": ("signature",),
    "wrong_length": ("wrong length",),
    "endless_data": ("endless data",),
    "replay": ("replay",),
    "freeze": ("freeze",),
    "mix_and_match": ("mix and match",),
    "rollback": ("rollback",),
}
"""What a vehicle has to report about each attack."""


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
    writes: dict[int, int] = {}
    """Release → how often it was written whole, ..."""
    commits: dict[int, int] = {}
    """... and how often it was committed."""
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
    """Installations that began while a precondition did not hold, and reboots under way."""
    states: list[tuple[float, str]] = []


class Decision(msgspec.Struct, frozen=True):
    """A line of the backend's audit log."""

    t_s: float
    """By the backend's clock: s after the run's beginning."""
    who: str
    action: str
    detail: str = ""


STOPS = frozenset({"gate abort", "gate pause", "abort", "pause"})
"""Actions of the audit log that stop new starts."""


class CampaignRecord(msgspec.Struct, frozen=True):
    """What the backend has on record."""

    state: str
    reason: str
    targets: list[Target]
    """`heard_s`, `queued_s`: s after the run's beginning, by the backend's clock."""
    decisions: list[Decision]
    waves: list[dict[str, int]] = []
    """By wave: `size`, `completed` and `bad`: the gate's denominator and numerator."""
    first_bad_s: float | None = None
    """When the first failure was on record: `first_on_record`."""


def first_on_record(targets: Iterable[Target], told_s: Mapping[str, float]) -> float | None:
    """When the backend first had a failure on record that counts against a gate: the last word of
    a vehicle that failed for good or refused, or the moment at which it was told of a late fault
    (`told_s`, by thing). One that was tried again, and then succeeded, is none."""
    bad = [t.heard_s for t in targets if t.status in ("failed", "rejected")]
    bad += [told_s[t.thing] for t in targets if t.faulty and t.thing in told_s]
    return min(bad, default=None)


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One wave's gate."""

    size: int
    completed: int
    bad: int
    in_truth_bad: int
    """Vehicles of it whose new image failed, whatever the backend knows."""


class Installs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One release, over all vehicles."""

    release: int
    written: int
    """Vehicles that wrote it whole."""
    committed: int
    """Vehicles that boot it from then on."""
    most: int
    """Most often that one vehicle wrote it: 1, or something was installed twice."""


Untruth = Literal["false success", "false failure", "stuck", "does not boot", "installed twice"]


class Contradiction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vehicle with which something is wrong."""

    vin: str
    what: Untruth
    status: str
    """On record, ..."""
    attempt: int
    reason: str
    runs: str
    """... and in truth."""


MOST_CONTRADICTIONS = 20
"""Of these vehicles in a summary; `ota.parquet` has every vehicle."""


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
    """Installations that began while a precondition did not hold, and reboots under way."""
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
    cost_usd: float | None
    """Of messages, job executions and downloads, at the list prices of `priced`; null when the
    table has none of the region."""
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
    truth: dict[str, dict[str, int]] = {}
    """By status on record: vehicles by what is true of them, a version or `does not boot`."""
    installs: list[Installs] = []
    """By release that any vehicle wrote."""
    contradictions: list[Contradiction] = []
    """The first of them, by VIN."""
    speed: float | None = None
    """Simulated seconds a second of the backend's clock; null in summaries of before."""
    priced: str = ""
    """Region and date of the prices: `us-east-1, 2026-10-31`."""

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
            if self.cost_usd is not None:
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


def campaign_thresholds(
    thresholds: Mapping[str, Sequence[str]], report: OtaReport
) -> list[ThresholdResult]:
    """Those of a scenario that are about its campaign."""
    mine = {name: conditions for name, conditions in thresholds.items() if name[:4] == "ota_"}
    return evaluate(mine, report.metrics())
