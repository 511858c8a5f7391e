"""What load tests measured: requests by name, in bounded-error histograms that add up over
processes, and by the second.

A worker's `Meter` hands on what is new in slices (a second, a name); the master's `Tally` adds
them up. Buckets travel, not percentiles, so that the sum is as exact as one process would be.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from fleet_sim.measure.histogram import (
    HIGHEST_US,
    PERCENTILES,
    Counted,
    LatencyHistogram,
    Stats,
    counted,
    percentile_key,
)
from fleet_sim.measure.thresholds import ThresholdResult, percentiles_needed

METRICS = ("load_ms", "load_requests", "load_failed", "load_cut", "load_problems")
"""Each of all HTTP requests together, and of one name: `load_ms{name:near_spots}`."""
OTHER_KINDS = frozenset({"MQTT", "PIPE"})
"""Of requests that are no HTTP: they count by name only."""
FILE = "load.json"
MOST_REASONS = 20
_ADDRESS = re.compile(r"^URL \S+: (?:0, original=)?")
SERIES_PERCENTILES = (50.0, 95.0)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""


class LoadRequest(_Section, frozen=True):
    """Requests of one name."""

    kind: str
    """`GET`, `POST`, `MQTT`, or `PIPE`: from what somebody did until the API shows it."""
    count: int
    failed: int
    rate: float
    """A second, over the whole load test."""
    bytes: int
    """Of the answers."""
    latency_ms: dict[str, float | None]
    """Of the requests that did not fail, from the send to the whole answer."""
    cut: int = 0
    """Whose user was ended before the answer: nobody knows how long they would have taken. They
    are in no other figure."""


class LoadReport(_Section, frozen=True):
    """The part `load` of `summary.json`."""

    users_max: int
    """Most users at a time."""
    workers: int
    """Processes that made the requests."""
    start_s: float
    """Wall seconds from the first phase's beginning to the first second with a request."""
    end_s: float
    requests: dict[str, LoadRequest]
    """By name."""
    reasons: dict[str, int]
    """Why requests failed, the most frequent ones."""
    cpu_warning: bool = False
    """A process of it took more than 90 % of a core: its latencies may be its own."""
    problem: str = ""
    """Why the load test is not complete: it ended before its time, did not begin, or lost a worker;
    empty otherwise."""


class LoadResult(_Section, frozen=True):
    """The whole of `load.json`."""

    report: LoadReport
    metrics: dict[str, dict[str, float]]
    thresholds: list[ThresholdResult]
    series: list[tuple[float, str, float]]
    """`t_s` as in `LoadReport.start_s`, name, value."""
    version: Literal[1] = 1


class Slice(NamedTuple):
    """Requests of one name that ended in one second. It travels as a plain list."""

    second: int
    """Since the epoch."""
    kind: str
    name: str
    latencies: Counted | None
    """None when none of them succeeded."""
    failed: int
    cut: int
    bytes: int
    reasons: dict[str, int]


class _Open:
    """A slice that is being filled."""

    __slots__ = ("bytes", "cut", "failed", "micros", "reasons")

    def __init__(self) -> None:
        self.micros: list[int] = []
        self.failed = 0
        self.cut = 0
        self.bytes = 0
        self.reasons: Counter[str] = Counter()


def reason_of(text: str) -> str:
    """Why a request failed, without the address that geventhttpclient begins with: else every
    search would have a reason of its own."""
    return _ADDRESS.sub("", text)


class Meter:
    """Counts the requests of one process."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str, str], _Open] = {}

    def record(
        self, second: int, kind: str, name: str, latency_ms: float, size: int, error: str = ""
    ) -> None:
        """One request that has ended; `error` says why it failed. `ValueError` for a latency that
        is none, or above an hour."""
        micros = -1.0 if math.isnan(latency_ms) else latency_ms * 1000
        if not 0 <= micros <= HIGHEST_US:
            raise ValueError(f"{kind} {name}: {latency_ms} ms (allowed: 0 ms..1 h)")
        part = self._part(second, kind, name)
        part.bytes += size
        if error:
            part.failed += 1
            part.reasons[f"{name}: {reason_of(error)}"[:200]] += 1
        else:
            part.micros.append(round(micros))

    def cut(self, second: int, kind: str, name: str) -> None:
        """One request whose user was ended while it waited. Left out in silence, what hung longest
        would be what is missing."""
        self._part(second, kind, name).cut += 1

    def _part(self, second: int, kind: str, name: str) -> _Open:
        return self._open.setdefault((second, kind, name), _Open())

    def take(self) -> list[Slice]:
        """What is new since the last call."""
        taken, self._open = self._open, {}
        return [
            Slice(
                second,
                kind,
                name,
                counted(np.array(part.micros, np.int64)) if part.micros else None,
                part.failed,
                part.cut,
                part.bytes,
                dict(part.reasons),
            )
            for (second, kind, name), part in taken.items()
        ]


def failed_report(problem: str) -> LoadReport:
    """Of a load test that left nothing."""
    return LoadReport(
        users_max=0, workers=0, start_s=0, end_s=0, requests={}, reasons={}, problem=problem
    )


def slices(plain: Iterable[Sequence[Any]]) -> list[Slice]:
    """Slices that came as lists. `msgspec.ValidationError` when they are none."""
    return msgspec.convert(plain, list[Slice])


class _Total:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.histogram = LatencyHistogram()
        self.failed = 0
        self.cut = 0
        self.bytes = 0

    @property
    def count(self) -> int:
        return self.histogram.count + self.failed


class Tally:
    """Adds up slices of all processes. Names are taken to be of one kind each."""

    def __init__(self) -> None:
        self._names: dict[str, _Total] = {}
        self._all = LatencyHistogram()
        self._reasons: Counter[str] = Counter()
        self._seconds: dict[int, list[Slice]] = {}
        self._users: dict[int, int] = {}

    def add(self, parts: Iterable[Slice]) -> None:
        for part in parts:
            total = self._names.setdefault(part.name, _Total(part.kind))
            total.failed += part.failed
            total.cut += part.cut
            total.bytes += part.bytes
            self._reasons.update(part.reasons)
            if part.latencies is not None or part.failed:
                self._seconds.setdefault(part.second, []).append(part)
            if part.latencies is not None:
                total.histogram.add(part.latencies)
                if part.kind not in OTHER_KINDS:
                    self._all.add(part.latencies)

    def users(self, second: int, count: int) -> None:
        """How many there were in that second."""
        self._users[second] = count

    @property
    def count(self) -> int:
        """HTTP requests so far, those that failed too."""
        return self._all.count + self._failed

    @property
    def _failed(self) -> int:
        return sum(t.failed for t in self._names.values() if t.kind not in OTHER_KINDS)

    @property
    def first_s(self) -> int:
        """The first second with a request, since the epoch; there has to be one."""
        return min(self._seconds)

    @property
    def seconds(self) -> int:
        """From the first second with a request to the last, both included."""
        return max(self._seconds) - min(self._seconds) + 1 if self._seconds else 0

    def metrics(self, thresholds: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """`METRICS`, with the percentiles that the thresholds ask for."""
        wanted = percentiles_needed(thresholds)
        found: dict[str, dict[str, float]] = {}

        def put(tags: str, histogram: LatencyHistogram, failed: int, cut: int) -> None:
            found[f"load_cut{tags}"] = {"count": cut}
            if not (count := histogram.count + failed):
                return
            percentiles = sorted({*PERCENTILES, *wanted.get(f"load_ms{tags}", ())})
            found[f"load_ms{tags}"] = histogram.stats(percentiles)
            found[f"load_requests{tags}"] = {"count": count, "rate": count / self.seconds}
            found[f"load_failed{tags}"] = {"count": failed, "value": failed / count}

        if self._names:
            cut = sum(t.cut for t in self._names.values() if t.kind not in OTHER_KINDS)
            put("", self._all, self._failed, cut)
        for name, total in sorted(self._names.items()):
            put(f"{{name:{name}}}", total.histogram, total.failed, total.cut)
        return found

    def hgrm(self) -> dict[str, str]:
        """Percentile tables by name, of those with a latency."""
        return {
            name: total.histogram.hgrm()
            for name, total in sorted(self._names.items())
            if total.histogram.count
        }

    def report(
        self, t0_s: float, workers: int, *, cpu_warning: bool = False, problem: str = ""
    ) -> LoadReport:
        """`t0_s`: when time 0 is, s since the epoch."""
        requests = {}
        for name, total in sorted(self._names.items()):
            requests[name] = LoadRequest(
                kind=total.kind,
                count=total.count,
                failed=total.failed,
                cut=total.cut,
                rate=total.count / max(1, self.seconds),
                bytes=total.bytes,
                latency_ms=dict(total.histogram.stats()),
            )
        return LoadReport(
            users_max=max(self._users.values(), default=0),
            workers=workers,
            start_s=min(self._seconds, default=t0_s) - t0_s,
            end_s=max(self._seconds, default=t0_s) - t0_s,
            requests=requests,
            reasons=dict(self._reasons.most_common(MOST_REASONS)),
            cpu_warning=cpu_warning,
            problem=problem,
        )

    def series(self, t0_s: float) -> list[tuple[float, str, float]]:
        """By second: users; HTTP requests, failures, and percentiles of those that did not
        fail."""
        rows = [(at - t0_s, "load_users", float(n)) for at, n in sorted(self._users.items())]
        for at, every in sorted(self._seconds.items()):
            t_s = at - t0_s
            parts = [part for part in every if part.kind not in OTHER_KINDS]
            histogram = LatencyHistogram()
            failed = sum(part.failed for part in parts)
            for part in parts:
                if part.latencies is not None:
                    histogram.add(part.latencies)
            rows.append((t_s, "load_rate{kind:requests}", float(histogram.count + failed)))
            rows.append((t_s, "load_rate{kind:failed}", float(failed)))
            if histogram.count:
                stats: Stats = histogram.stats(SERIES_PERCENTILES)
                for percentile in SERIES_PERCENTILES:
                    key = percentile_key(percentile)
                    rows.append((t_s, f"load_ms{{q:{key}}}", stats[key]))
        return rows
