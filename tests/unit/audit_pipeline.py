"""A run in which everything arrived, for the tests of the audit to break."""

from dataclasses import dataclass, field

from fleet_sim.measure.audit import AuditResult, audit
from fleet_sim.measure.ledger import Ledger

T0 = 1_780_000_000_000_000_000
MS = 1_000_000
SEQUENCE0 = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898


def vin(vehicle: int) -> str:
    return f"5YJ3E1EA{vehicle:09d}"


def ranges(seqs: set[int]) -> str:
    """`{1, 2, 4}` → `1-2,4`."""
    parts: list[list[int]] = []
    for seq in sorted(seqs):
        if parts and parts[-1][1] == seq - 1:
            parts[-1][1] = seq
        else:
            parts.append([seq, seq])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


@dataclass
class Pipeline:
    """A run in which every message arrived, and the ways to break it."""

    counts: list[int]
    shards: int = 2
    rows: dict[tuple[int, int], int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger(1))
    stream: list[list[tuple[int, int]]] = field(default_factory=list)
    applied: list[set[int]] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    unacked: set[tuple[int, int]] = field(default_factory=set)
    late_sent: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stream = [[] for _ in range(self.shards)]
        self.applied = [set(range(1, n + 1)) for n in self.counts]
        for seq in range(1, max(self.counts, default=0) + 1):
            for vehicle, n in enumerate(self.counts):
                if seq <= n:
                    self.stream[vehicle % self.shards].append((vehicle, seq))
        self.newest = {vin(v): n for v, n in enumerate(self.counts) if n}

    def messages(self) -> list[tuple[int, int]]:
        return [(v, s) for v, n in enumerate(self.counts) for s in range(1, n + 1)]

    def write_ledger(self) -> None:
        for vehicle, seq in self.messages():
            row = self.ledger.open(vehicle, seq, T0 + seq * 1000 * MS + vehicle)
            self.rows[vehicle, seq] = row
            self.ledger.sent(
                row, self.late_sent.get((vehicle, seq), T0 + seq * 1000 * MS + MS // 5)
            )
            if (vehicle, seq) not in self.unacked:
                self.ledger.acked(row, T0 + seq * 1000 * MS + 14 * MS, 0)

    def archive(self) -> list[tuple[str, int, str, int, float, float]]:
        rows = []
        for shard, records in enumerate(self.stream):
            for i, (vehicle, seq) in enumerate(records):
                arrival = T0 / MS + seq * 1000 + 30
                name = f"shardId-{shard:012d}"
                rows.append((vin(vehicle), seq, name, SEQUENCE0 + i, arrival, arrival + 100))
        return rows + [rows[i] for i in self.again]

    def audit(self, **options: object) -> AuditResult:
        return audit(
            self.ledger.columns(),
            self.archive(),
            {vin(v): ranges(a) for v, a in enumerate(self.applied) if a},
            {v: n for v, n in self.newest.items() if n},
            [vin(v) for v in range(len(self.counts))],
            t0_ns=T0,
            **options,  # type: ignore[arg-type]
        )
