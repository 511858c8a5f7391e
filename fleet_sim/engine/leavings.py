"""What a shard leaves behind, in memory or in files, and all shards' together."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet_sim.engine.probe import Seen
from fleet_sim.engine.snapshots import PartShot
from fleet_sim.engine.status import Sample, Status, sum_samples
from fleet_sim.measure import maphistory
from fleet_sim.measure.histogram import LatencyHistogram
from fleet_sim.measure.ledger import DropCause, Ledger, LedgerColumns
from fleet_sim.measure.maphistory import Shot
from fleet_sim.measure.ota import VehicleTruth
from fleet_sim.world import Share


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The small part, as JSON; the arrays are beside it."""

    t0_ns: int
    end_ns: int
    scheduled: int
    connected: int
    """When the first phase began."""
    cpu_s: float
    """During the phases."""
    rss_mb: float
    now_s: float
    """Simulated time of the world's last step."""
    overloaded: str
    failures: dict[str, int]
    samples: list[Sample]
    probe: Seen | None
    sizes: dict[int, int] = {}
    """Bytes of payload to the number of messages that had them; a shard that died took it along."""
    updates: list[VehicleTruth] = []
    """Of its vehicles that had to do with an update campaign."""
    shots: list[PartShot] = []
    """What the API said of its towns' stalls during the run, if it speaks for them."""
    shot_problems: dict[str, int] = {}


class Leavings(NamedTuple):
    """Of one shard that came to its end, or died."""

    share: Share
    columns: LedgerColumns
    """`vehicle` is the index in the whole fleet."""
    lateness_ns: NDArray[np.int64]
    stored_ns: NDArray[np.int64]
    visible_ns: NDArray[np.int64]
    """[rows]; 0 where the probe did not look."""
    occupied: NDArray[np.bool_] | None
    """[stalls of its towns] at the end; None of a shard that died."""
    facts: Facts
    lost: str = ""
    """Why it died."""
    ledger_lost: bool = False
    """Whether its ledger was made up from the schedule, because the real one died with it."""


LATE_NS = 50_000_000
"""A message opened later than this after its intended time counts as `late`."""

SETTLED_NS = 1_000_000_000
"""What was written to a socket so long before its process died has left it."""

_ARRAYS = ("lateness_ns", "stored_ns", "visible_ns", "occupied")


def save(left: Leavings, folder: Path) -> None:
    """All but the ledger, whose files are in `folder` already."""
    with (folder / "arrays.npz").open("wb") as file:
        np.savez(file, **{name: getattr(left, name) for name in _ARRAYS})
    (folder / "facts.json").write_bytes(msgspec.json.encode(left.facts))


def load(share: Share, folder: Path) -> Leavings:
    """What `save` wrote, with the ledger from its files."""
    with np.load(folder / "arrays.npz") as arrays:
        parts: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    facts = msgspec.json.decode((folder / "facts.json").read_bytes(), type=Facts)
    return Leavings(share=share, columns=Ledger.recover(folder), facts=facts, **parts)


def of_the_dead(
    share: Share,
    why: str,
    columns: LedgerColumns,
    *,
    t0_ns: int,
    died_ns: int,
    scheduled: int,
    status: Status,
    samples: Sequence[Sample],
    qos0: NDArray[np.bool_],
    ledger_lost: bool = False,
) -> Leavings:
    """Of a shard that died. What has no acknowledgement is marked in the ledger: whether it was
    sent, or arrived, cannot be known here any more. `qos0` [fleet]: vehicles that are never
    acknowledged; what they had sent a while before is as good as any."""
    cause = columns.cause.copy()
    settled = qos0[columns.vehicle] & (columns.sent_ns != 0)
    settled &= columns.sent_ns < died_ns - SETTLED_NS
    open_ = (columns.acked_ns == 0) & (cause == DropCause.NONE) & ~settled
    cause[open_] = DropCause.SHARD_LOST
    none = np.zeros(len(columns.seq), np.int64)
    return Leavings(
        share=share,
        columns=columns._replace(cause=cause),
        lateness_ns=np.zeros(0, np.int64),
        stored_ns=none,
        visible_ns=none,
        occupied=None,
        facts=Facts(
            t0_ns=t0_ns,
            end_ns=died_ns,
            scheduled=scheduled,
            connected=share.n if t0_ns else 0,
            cpu_s=status.cpu_s,
            rss_mb=status.rss_mb,
            now_s=0.0,
            overloaded="",
            failures=status.failures,
            samples=list(samples),
            probe=None,
        ),
        lost=why,
        ledger_lost=ledger_lost,
    )


class Ended(NamedTuple):
    """What stays of a shard's leavings once they are merged: its arrays are in the fleet's."""

    share: Share
    facts: Facts
    messages: int
    """Rows of its ledger."""
    sent: int
    late: int
    lateness: LatencyHistogram
    lost: str
    """Why it died; empty for one that did not."""
    ledger_lost: bool

    @classmethod
    def of(cls, left: Leavings) -> "Ended":
        lateness = LatencyHistogram()
        lateness.record_ns(left.lateness_ns)
        return cls(
            share=left.share,
            facts=left.facts,
            messages=len(left.columns.seq),
            sent=int(np.count_nonzero(left.columns.sent_ns)),
            late=int(np.count_nonzero(left.lateness_ns > LATE_NS)),
            lateness=lateness,
            lost=left.lost,
            ledger_lost=left.ledger_lost,
        )


class Driven(NamedTuple):
    """What all shards of a run left, as one fleet."""

    vehicles: int
    columns: LedgerColumns
    """By intended time."""
    lateness: LatencyHistogram
    stored_ns: NDArray[np.int64]
    visible_ns: NDArray[np.int64]
    occupied: NDArray[np.bool_]
    known: NDArray[np.bool_]
    """[stalls of all towns] whether they are taken, and whether that is known: a shard that died
    took its towns' truth with it, unless another had it too."""
    now_s: float
    t0_ns: int
    end_ns: int
    scheduled: int
    connected: int
    samples: list[Sample]
    probe: Seen | None
    failures: Counter[str]
    updates: list[VehicleTruth]
    """Of vehicles that had to do with an update campaign, and whose shard lived."""
    shots: list[Shot]
    """The map as the API had it during the run, beside the truth."""
    shards: tuple[Ended, ...]

    @property
    def cpu_s(self) -> float:
        return sum(left.facts.cpu_s for left in self.shards)

    @property
    def sizes(self) -> Counter[int]:
        """Bytes of payload to the number of messages that had them."""
        found: Counter[int] = Counter()
        for left in self.shards:
            found.update(left.facts.sizes)
        return found

    @property
    def not_offered(self) -> int:
        """Messages of the schedule that no ledger has: the run, or their shard, ended before."""
        return self.scheduled - len(self.columns.seq)

    @property
    def late(self) -> int:
        return sum(left.late for left in self.shards)

    @property
    def lost(self) -> list[Ended]:
        """Shards that died."""
        return [left for left in self.shards if left.lost]


def _shots(parts: Sequence[Leavings], begins: NDArray[np.intp], t0_ns: int) -> list[Shot]:
    """Shots of one number as one; where a shard has none, nothing is known of its towns."""
    by_number: dict[int, list[tuple[int, tuple[NDArray[np.intp], str]]]] = {}
    for left in parts:
        if not left.facts.shots:
            continue
        at = np.concatenate([np.arange(begins[t], begins[t + 1]) for t in left.share.towns])
        for shot in left.facts.shots:
            by_number.setdefault(shot.number, []).append((shot.at_ns, (at, shot.states)))
    return [
        Shot(
            t_s=round((min(at_ns for at_ns, _ in found) - t0_ns) / 1e9, 3),
            states=maphistory.joined([states for _, states in found], int(begins[-1])),
        )
        for _, found in sorted(by_number.items())
    ]


def merge(parts: list[Leavings], stalls: Sequence[int]) -> Driven:
    """`stalls`: how many each town has. Takes the parts out of their list: ten million messages are
    600 MB, and each column is let go once it is in the fleet's."""
    begins = np.cumsum([0, *stalls])
    occupied, known = np.zeros(begins[-1], np.bool_), np.zeros(begins[-1], np.bool_)
    for left in parts:
        if left.occupied is None:
            continue
        at = np.concatenate([np.arange(begins[t], begins[t + 1]) for t in left.share.towns])
        occupied[at], known[at] = left.occupied, True
    seen = [left.facts.probe for left in parts if left.facts.probe is not None]
    failures: Counter[str] = Counter()
    for left in parts:
        failures.update(left.facts.failures)
    started = [left.facts.t0_ns for left in parts if left.facts.t0_ns]
    samples = parts[0].facts.samples
    if len(parts) > 1:
        weights = [sum(stalls[t] for t in left.share.towns) for left in parts]
        samples = sum_samples([left.facts.samples for left in parts], weights)
    shots = _shots(parts, begins, min(started, default=0))
    shards = tuple(Ended.of(left) for left in parts)
    lateness = LatencyHistogram()
    for shard in shards:
        lateness.include(shard.lateness)
    columns, stored_ns, visible_ns = _joined(parts)
    return Driven(
        vehicles=sum(shard.share.n for shard in shards),
        columns=columns,
        lateness=lateness,
        stored_ns=stored_ns,
        visible_ns=visible_ns,
        occupied=occupied,
        known=known,
        now_s=max(shard.facts.now_s for shard in shards),
        t0_ns=min(started, default=0),
        end_ns=max(shard.facts.end_ns for shard in shards),
        scheduled=sum(shard.facts.scheduled for shard in shards),
        connected=sum(shard.facts.connected for shard in shards),
        samples=samples,
        probe=Seen.merged(seen) if seen else None,
        failures=failures,
        updates=[truth for shard in shards for truth in shard.facts.updates],
        shards=shards,
        shots=shots,
    )


def _joined(
    parts: list[Leavings],
) -> tuple[LedgerColumns, NDArray[np.int64], NDArray[np.int64]]:
    """Ledger and the probe's times by intended time; a single shard's as they are. Empties
    `parts`."""
    if len(parts) == 1:
        only = parts.pop()
        return only.columns, only.stored_ns, only.visible_ns
    intended = np.concatenate([left.columns.intended_ns for left in parts])
    order = np.argsort(intended, kind="stable")
    del intended
    found: dict[str, list[NDArray[Any]]] = {
        name: [getattr(left.columns, name) for left in parts] for name in LedgerColumns._fields
    }
    found |= {name: [getattr(left, name) for left in parts] for name in ("stored_ns", "visible_ns")}
    parts.clear()
    sorted_: dict[str, Any] = {name: np.concatenate(found.pop(name))[order] for name in [*found]}
    stored_ns, visible_ns = sorted_.pop("stored_ns"), sorted_.pop("visible_ns")
    return LedgerColumns(**sorted_), stored_ns, visible_ns
