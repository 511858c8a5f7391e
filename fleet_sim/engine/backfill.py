"""Weeks of history for the archive at once: what a few survey cars would have published.

The world runs a day in minutes; a month of trends needs no traffic, only how full which kerb was at
which hour. So each hour draws its parked cars anew from a usual week, and survey cars drive past a
share of the kerbs. Their messages go into the archive as the processor would have put them there,
in the hour of their event time. The same scenario, days and end make the same objects.

The week is an assumption: log-odds that swing around the scenario's first occupancy with the hour,
otherwise in each district (`SWING`), and less at the weekend.
"""

import datetime as dt
import gzip
import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from fleet_sim.contract import ArchivedRecord, RuleRecord, SonarBurst
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.scenario import Scenario
from fleet_sim.world import build_cities, districts
from fleet_sim.world.city import City
from fleet_sim.world.vin import vin

RUN = "0-backfill"
"""Sorts before every run's id: a message of any run replaces it."""
SHARE = 0.1
"""Of the kerbs, passed in an hour."""
SPEED_MPS = 8.0
PERIOD_S = 2.0
RATE_HZ = 10
"""Sonar samples: one in 0.8 m, seven a parked car."""
PASSES_A_CAR = 100
"""Survey cars there are: as many as pass so many kerbs an hour each."""
CAR_M = 4.6
NEAR_CM, FAR_CM = 170, 430
"""To a parked car's side, to what is behind the kerb."""
LOST, CLUTTER = 0.03, 0.2
"""Share of a car's echoes that are lost, and of a free place's samples that hear what is behind."""
FIX_SIGMA_M = 1.5
"""East and north, the same for a car's whole hour."""
SWING = np.array([[1.2, 13.0], [0.5, 14.0], [0.7, 2.0], [1.3, 12.0]])
"""By district (`districts.NAMES`): amplitude in log-odds, and the fullest hour, local time: houses
fill in the evening, work and shops by day."""
WEEKEND = 0.5
"""Of a weekday's swing."""
_FIRST_HOUR = 438_288
"""1 January 2020: sequence numbers grow with the hours from there and last for 24 years."""


class Hour(NamedTuple):
    """One hour's object of the archive."""

    key: str
    body: bytes
    records: int
    usual: FloatArray
    """[S] the share of the time that each stall was taken."""


def hours(
    scenario: Scenario, days: int, end: dt.datetime, zone: dt.tzinfo = dt.UTC
) -> Iterator[Hour]:
    """The whole hours of `days` days before `end`, oldest first. `zone`: where the hours of the
    week are of. The scenario's first town alone, when it has several."""
    city = build_cities(scenario)[0]
    survey = _Survey(city, scenario.seed)
    base = scenario.phases[0].parking.occupancy
    assert base is not None  # a loaded scenario's first phase has one
    last = end.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    for back in range(days * 24, 0, -1):
        begin = last - dt.timedelta(hours=back)
        usual = usual_occupancy(city, base, begin.astimezone(zone))
        yield survey.hour(begin, usual)


def usual_occupancy(city: City, base: float, at: dt.datetime) -> FloatArray:
    """Share of the time that each stall is taken in the hour `at`, local time, [S]."""
    character = city.character[city.stalls.edge]
    share = districts.occupancies(base, character)[character].clip(0.01, 0.99)
    size, peak = SWING[character].T
    swing = size * np.cos(2 * math.pi * (at.hour + 0.5 - peak) / 24)
    if at.weekday() >= 5:
        swing = swing * WEEKEND
    odds = share / (1 - share) * np.exp(swing)
    return np.asarray(odds / (1 + odds))


class _Survey:
    def __init__(self, city: City, seed: int) -> None:
        self._city, self._seed = city, seed
        stalls, roads = city.stalls, city.roads
        self._edges = np.unique(stalls.edge)
        self._passes = max(1, round(self._edges.size * SHARE))
        self._vins = [vin(0, i) for i in range(-(-self._passes // PASSES_A_CAR))]
        self._length = roads.length

    def hour(self, begin: dt.datetime, usual: FloatArray) -> Hour:
        start_ms = round(begin.timestamp() * 1e3)
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, start_ms // 3_600_000]))
        taken = rng.random(usual.size) < usual
        bias = rng.normal(0.0, FIX_SIGMA_M, (len(self._vins), 2))
        edges = rng.choice(self._edges, self._passes, replace=False)
        seq = [0] * len(self._vins)
        lines: list[bytes] = []
        for k, edge in enumerate(edges.tolist()):
            car = k % len(self._vins)
            at_ms = start_ms + 3_600_000 * k // self._passes
            for record in self._drive(rng, edge, taken, car, at_ms, seq, bias[car]):
                number = str(start_ms * 1000 + len(lines))
                lines.append(
                    msgspec.json.encode(
                        ArchivedRecord(
                            shard="backfill",
                            sequence=number,
                            arrival_ms=float(record.ts),
                            processed_ms=float(record.ts),
                            record=msgspec.Raw(msgspec.json.encode(record)),
                        )
                    )
                )
        key = (
            f"telemetry/dt={begin:%Y-%m-%d}/hour={begin:%H}/"
            f"backfill-{start_ms * 1000}-{start_ms * 1000 + len(lines) - 1}.jsonl.gz"
        )
        body = gzip.compress(b"\n".join(lines) + b"\n", compresslevel=1, mtime=0)
        return Hour(key, body, len(lines), usual)

    def _drive(
        self,
        rng: np.random.Generator,
        edge: int,
        taken: BoolArray,
        car: int,
        at_ms: int,
        seq: list[int],
        bias: FloatArray,
    ) -> Iterator[RuleRecord]:
        """One pass along a lane, a message each `PERIOD_S`."""
        roads = self._city.roads
        per = round(PERIOD_S * RATE_HZ)
        messages = max(1, round(float(self._length[edge]) / SPEED_MPS / PERIOD_S))
        ages = np.arange(messages * per) + 1.0
        along = ages * SPEED_MPS / RATE_HZ
        sonar = self._listen(rng, edge, along, taken).tolist()
        x, y = roads.point(np.full(messages, edge), along[per - 1 :: per])
        lat, lon = self._city.projection.to_degrees(x + bias[0], y + bias[1])
        for k in range(messages):
            seq[car] += 1
            ts = at_ms + round((k + 1) * PERIOD_S * 1e3)
            # Beyond what a street may have without a burst, another pass is another street.
            odo_km = (at_ms % 1_000_000_000) / 1e3 + float(along[(k + 1) * per - 1]) / 1e3
            yield RuleRecord(
                run=RUN,
                vin=self._vins[car],
                seq=(at_ms // 3_600_000 - _FIRST_HOUR) * 10_000 + seq[car],
                ts=ts,
                lat=round(float(lat[k]), 7),
                lon=round(float(lon[k]), 7),
                speed_mps=SPEED_MPS,
                heading_deg=round(float(roads.bearing_deg[edge]), 1),
                soc=0.8,
                mode="driving",
                acc_m=round(FIX_SIGMA_M * math.sqrt(2), 1),
                odo_km=round(odo_km, 4),
                sonar=SonarBurst("right", RATE_HZ, sonar[k * per : (k + 1) * per]),
                thing=self._vins[car],
                iot_ms=ts,
            )

    def _listen(
        self, rng: np.random.Generator, edge: int, along: FloatArray, taken: BoolArray
    ) -> IntArray:
        """What the sensor reads at `along` metres of the lane, cm, 0 without an echo."""
        stalls = self._city.stalls
        these = np.arange(stalls.first[edge], stalls.first[edge + 1])
        parked = stalls.offset[these][taken[these]]
        # The last sample is older than its message says by what the vehicle's network takes.
        at = along - 0.075 * SPEED_MPS
        beside = (np.abs(at[:, None] - parked) < CAR_M / 2).any(axis=1)
        heard = rng.random(at.size) >= np.where(beside, LOST, 1 - CLUTTER)
        middle = np.where(beside, NEAR_CM, FAR_CM)
        return np.where(heard, middle + rng.integers(-10, 11, at.size), 0)
