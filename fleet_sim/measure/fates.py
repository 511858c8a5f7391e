"""Which fate each message had: the audit's comparisons, on arrays of millions of rows."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.applied import Applied, Mismatch
from fleet_sim.measure.archived import SEQ_BITS, Archived
from fleet_sim.measure.ledger import DropCause, LedgerColumns

NO_OUTAGE = -1

_MAX_NAMED = 100

Bools = NDArray[np.bool_]


class Fate(IntEnum):
    """What became of a message. Where several hold, the one listed first is its fate, save that
    `APPLIED` and `ACKNOWLEDGED`, the good ends, come last."""

    APPLIED = 0
    """Sent, acknowledged (QoS 1), archived and applied."""
    ACKNOWLEDGED = 1
    """The good end where no cloud is audited: acknowledged, or sent with QoS 0."""
    PHANTOM = 2
    """Archived, though never sent."""
    APPLIED_NOT_ARCHIVED = 3
    LOST = 4
    """Acknowledged, neither archived nor applied."""
    UNAPPLIED = 5
    """Archived, not applied."""
    DROPPED = 6
    """Given up, for its `DropCause`."""
    LOST_QOS0 = 7
    UNSENT = 8
    """Neither sent nor given up."""
    UNACKNOWLEDGED = 9
    """Sent with QoS 1, no acknowledgement, not archived."""
    DUPLICATED = 10
    REORDERED = 11
    UNACKNOWLEDGED_ARCHIVED = 12
    """Archived and applied; only the acknowledgement is missing."""


_HARMLESS = (Fate.APPLIED, Fate.ACKNOWLEDGED, Fate.UNACKNOWLEDGED_ARCHIVED)


@dataclass(frozen=True)
class Findings:
    """Per ledger row, arrays `[n]`, and what has no row."""

    fate: NDArray[np.uint8]
    archived: Bools
    applied: Bools
    duplicated: Bools
    reordered: Bools
    copies: NDArray[np.int64]
    """Distinct stream records of the message."""
    stream_ns: NDArray[np.int64]
    processed_ns: NDArray[np.int64]
    problem: Bools
    explained: Bools
    """By the ledger alone: given up, or resent."""
    needs_outage: Bools
    """An outage would explain it."""
    phantoms: list[tuple[int, int]]
    """(vehicle, seq) archived without a ledger row."""
    applied_strangers: int
    """Applied with neither a ledger row nor an archive record: how many."""
    applied_strangers_named: list[tuple[int, int]]
    newest_mismatches: list[Mismatch]


def decide(
    ledger: LedgerColumns,
    key: NDArray[np.uint64],
    by_key: NDArray[np.intp],
    qos0: Bools,
    archived: Archived | None,
    applied: Applied | None,
) -> Findings:
    """Of all messages of some vehicles. `key`: `vehicle << 32 | seq` of each row, distinct;
    `by_key` sorts them; `qos0`: rows published with QoS 0."""
    n = len(key)
    none = np.zeros(n, np.bool_)
    sent = ledger.sent_ns != 0
    acked = ledger.acknowledged
    copies = np.zeros(n, np.int64)
    stream_ns = np.zeros(n, np.int64)
    processed_ns = np.zeros(n, np.int64)
    reordered, overtaken = none, none
    is_applied = none
    phantoms: list[tuple[int, int]] = []
    strangers: tuple[int, list[tuple[int, int]]] = (0, [])
    if archived is not None and applied is not None:
        keys = key[by_key]
        # `archived` is in stream order and np.unique returns first positions: the first copy.
        seen, first, count = np.unique(archived.key, return_index=True, return_counts=True)
        at = np.searchsorted(keys, seen)
        known = (at < n) & (keys[np.minimum(at, n - 1)] == seen) if n else at < 0
        row = by_key[at[known]]
        copies[row] = count[known]
        stream_ns[row] = archived.arrival_ns[first[known]]
        processed_ns[row] = archived.processed_ns[first[known]]
        phantoms = [(int(k) >> SEQ_BITS, int(k) & 0xFFFFFFFF) for k in seen[~known]]
        is_applied = applied.contains(key)
        in_stream = row[np.argsort(first[known], kind="stable")]
        in_stream = in_stream[sent[in_stream]]
        everything = keys if not phantoms else np.union1d(keys, seen)
        strangers = applied.strangers(everything, _MAX_NAMED)
        reordered, overtaken = _order(ledger, by_key, in_stream)
    is_archived = copies > 0
    duplicated = copies > 1
    resent = ledger.resent > 0
    given_up = ledger.cause != DropCause.NONE
    # Its process died: it may have been sent although the ledger has no time of that.
    unknown = ledger.cause == DropCause.SHARD_LOST
    nowhere = ~is_archived & ~is_applied
    audited = archived is not None
    conditions = [
        (Fate.PHANTOM, ~sent & is_archived & ~unknown),
        (Fate.APPLIED_NOT_ARCHIVED, is_applied & ~is_archived),
        (Fate.LOST, acked & nowhere & audited),
        (Fate.UNAPPLIED, is_archived & ~is_applied),
        (Fate.DROPPED, nowhere & ~acked & given_up),
        (Fate.LOST_QOS0, nowhere & sent & qos0 & audited),
        (Fate.UNSENT, ~sent & ~is_archived),
        (Fate.UNACKNOWLEDGED, nowhere & ~acked & ~qos0),
        (Fate.DUPLICATED, duplicated),
        (Fate.REORDERED, reordered),
        (Fate.UNACKNOWLEDGED_ARCHIVED, ~acked & ~qos0),
    ]
    good = Fate.APPLIED if audited else Fate.ACKNOWLEDGED
    codes = [np.uint8(f) for f, _ in conditions]
    fate = np.select([c for _, c in conditions], codes, np.uint8(good))
    problem = ~np.isin(fate, _HARMLESS)
    # A late-comer may have been sent late by the generator itself, after an outage.
    explained = np.select(
        [fate == Fate.DROPPED, fate == Fate.DUPLICATED, fate == Fate.REORDERED],
        [~none, resent, resent | ~overtaken],
        False,
    )
    return Findings(
        fate=fate,
        archived=is_archived,
        applied=is_applied,
        duplicated=duplicated,
        reordered=reordered,
        copies=copies,
        stream_ns=stream_ns,
        processed_ns=processed_ns,
        problem=problem,
        explained=explained,
        needs_outage=np.isin(fate, (Fate.UNACKNOWLEDGED, Fate.LOST_QOS0)),
        phantoms=phantoms,
        applied_strangers=strangers[0],
        applied_strangers_named=strangers[1],
        newest_mismatches=[] if applied is None else applied.mismatches,
    )


def _order(
    ledger: LedgerColumns, by_seq: NDArray[np.intp], rows: NDArray[np.intp]
) -> tuple[Bools, Bools]:
    """Rows that came after a later message of their vehicle, `[n]`: later by sequence number, and
    later by the generator's own sending.

    `by_seq`: all rows by vehicle and sequence number; `rows`: archived ones in stream order.
    """
    # A stable sort by vehicle keeps stream order within each.
    rows = rows[np.argsort(ledger.vehicle[rows], kind="stable")]
    reordered = _behind(by_seq, rows)
    vehicle, sent_ns = ledger.vehicle[by_seq], ledger.sent_ns[by_seq]
    if ((sent_ns[1:] >= sent_ns[:-1]) | (vehicle[1:] != vehicle[:-1])).all():
        return reordered, reordered  # what was numbered later was sent later
    return reordered, _behind(np.lexsort((ledger.seq, ledger.sent_ns, ledger.vehicle)), rows)


def _behind(order: NDArray[np.intp], rows: NDArray[np.intp]) -> Bools:
    """Which of the `rows`, vehicle by vehicle, come after one that `order` has later."""
    # Ranks grow with the vehicle, so one running maximum over all starts afresh at each vehicle.
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    behind = np.zeros(len(order), np.bool_)
    behind[rows] = np.maximum.accumulate(rank[rows]) > rank[rows]
    return behind
