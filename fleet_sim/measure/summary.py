"""`summary.json`: what a run was, measured and concluded, for machines and for the report."""

from typing import Literal

import msgspec
import numpy as np

from fleet_sim.measure.accuracy import Accuracy
from fleet_sim.measure.audit import AuditReport
from fleet_sim.measure.clock import ClockOffset
from fleet_sim.measure.cost import Estimate
from fleet_sim.measure.load import LoadReport
from fleet_sim.measure.ota import OtaReport
from fleet_sim.measure.thresholds import ThresholdResult

VERSION: Literal[1] = 1

Verdict = Literal[
    "passed", "threshold_broken", "target_failed", "generator_overloaded", "interrupted"
]

EXIT_CODES: dict[Verdict, int] = {
    "passed": 0,
    "threshold_broken": 99,
    "target_failed": 3,
    "generator_overloaded": 4,
    "interrupted": 130,
}
"""What the command exits with. 2 (an invalid scenario or argument) leaves no run behind."""

MetricStats = dict[str, float | None]
"""`count`, `min`, `mean`, `p50` … `max` (ms), or `value`. Null was not a number."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""


class Run(_Section, frozen=True):
    """Which run it was, and how it ended."""

    id: str
    """Sorts by start time: `20260601T170000Z-1a2b`. The run folder's name."""
    scenario: str
    """The scenario's name."""
    seed: int
    target: str
    """`local`, `aws` or the broker's URL."""
    started: str
    """Wall time of the first phase's beginning, ISO 8601 in UTC."""
    wall_s: float
    """From the first phase's beginning to the end of the drain, s."""
    verdict: Verdict
    exit_code: int
    """See `EXIT_CODES`."""
    reasons: list[str]
    """Why the verdict is not `passed`, one line each; empty when it is."""
    command: str = ""
    """The command line that repeats the run."""


class ShardFigures(_Section, frozen=True):
    """One process of the load generator."""

    vehicles: int
    connected: int
    messages: int
    """Due, and recorded by it."""
    sent: int
    cpu_s: float
    """During the phases; of a process that died: since it began."""
    rss_mb: float
    """Memory at the end, 1e6 bytes."""
    lateness_ms: MetricStats
    """Empty for a process that died: it took its own lateness with it."""
    died: str = ""
    """How it died; empty when it came to its end."""


class Generator(_Section, frozen=True):
    """The load generator's own health: whether the figures can be trusted."""

    vehicles: int
    """Vehicles that the scenario asks for."""
    connected: int
    """Vehicles that had a connection when the first phase began."""
    scheduled: int
    """Messages that the whole schedule has."""
    sent: int
    acknowledged: int
    late: int
    """Messages sent later after their intended time than the generator allows itself."""
    dropped: int
    """Messages given up, whatever the cause."""
    lateness_ms: MetricStats
    """Sent minus intended, of what was sent."""
    cpu_s: float
    """CPU time of the generator's processes during the run, s."""
    cpu_us_per_message: float | None
    """`cpu_s` by message sent, us; null when none was."""
    event_loop_lag_ms: MetricStats
    """How much later than asked the event loop ran its timers."""
    not_offered: int = 0
    """Messages of the schedule that were never due: the run, or the process that had them, ended
    before."""
    shards: list[ShardFigures] = []
    """By process."""


class PhaseSpan(_Section, frozen=True):
    """When a phase was, in wall seconds since the first phase's beginning."""

    name: str
    start_s: float
    end_s: float


class Event(_Section, frozen=True):
    """Something that happened to the run: a fault, an outage, a note."""

    t_s: float
    """Wall seconds since the first phase's beginning."""
    kind: str
    """`fault`, `outage`, `note` …"""
    text: str
    end_s: float | None = None
    """Null for a moment."""


class Environment(_Section, frozen=True):
    """Where the generator ran."""

    python: str
    platform: str
    cpus: int
    versions: dict[str, str]
    """Distribution name to version, `fleet-sim` first."""


class Summary(_Section, frozen=True):
    """The whole of `summary.json`."""

    run: Run
    metrics: dict[str, MetricStats]
    """By name with tags: `latency_ms{stage:acknowledged}`. What thresholds are about."""
    thresholds: list[ThresholdResult]
    """In the scenario's order."""
    audit: AuditReport | None
    """Null when the run ended before it could be audited."""
    generator: Generator
    accuracy: Accuracy | None
    """Null when the target has no map, or the run ended before it was asked."""
    phases: list[PhaseSpan]
    events: list[Event]
    environment: Environment
    cost: Estimate | None = None
    """What this would cost on AWS; null when nothing was sent, or the region has no prices."""
    clock: ClockOffset | None = None
    """The cloud's clock against the generator's; null when no message was seen at the API."""
    version: Literal[1] = VERSION
    """Of this document. Fields may be added to a version; what is there keeps its meaning."""
    ota: OtaReport | None = None
    """Null when the run had no update campaign."""
    load: LoadReport | None = None
    """What users of the API found meanwhile; null when the run had no load test."""


def to_json(summary: Summary) -> bytes:
    """Indented JSON, one line break at the end."""
    return msgspec.json.format(msgspec.json.encode(summary, enc_hook=_number), indent=2) + b"\n"


def _number(value: object) -> object:
    # NumPy's float64 is a float to the type checker, and slips into a section unseen.
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"summary.json cannot hold a {type(value).__name__}: {value!r}")


def from_json(data: bytes | str) -> Summary:
    """`ValueError` names the field that is unknown, missing or of the wrong type."""
    try:
        return msgspec.json.decode(data, type=Summary)
    except msgspec.DecodeError as error:
        raise ValueError(f"summary.json: {error}") from None
