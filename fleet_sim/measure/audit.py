"""The audit: reconciles the ledger with the archive and with what the cloud says it applied.

Every message of the ledger gets exactly one `Fate`. A fate that is a problem is explained (the
message was given up, resent, or in the air during an outage) or it is not; `unexplained` counts
messages, and must be 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.applied import Applied, load_applied
from fleet_sim.measure.archived import (
    SEQ_BITS,
    Archive,
    Archived,
    ArchiveRow,
    ArchiveRows,
    VehicleIndex,
)
from fleet_sim.measure.fates import NO_OUTAGE, Fate, Findings, decide
from fleet_sim.measure.ledger import DropCause, LedgerColumns
from fleet_sim.measure.parts import PART_ROWS, parts_of
from fleet_sim.measure.stories import Stories, Story, joined, tell

DEFAULT_GRACE_NS = 1_000_000_000
"""An outage explains a missing acknowledgement of what was sent up to this long before it."""

MAX_STORIES = 100


class Outage(NamedTuple):
    """A time in which messages could not arrive, or their acknowledgements not return."""

    start_ns: int
    end_ns: int
    what: str
    """For people: `radio down in the north`."""
    vehicles: Sequence[int] | None = None
    """Indices of those affected; None is all."""


class AuditReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Counts of messages, one message counted once in each. The part of the audit people read."""

    messages: int
    """Rows of the ledger: all that were due."""
    sent: int
    acknowledged: int
    """Answered by a PUBACK that reports success."""
    archived: int | None
    """Messages of the ledger found in the archive; null when the target has no cloud."""
    applied: int | None
    """Messages of the ledger that a vehicle's state lists as applied; null without a cloud."""
    lost: int
    """Acknowledged, but neither archived nor applied."""
    lost_qos0: int
    """Sent with QoS 0, neither archived nor applied."""
    unapplied: int
    """Archived, not applied."""
    applied_not_archived: int
    """Applied, not archived; with messages that the ledger does not know."""
    duplicated: int
    """In the stream more than once, under different sequence numbers."""
    rearchived: int
    """Archive lines that repeat a stream record: a retry, harmless."""
    reordered: int
    """Came out of the stream after a later message of the same vehicle (RFC 4737, section 3)."""
    unacknowledged: int
    """Sent with QoS 1 and never acknowledged: the next two together."""
    unacknowledged_archived: int
    """… that arrived all the same: harmless."""
    unacknowledged_missing: int
    """… that are neither archived nor applied."""
    dropped: dict[str, int]
    """Given up by the generator and not archived, by cause."""
    unsent: int
    """Due, and neither sent nor given up: the generator's own hole."""
    phantom: int
    """Archived, but never sent according to the ledger."""
    newest_mismatch: int
    """Vehicles whose stored newest number is not the highest that they list as applied."""
    explained: int
    """Problem messages with an explanation."""
    unexplained: int
    """Problem messages (and vehicles of `newest_mismatch`) without one. Must be 0."""
    fates: dict[str, int]
    """Each message of the ledger by its one fate: they add up to `messages`."""
    stories: list[Story]
    """At most 100 problem messages, those without an explanation first."""

    def metrics(self) -> dict[str, dict[str, float]]:
        """`audit_lost: {"count": 0}` … for thresholds; what was not audited is left out."""
        counts = {name: getattr(self, name) for name in self.__struct_fields__}
        metrics: dict[str, dict[str, float]] = {
            f"audit_{name}": {"count": count}
            for name, count in counts.items()
            if isinstance(count, int)
        }
        metrics["audit_dropped"] = {"count": sum(self.dropped.values())}
        for cause, count in self.dropped.items():
            metrics[f"audit_dropped{{cause:{cause}}}"] = {"count": count}
        return metrics


@dataclass(frozen=True)
class AuditResult:
    """`report`, and what the audit found out about each ledger row; arrays `[n]`."""

    report: AuditReport
    fate: NDArray[np.uint8]
    """A `Fate`."""
    explained: NDArray[np.bool_]
    stream_ns: NDArray[np.int64]
    """First arrival in the stream, ns since the epoch; 0 when it is not in the archive."""
    processed_ns: NDArray[np.int64]
    """When the batch of that arrival was taken up."""


def audit(
    ledger: LedgerColumns,
    archive: Iterable[ArchiveRow] | ArchiveRows | None,
    applied: Mapping[str, str] | None,
    newest: Mapping[str, int] | None,
    vins: Sequence[str],
    *,
    outages: Sequence[Outage] = (),
    qos0: NDArray[np.bool_] | None = None,
    t0_ns: int | None = None,
    grace_ns: int = DEFAULT_GRACE_NS,
    part_rows: int = PART_ROWS,
) -> AuditResult:
    """Reconcile one run.

    - `archive`: all records of the run, any order, lines repeated or not.
    - `applied`: interval text by vin; `newest`: highest sequence number stored by vin. All three
      are None for a target without a cloud, and then only acknowledgements are audited.
    - `vins`: vin of each vehicle index of the ledger.
    - `qos0`: `[vehicles]`, True for those that publish with QoS 0; None is nobody.
    - `part_rows`: rows of ledger and archive that are looked at together.
    - `t0_ns`: what stories count seconds from; default: the first intended time.

    `ValueError` when the ledger has a message twice or an unknown vehicle, when an interval text
    is malformed (naming the vehicle and the text), or when only a part of the cloud is given.
    """
    cloud = (archive is not None, applied is not None, newest is not None)
    if any(cloud) != all(cloud):
        raise ValueError("audit: archive, applied and newest are given together or not at all")
    vehicles = VehicleIndex(list(vins))
    if len(ledger.vehicle) and int(ledger.vehicle.max()) >= vehicles.known:
        raise ValueError(
            f"ledger: vehicle {int(ledger.vehicle.max())} is not among the {vehicles.known} vins"
        )
    whole: Archive | None = None
    listed: Applied | None = None
    if archive is not None and applied is not None and newest is not None:
        whole = Archive(archive, vehicles)
        listed = load_applied(applied, newest, vehicles)
    n = len(ledger.vehicle)
    t0 = t0_ns if t0_ns is not None else int(ledger.intended_ns.min(initial=2**62))
    fate, is_explained = np.zeros(n, np.uint8), np.zeros(n, np.bool_)
    stream_ns, processed_ns = np.zeros(n, np.int64), np.zeros(n, np.int64)
    reports: list[AuditReport] = []
    told: list[Stories] = []
    for part in parts_of(ledger.vehicle, whole, len(vehicles.vins), part_rows):
        mine = ledger.at(part.rows)
        key, by_key = _ledger_keys(mine)
        qos0_row = np.zeros(len(key), np.bool_) if qos0 is None else qos0[mine.vehicle]
        archived = None if whole is None else whole.part(part.archived)
        has = None
        if listed is not None:
            has = listed.of(part.begin, part.end)
            if not reports:
                has = has._replace(mismatches=listed.mismatches)
        found = decide(mine, key, by_key, qos0_row, archived, has)
        outage = _outages(mine, found.needs_outage, outages, grace_ns)
        explained = found.explained | (outage != NO_OUTAGE)
        unexplained = found.problem & ~explained
        told.append(
            tell(
                mine,
                found,
                unexplained,
                vehicles.vins,
                causes=[o.what for o in outages],
                outage=outage,
                t0_ns=t0,
                limit=MAX_STORIES,
            )
        )
        reports.append(_report(mine, found, qos0_row, explained, unexplained, archived))
        fate[part.rows], is_explained[part.rows] = found.fate, explained
        stream_ns[part.rows], processed_ns[part.rows] = found.stream_ns, found.processed_ns
    report = _sum(reports, joined(told, MAX_STORIES))
    return AuditResult(report, fate, is_explained, stream_ns, processed_ns)


def _ledger_keys(ledger: LedgerColumns) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """`vehicle << 32 | seq` of each row, and what sorts them."""
    key: NDArray[np.uint64] = (ledger.vehicle.astype(np.uint64) << np.uint64(SEQ_BITS)) | ledger.seq
    by_key = np.argsort(key)
    ordered = key[by_key]
    again = ordered[1:] == ordered[:-1]
    if again.any():
        twice = int(ordered[1:][again][0])
        vehicle, seq = twice >> SEQ_BITS, twice & 0xFFFFFFFF
        raise ValueError(f"ledger: vehicle {vehicle} seq {seq} was opened more than once")
    return key, by_key


def _outages(
    ledger: LedgerColumns, candidates: NDArray[np.bool_], outages: Sequence[Outage], grace_ns: int
) -> NDArray[np.int32]:
    """For each row the index of the first outage that explains it, or `NO_OUTAGE`."""
    which = np.full(len(candidates), NO_OUTAGE, np.int32)
    rows = np.flatnonzero(candidates)
    for i, outage in enumerate(outages):
        sent = ledger.sent_ns[rows]
        hit = (sent <= outage.end_ns) & (sent + grace_ns >= outage.start_ns)
        if outage.vehicles is not None:
            hit &= np.isin(ledger.vehicle[rows], np.asarray(outage.vehicles, np.uint32))
        which[rows[hit]] = i
        rows = rows[~hit]
    return which


def _report(
    ledger: LedgerColumns,
    found: Findings,
    qos0: NDArray[np.bool_],
    explained: NDArray[np.bool_],
    unexplained: NDArray[np.bool_],
    archived: Archived | None,
) -> AuditReport:
    """Of a part of the fleet; without stories."""
    fate = found.fate
    count = np.bincount(fate, minlength=len(Fate)).tolist()
    sent = ledger.sent_ns != 0
    unacknowledged = sent & ~ledger.acknowledged & ~qos0
    arrived = found.archived | found.applied
    dropped = np.bincount(ledger.cause[fate == Fate.DROPPED], minlength=len(DropCause)).tolist()
    no_cloud = archived is None
    return AuditReport(
        messages=len(fate),
        sent=int(sent.sum()),
        acknowledged=int(ledger.acknowledged.sum()),
        archived=None if no_cloud else int(found.archived.sum()),
        applied=None if no_cloud else int(found.applied.sum()),
        lost=count[Fate.LOST],
        lost_qos0=count[Fate.LOST_QOS0],
        unapplied=count[Fate.UNAPPLIED],
        applied_not_archived=count[Fate.APPLIED_NOT_ARCHIVED] + found.applied_strangers,
        duplicated=int(found.duplicated.sum()),
        rearchived=0 if archived is None else archived.rearchived,
        reordered=int(found.reordered.sum()),
        unacknowledged=int(unacknowledged.sum()),
        unacknowledged_archived=int((unacknowledged & arrived).sum()),
        unacknowledged_missing=int((unacknowledged & ~arrived).sum()),
        dropped={c.name.lower(): dropped[c] for c in DropCause},
        unsent=count[Fate.UNSENT],
        phantom=count[Fate.PHANTOM] + len(found.phantoms),
        newest_mismatch=len(found.newest_mismatches),
        explained=int((found.problem & explained).sum()),
        unexplained=int(unexplained.sum())
        + len(found.phantoms)
        + found.applied_strangers
        + len(found.newest_mismatches),
        fates={f.name.lower(): count[f] for f in Fate},
        stories=[],
    )


def _sum(parts: Sequence[AuditReport], stories: list[Story]) -> AuditReport:
    """Of the whole fleet; what there was none of is not named."""
    total: dict[str, Any] = {}
    for name in AuditReport.__struct_fields__:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], int):
            total[name] = sum(values)
        elif isinstance(values[0], dict):
            counts = {key: sum(value[key] for value in values) for key in values[0]}
            total[name] = {key: count for key, count in counts.items() if count}
        else:
            total[name] = None
    return AuditReport(**{**total, "stories": stories})
