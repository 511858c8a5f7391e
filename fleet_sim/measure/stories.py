"""The story of a problem message: all that is known of it, in order, with times."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.measure.fates import NO_OUTAGE, Fate, Findings
from fleet_sim.measure.ledger import REJECTED_FROM, DropCause, LedgerColumns


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message (or, for `newest_mismatch`, one vehicle) that is not as it should be."""

    vin: str
    seq: int
    fate: str
    """A fate in lower case, or `newest_mismatch`."""
    explanation: str
    """Empty when there is none."""
    known: list[str]
    """In order: `intended 12.300 s`, `sent +0.2 ms`, `acknowledged +14.0 ms`, `never archived`."""


class Stories(NamedTuple):
    """By what they are of, in the order in which they are told; each kind by vehicle and sequence
    number, and no more than were asked for."""

    mismatches: list[Story]
    phantoms: list[Story]
    strangers: list[Story]
    unexplained: list[Story]
    explained: list[Story]


def joined(parts: Sequence[Stories], limit: int) -> list[Story]:
    """Of parts of the fleet, in order of vehicles: at most `limit` stories."""
    kinds = [[story for part in parts for story in part[i]] for i in range(len(Stories._fields))]
    return [story for kind in kinds for story in kind][:limit]


def tell(
    ledger: LedgerColumns,
    found: Findings,
    unexplained: NDArray[np.bool_],
    vins: Sequence[str],
    *,
    causes: Sequence[str],
    outage: NDArray[np.int32],
    t0_ns: int,
    limit: int,
) -> Stories:
    """At most `limit` stories of each kind.

    `causes`: what each outage was; `outage`: the index of the one that explains a row.
    """
    mismatches = [
        Story(
            vins[m.vehicle],
            m.newest,
            "newest_mismatch",
            "",
            [f"stored newest {m.newest}", f"highest applied {m.highest}"],
        )
        for m in found.newest_mismatches[:limit]
    ]
    phantoms = [
        Story(vins[vehicle], seq, "phantom", "", ["not in the ledger", "archived"])
        for vehicle, seq in found.phantoms[:limit]
    ]
    strangers = [
        Story(
            vins[vehicle],
            seq,
            "applied_not_archived",
            "",
            ["not in the ledger", "never archived", "applied"],
        )
        for vehicle, seq in found.applied_strangers_named[:limit]
    ]
    of_rows = []
    for wanted in (unexplained, found.problem & ~unexplained):
        rows = np.flatnonzero(wanted)
        order = np.lexsort((ledger.seq[rows], ledger.vehicle[rows]))
        of_rows.append(
            [
                _story(ledger, found, row, vins, causes, int(outage[row]), t0_ns)
                for row in rows[order][:limit].tolist()
            ]
        )
    return Stories(mismatches, phantoms, strangers, *of_rows)


def _story(
    ledger: LedgerColumns,
    found: Findings,
    row: int,
    vins: Sequence[str],
    causes: Sequence[str],
    outage: int,
    t0_ns: int,
) -> Story:
    intended = int(ledger.intended_ns[row])

    def after(t_ns: int) -> str:
        return f"{(t_ns - intended) / 1e6:+.1f} ms"

    fate = Fate(int(found.fate[row]))
    sent, acked = int(ledger.sent_ns[row]), int(ledger.acked_ns[row])
    reason, cause = int(ledger.reason[row]), DropCause(int(ledger.cause[row]))
    resent, copies = int(ledger.resent[row]), int(found.copies[row])
    known = [f"intended {(intended - t0_ns) / 1e9:.3f} s"]
    known.append(f"sent {after(sent)}" if sent else "never sent")
    if resent:
        known.append(f"resent {resent} x")
    if acked and reason >= REJECTED_FROM:
        known.append(f"rejected {after(acked)} with reason 0x{reason:02x}")
    elif acked:
        known.append(f"acknowledged {after(acked)}")
    elif sent:
        known.append("never acknowledged")
    if cause not in (DropCause.NONE, DropCause.REJECTED):
        known.append(f"given up: {_words(cause)}")
    if copies:
        known.append(f"in the stream {after(int(found.stream_ns[row]))}")
        if copies > 1:
            known.append(f"in the stream {copies} x")
        if found.reordered[row]:
            known.append("behind a later message")
        known.append(f"processed {after(int(found.processed_ns[row]))}")
    else:
        known.append("never archived")
    known.append("applied" if found.applied[row] else "never applied")
    vin, seq = vins[int(ledger.vehicle[row])], int(ledger.seq[row])
    explanation = causes[outage] if outage != NO_OUTAGE else ""
    if not explanation and found.explained[row]:
        if fate is Fate.DROPPED:
            explanation = _words(cause)
        else:
            explanation = f"resent {resent} x" if resent else "sent out of order"
    return Story(vin, seq, fate.name.lower(), explanation, known)


def _words(cause: DropCause) -> str:
    return {
        DropCause.NONE: "",
        DropCause.BUFFER_FULL: "the store-and-forward buffer was full",
        DropCause.SHUTDOWN: "the run ended before it was sent",
        DropCause.REJECTED: "the broker rejected it",
        DropCause.LATE_SKIPPED: "the generator could not keep up",
        DropCause.SHARD_LOST: "its shard died: whether it was sent is not known",
        DropCause.CUT_OFF: "the connection broke, and the run ended before the vehicle was back",
        DropCause.REFUSED: "the broker had said that it takes no such message",
    }[cause]
