"""A made-up run of any size, as it stands when its phases are over.

It has an outage, a storm of reconnects, losses and a map that is learnt. Its shards have left their
ledgers in files, as processes do, and its archive comes record by record, as S3's does.
"""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_sim.contract import Spot
from fleet_sim.engine.backend import Collected
from fleet_sim.engine.conclude import Outcome
from fleet_sim.engine.judge import Watched
from fleet_sim.engine.leavings import Driven, Facts, Leavings, load, merge, save
from fleet_sim.engine.probe import Seen
from fleet_sim.engine.snapshots import every_s
from fleet_sim.engine.status import Sample
from fleet_sim.measure.archived import ArchiveRow, ArchiveRows
from fleet_sim.measure.audit import Outage
from fleet_sim.measure.ledger import Ledger
from fleet_sim.measure.maphistory import STATES, Shot, digits
from fleet_sim.scenario import Scenario, loads
from fleet_sim.world import Share, build_cities, share_out
from fleet_sim.world.towns import registry

T0_NS = 1_780_000_000_000_000_000
SHARDS = 2
"""Processes that the run is said to have had."""
STREAM_SHARDS = 4
OBJECT_RECORDS = 500
"""Of a batch of the processor, and so of an object of the archive; one in a thousand is there
twice."""
STALLS_A_BLOCK = 20

_BLOCK_ROWS = 100_000
_SEQUENCE0 = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898
_MS = 1_000_000

IntArray = NDArray[np.int64]


class Size(NamedTuple):
    """Of the run that is made up."""

    vehicles: int
    seconds: float
    period_s: float
    stalls: int
    """About so many: whole blocks of houses are built."""

    @property
    def rows(self) -> int:
        """Messages: each vehicle's, evenly spread."""
        return int(self.vehicles * self.seconds / self.period_s)


class _Block(NamedTuple):
    """Some messages, in the order in which they were due; arrays `[k]`, 0 is "never"."""

    vehicle: IntArray
    seq: IntArray
    intended: IntArray
    sent: IntArray
    acked: IntArray
    stream: IntArray
    processed: IntArray
    stored: IntArray
    visible: IntArray


class MadeUp:
    """What a run needs to be concluded, piece by piece: each is as large as a real run's."""

    def __init__(self, size: Size, folder: Path, seed: int = 1) -> None:
        self._size, self._folder, self._seed = size, folder, seed
        self.scenario = _scenario(size)
        self.cities = build_cities(self.scenario)
        self.vins = [f"5YJ3E1EA{v:09d}" for v in range(size.vehicles)]
        self._shares = share_out(self.scenario, min(SHARDS, size.vehicles))
        rng = np.random.default_rng([seed, 1])
        stalls = sum(city.stalls.n for city in self.cities)
        self._truth = rng.random(stalls) < 0.6
        self._api = np.where(rng.random(stalls) < 0.95, self._truth, ~self._truth)
        self._lost = self._write_shards()

    def driven(self) -> Driven:
        """The shards' files, merged."""
        parts = [load(share, self._shard(share)) for share in self._shares]
        driven = merge(parts, [city.stalls.n for city in self.cities])
        return driven._replace(shots=self._shots())

    def collected(self) -> Collected:
        """The archive, read as it comes, and what the API says."""
        size = self._size
        last = [len(range(v, size.rows, size.vehicles)) for v in range(size.vehicles)]
        applied = {
            vin: _intervals(last[v], self._lost.get(v, []))
            for v, vin in enumerate(self.vins)
            if last[v]
        }
        return Collected(
            archive=ArchiveRows(self._archive()),
            applied=applied,
            newest={vin: _highest(text) for vin, text in applied.items()},
            spots=self._spots(),
            failures=[],
            problems=[],
        )

    def outcome(self, driven: Driven, collected: Collected) -> Outcome:
        size = self._size
        start, end = (T0_NS + round(share * size.seconds * 1e9) for share in (0.45, 0.5))
        return Outcome(
            run="made-up",
            scenario=self.scenario,
            target="made-up",
            started=dt.datetime.fromtimestamp(T0_NS / 1e9, dt.UTC),
            wall_s=size.seconds + 5,
            driven=driven,
            cities=self.cities,
            vins=self.vins,
            watch=_Watch([Outage(start, end, "radio down in the north")]),
            collected=collected,
            collect_problem="",
            command="fleet-sim bench report",
        )

    # -- inside -----------------------------------------------------------------------------------

    def _blocks(self) -> Iterator[_Block]:
        """Between 45 and 50 % of the run a quarter of the vehicles cannot send, one message in
        20,000 is lost, and two a second are looked for at the API. The same ones at every call."""
        size, rng = self._size, np.random.default_rng(self._seed)
        run_ns = round(size.seconds * 1e9)
        # A vehicle catches up in the order in which its messages were due.
        back_ns = round(0.5 * run_ns) + (rng.random(size.vehicles) * 3e9).astype(np.int64)
        for begin in range(0, size.rows, _BLOCK_ROWS):
            rows = np.arange(begin, min(begin + _BLOCK_ROWS, size.rows))
            n, vehicle = len(rows), rows % size.vehicles
            since = (rows / size.rows * run_ns).astype(np.int64)
            intended = T0_NS + since
            sent = intended + (rng.gamma(2, 0.2, n) * _MS).astype(np.int64)
            north = (vehicle < size.vehicles // 4) & (since > 0.45 * run_ns)
            waited = T0_NS + back_ns[vehicle] + since // 1000
            sent = np.where(north, np.maximum(sent, waited), sent)
            acked = sent + (rng.lognormal(2.5, 0.5, n) * _MS).astype(np.int64)
            # What was held up, and what follows it, does not overtake itself.
            took = np.where(north & (since < 0.5 * run_ns + 6e9), 30, rng.lognormal(3.4, 0.4, n))
            arrived = sent + (took * _MS).astype(np.int64)
            processed = _taken_up(vehicle % STREAM_SHARDS, arrived)
            stored = processed + (rng.gamma(3, 10, n) * _MS).astype(np.int64)
            visible = stored + (rng.gamma(2, 50, n) * _MS).astype(np.int64)
            lost = rng.random(n) < 1 / 20_000
            seen = (rng.random(n) < 2 * size.period_s / size.vehicles) & ~lost
            yield _Block(
                vehicle=vehicle,
                seq=rows // size.vehicles + 1,
                intended=intended,
                sent=sent,
                acked=acked,
                stream=np.where(lost, 0, arrived),
                processed=np.where(lost, 0, processed),
                stored=np.where(seen, stored, 0),
                visible=np.where(seen, visible, 0),
            )

    def _shard(self, share: Share) -> Path:
        return self._folder / f"shard-{share.number}"

    def _write_shards(self) -> dict[int, list[int]]:
        """The shards' files; sequence numbers of lost messages by vehicle."""
        size, shares = self._size, self._shares
        shard_of = np.zeros(size.vehicles, np.int64)
        ledgers: list[Ledger] = []
        for share in shares:
            shard_of[share.ids] = share.number
            self._shard(share).mkdir(parents=True)
            ledgers.append(Ledger(max(1, size.rows // len(shares)), self._shard(share)))
        arrays: list[list[tuple[IntArray, ...]]] = [[] for _ in shares]
        lost: dict[int, list[int]] = defaultdict(list)
        for block in self._blocks():
            gone = block.stream == 0
            for v, seq in zip(block.vehicle[gone].tolist(), block.seq[gone].tolist(), strict=True):
                lost[v].append(seq)
            of = shard_of[block.vehicle]
            for share, ledger in zip(shares, ledgers, strict=True):
                mine = _Block(*(column[of == share.number] for column in block))
                row = ledger.open_many(mine.vehicle, mine.seq, mine.intended)
                ledger.column("sent_ns")[row:] = mine.sent
                ledger.column("acked_ns")[row:] = mine.acked
                late = np.minimum(mine.sent - mine.intended, _MS)
                arrays[share.number].append((late, mine.stored, mine.visible))
        for share, ledger, parts in zip(shares, ledgers, arrays, strict=True):
            none = np.zeros(0, np.int64)
            late, stored, visible = (
                np.concatenate([none, *(part[i] for part in parts)]) for i in range(3)
            )
            parts.clear()
            left = Leavings(
                share, ledger.columns(), late, stored, visible, self._truth, self._facts(share)
            )
            save(left, self._shard(share))
        return dict(lost)

    def _facts(self, share: Share) -> Facts:
        size = self._size
        messages = size.rows * share.n // size.vehicles
        t = np.arange(int(size.seconds))
        down = (t > 0.45 * size.seconds) & (t < 0.5 * size.seconds)
        after = (t >= 0.5 * size.seconds) & (t < 0.5 * size.seconds + 8)
        flying = 0.02 * share.n * (1.2 + np.sin(t / 9)) + np.where(after, 400 // share.of, 0)
        samples = [
            Sample(
                t_s=float(s),
                connected=share.n - share.n // 4 * int(down[s]),
                in_flight=int(flying[s]),
                stored=int(down[s] * (s - 0.45 * size.seconds) * share.n / 4),
                occupancy=0.6 + 0.2 * s / size.seconds,
                loop_lag_ms=0.5 + 0.4 * math.sin(s / 5) ** 2,
                attempts=share.n // 32 * int(after[s]),
            )
            for s in t.tolist()
        ]
        occupied = [
            (T0_NS + s * 1_000_000_000, 0.5 + 0.28 * s / size.seconds) for s in t[::10].tolist()
        ]
        return Facts(
            t0_ns=T0_NS,
            end_ns=T0_NS + round(size.seconds * 1e9),
            scheduled=messages,
            connected=share.n,
            cpu_s=20e-6 * messages,
            rss_mb=200.0,
            now_s=size.seconds,
            overloaded="",
            failures={},
            samples=samples,
            probe=Seen(problems={}, timed_out=0, occupancy=occupied),
            sizes={240: messages},
        )

    def _archive(self) -> Iterator[ArchiveRow]:
        """Object by object, a shard's in the order of their sequence numbers."""
        number = 0
        for block in self._blocks():
            for shard in range(STREAM_SHARDS):
                name = f"shardId-{shard:012d}"
                mine = np.flatnonzero((block.vehicle % STREAM_SHARDS == shard) & (block.stream > 0))
                mine = mine[np.argsort(block.stream[mine], kind="stable")]
                for begin in range(0, len(mine), OBJECT_RECORDS):
                    of = mine[begin : begin + OBJECT_RECORDS]
                    vehicle, seq = block.vehicle[of].tolist(), block.seq[of].tolist()
                    arrival = (block.stream[of] // _MS).tolist()
                    processed = (block.processed[of] / _MS).tolist()
                    records = [
                        (self.vins[v], s, name, _sequence(a, number + i), float(a), p)
                        for i, (v, s, a, p) in enumerate(
                            zip(vehicle, seq, arrival, processed, strict=True)
                        )
                    ]
                    yield from records
                    if number // OBJECT_RECORDS % 1000 == 999:
                        yield from records
                    number += OBJECT_RECORDS

    def _spots(self) -> list[Spot]:
        return [
            Spot(
                id=stall.id,
                lat=stall.lat,
                lon=stall.lon,
                street="",
                state="occupied" if taken else "free",
                p_occupied=0.9 if taken else 0.1,
                confidence=0.8,
                observations=3,
                last_seen_ms=round(self.scenario.clock.start.timestamp() * 1000),
            )
            for stall, taken in zip(registry(self.cities).spots, self._api.tolist(), strict=True)
        ]

    def _shots(self) -> list[Shot]:
        """A map that the API learns in the course of the run."""
        rng, n, seconds = (
            np.random.default_rng([self._seed, 2]),
            len(self._truth),
            self._size.seconds,
        )
        free, taken, unknown = (STATES.index(name) for name in ("free", "occupied", "unknown"))
        learnt = rng.random(n)
        step_s = every_s(seconds)
        shots = []
        for t_s in np.arange(step_s, seconds, step_s).tolist():
            then = np.where(rng.random(n) < 0.1, ~self._truth, self._truth)
            known = learnt < 1.1 * t_s / seconds
            api = np.where(known, np.where(self._api, taken, free), unknown)
            shots.append(Shot(t_s, digits(np.where(then, taken, free), api)))
        return shots


class _Watch(Watched):
    """Nobody stopped it."""

    stopped = None
    reason = ""

    def __init__(self, outages: list[Outage]) -> None:
        self.outages = outages


def _scenario(size: Size) -> Scenario:
    blocks = max(3, round((size.stalls / STALLS_A_BLOCK) ** 0.5))
    half = size.seconds / 2
    return loads(
        f"""
name: made-up
seed: 1
city: {{generate: {{blocks: [{blocks}, {blocks}]}}}}
fleet: [{{group: all, count: {size.vehicles}, telemetry: {{period: {size.period_s}s, qos: 1}}}}]
phases:
  - {{name: calm, duration: {half}s}}
  - {{name: surge, duration: {half}s}}
"""
    )


def _taken_up(shard: IntArray, arrived: IntArray) -> IntArray:
    """When each message's batch was, `[k]`: the processor takes a shard's records in turn."""
    order = np.lexsort((arrived, shard))
    counts = np.bincount(shard, minlength=STREAM_SHARDS)
    within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = within % OBJECT_RECORDS == 0
    ready = np.maximum.reduceat(arrived[order], np.flatnonzero(first)) + 40 * _MS
    processed = np.empty_like(arrived)
    processed[order] = ready[np.cumsum(first) - 1]
    return processed


def _sequence(arrival_ms: int, number: int) -> int:
    """Kinesis' numbers begin with the time."""
    return _SEQUENCE0 + (arrival_ms - T0_NS // _MS << 64) + number


def _intervals(last: int, lost: list[int]) -> str:
    """All of 1 to `last` but the lost ones, as the processor writes it."""
    parts, begin = [], 1
    for seq in [*sorted(lost), last + 1]:
        if seq > begin:
            parts.append(f"{begin}-{seq - 1}" if seq - 1 > begin else f"{begin}")
        begin = seq + 1
    return ",".join(parts)


def _highest(intervals: str) -> int:
    return int(intervals.rpartition(",")[2].rpartition("-")[2] or 0)
