"""The audit beside an oracle in plain Python, on any mess."""

from collections import Counter, defaultdict

import numpy as np
from audit_pipeline import MS, T0, ranges, vin
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.measure.audit import audit
from fleet_sim.measure.fates import Fate
from fleet_sim.measure.ledger import DropCause, Ledger


class Oracle:
    """The same findings by loops over one message after the other."""

    def __init__(
        self,
        ledger: dict[tuple[int, int], tuple[int, int, int, int, int]],
        archive: list[tuple[int, int, str, int]],
        applied: dict[int, set[int]],
        qos0: set[int],
    ) -> None:
        lines = Counter(archive)
        self.rearchived = sum(n - 1 for n in lines.values())
        stream = sorted(lines, key=lambda r: (r[2], r[3], r[0], r[1]))
        copies: Counter[tuple[int, int]] = Counter((v, s) for v, s, _, _ in stream)
        self.phantoms = {m for m in copies if m not in ledger}
        self.reordered, sent_late = set(), set()
        seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for v, s, _, _ in stream:
            if (v, s) in ledger and ledger[v, s][0] and (v, s) not in {(v, q) for q, _ in seen[v]}:
                mine = (ledger[v, s][0], s)
                if any(q > s for q, _ in seen[v]):
                    self.reordered.add((v, s))
                if any((t, q) > mine for q, t in seen[v]):
                    sent_late.add((v, s))
                seen[v].append((s, mine[0]))
        self.strangers = {
            (v, s)
            for v, seqs in applied.items()
            for s in seqs
            if (v, s) not in ledger and (v, s) not in copies
        }
        self.fate: dict[tuple[int, int], Fate] = {}
        self.explained: set[tuple[int, int]] = set()
        for m, (sent, acked, reason, cause, resent) in ledger.items():
            ok = bool(acked) and reason < 128
            archived, done = copies[m] > 0, m[1] in applied.get(m[0], set())
            fate = Fate.APPLIED
            if not sent and archived:
                fate = Fate.PHANTOM
            elif done and not archived:
                fate = Fate.APPLIED_NOT_ARCHIVED
            elif archived and not done:
                fate = Fate.UNAPPLIED
            elif not archived and ok:
                fate = Fate.LOST
            elif not archived and cause:
                fate = Fate.DROPPED
                self.explained.add(m)
            elif not archived and sent and m[0] in qos0:
                fate = Fate.LOST_QOS0
            elif not sent:
                fate = Fate.UNSENT
            elif not archived:
                fate = Fate.UNACKNOWLEDGED
            elif copies[m] > 1:
                fate = Fate.DUPLICATED
                if resent:
                    self.explained.add(m)
            elif m in self.reordered:
                fate = Fate.REORDERED
                if resent or m not in sent_late:
                    self.explained.add(m)
            elif not ok and m[0] not in qos0:
                fate = Fate.UNACKNOWLEDGED_ARCHIVED
            self.fate[m] = fate
        harmless = (Fate.APPLIED, Fate.UNACKNOWLEDGED_ARCHIVED)
        self.unexplained = (
            sum(f not in harmless and m not in self.explained for m, f in self.fate.items())
            + len(self.phantoms)
            + len(self.strangers)
        )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_agrees_with_the_oracle_on_any_mess(data: st.DataObject) -> None:
    vehicles = 3
    message = st.tuples(st.integers(0, vehicles - 1), st.integers(1, 6))
    known = data.draw(st.lists(message, unique=True, max_size=14))
    ledger = Ledger(1)
    facts = {}
    for v, s in known:
        sent = data.draw(st.sampled_from([0, *range(T0 + 1, T0 + 9)]))
        acked = data.draw(st.sampled_from([0, T0 + 50])) if sent else 0
        reason = data.draw(st.sampled_from([0, 16, 135])) if acked else 0
        resent = data.draw(st.sampled_from([0, 0, 1])) if sent else 0
        row = ledger.open(v, s, T0)
        for _ in range(resent + 1 if sent else 0):
            ledger.sent(row, sent)
        if acked:
            ledger.acked(row, acked, reason)
        cause = DropCause.REJECTED if reason >= 128 else DropCause.NONE
        if not acked and data.draw(st.booleans()):
            cause = data.draw(st.sampled_from([DropCause.BUFFER_FULL, DropCause.SHUTDOWN]))
            ledger.dropped(row, cause)
        facts[v, s] = (sent, acked, reason, cause, resent)
    shard = st.sampled_from(["shardId-1", "shardId-2"])
    # Vehicle 3 is not one of the run's.
    number = st.builds(
        lambda high, middle, low: high << 128 | middle << 64 | low,
        *[st.sampled_from([0, 0, 1, 2**58]), st.integers(0, 2), st.integers(0, 3)],
    )
    strange = st.tuples(st.integers(0, vehicles), st.integers(1, 8), shard, number)
    usual = [st.tuples(st.just(v), st.just(s), shard, number) for v, s in known]
    archive = data.draw(st.lists(st.one_of(*usual, strange), max_size=20))
    archive += data.draw(st.lists(st.sampled_from(archive), max_size=3)) if archive else []
    applied = {
        v: data.draw(st.sets(st.integers(1, 8)) | st.just({s for w, s, _, _ in archive if w == v}))
        for v in range(vehicles + 1)
    }
    qos0 = data.draw(st.sets(st.integers(0, vehicles - 1)))

    result = audit(
        ledger.columns(),
        [(vin(v), s, shard, n, T0 / MS + i, T0 / MS) for i, (v, s, shard, n) in enumerate(archive)],
        {vin(v): ranges(seqs) for v, seqs in applied.items() if seqs},
        {vin(v): max(seqs) for v, seqs in applied.items() if seqs},
        [vin(v) for v in range(vehicles)],
        qos0=np.array([v in qos0 for v in range(vehicles)]),
        part_rows=data.draw(st.integers(1, 60)),  # from a part for each vehicle to one for all
    )

    oracle = Oracle(facts, archive, applied, qos0)
    assert {m: Fate(f) for m, f in zip(known, result.fate, strict=True)} == oracle.fate
    explained = {m for m, e in zip(known, result.explained, strict=True) if e}
    assert explained == oracle.explained
    assert result.report.reordered == len(oracle.reordered)
    assert result.report.rearchived == oracle.rearchived
    assert result.report.unexplained == oracle.unexplained
    assert sum(result.report.fates.values()) == len(known)
