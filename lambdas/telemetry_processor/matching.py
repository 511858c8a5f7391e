"""Map matching: lays a stretch of sonar samples onto the registry's stalls and judges those.

The odometer says how the samples lie among themselves; what the satellites leave open is one shift
along the street for all of them. Cars stand in stalls and hardly between them, so the shift whose
near echoes fall into stalls fits best (maximum a posteriori, as a particle of one dimension). When
two shifts fit nearly as well, as where one more stall would do too, a look is judged under both and
weighs less: a slip by a whole stall is the error that later passes repeat.

Samples and stalls are bits of whole numbers, one bit a cell along the street, so that a shift is
tried with a few shifts, ands and counts. Pure: no clock, no environment, no I/O.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fleet_sim.contract.tables import Observation
from telemetry_processor.sensor import llr_of
from telemetry_processor.spots import MAX_SLACK_M, MIN_SLACK_M, Placed, SpotIndex
from telemetry_processor.track import Burst, Stretch

CELL_M = 0.25
LAG_M = 14.0
"""Shifts tried to either side of where the fixes put the stretch."""
LAG_STEP = 2
"""Cells from one tried shift to the next."""
DELAY_S = 0.075
"""By how much the last sample is older than its message: 50 ms in the vehicle's network and half a
cycle of a sensor that runs free, the mean."""
TAKEN, GAP = 0.7, 0.12
"""Expected before looking: stalls taken, and near echoes where no stall is (driveways)."""
COVER = ((0.54, 0.95), (0.78, 0.78), (1.0, 0.4))
"""Up to which share of a stall's half length, how often a car in it is beside the sensor: cars are
shorter than stalls and stand off their middles."""
LOOK_M = 2.5
"""Samples of so much of the way are worth one independent look: they see the same car."""
CORE = 0.7
"""Share of a stall whose samples are judged. The beam's footprint (about 1 m at 2 m range) lets a
car next door reach into a stall's ends."""
MIN_HEARD = 0.03
"""Share of samples with any echo below which a vehicle was not beside the kerb (another lane) or
its sensor is deaf. Cross-talk alone makes 0.5 %."""
LONGEST_DIP_M = 30.0
"""Near echoes on end for so long are no row of parked cars but one that drives alongside."""
MODES, MODE_CELLS = 3, 8
"""How many of the best shifts are judged under, and how far apart they are at least."""


class _Line(NamedTuple):
    """A stretch laid straight: where its odometer's zero is, and which way it goes."""

    x: float
    y: float
    ux: float
    uy: float
    at: list[float]
    """Metres along it where each burst's message was sent."""
    sigma_m: float


def judge(
    index: SpotIndex, vin: str, stretch: Stretch, *, reach_m: float = LAG_M
) -> list[tuple[str, Observation]]:
    """What a stretch says of which stalls: `(spot id, observation)`. `reach_m`: shifts tried."""
    bursts = stretch.bursts
    line = _straighten(index, bursts)
    stalls = _beside(index, line)
    if not stalls:
        return []
    origin = min(line.at[0] - 30.0, stalls[0][0] - 6.0) - LAG_M
    samples = _Samples(bursts, line.at, origin)
    if samples.heard < MIN_HEARD * samples.count:
        return []
    shifts = _fit(samples, stalls, origin, line.sigma_m, reach_m)
    found = []
    best = shifts[0][0] * CELL_M
    of = 0
    for along, placed in stalls:
        true = along + best  # where by the odometer the stall was passed
        if not stretch.from_m < true <= stretch.to_m:
            continue
        core = max(1, round(placed.half_m * CORE * 2 / CELL_M))
        shares = []
        for shift, weight in shifts:
            begin = round((along - placed.half_m * CORE - origin) / CELL_M) + shift
            mask = ((1 << core) - 1) << max(begin, 0)
            near = (samples.near & mask).bit_count()
            all_ = near + (samples.far & mask).bit_count()
            shares.append((near, all_, weight))
        if shares[0][1] * samples.spacing_m < placed.half_m * CORE:
            continue  # less than half of the core was passed
        while of < len(bursts) - 1 and line.at[of] < true:
            of += 1
        burst = bursts[of]
        llr = llr_of(shares, samples.speed_mps)
        if llr:
            found.append((placed.spot.id, Observation(burst.ts, vin, burst.seq, llr)))
    return found


def _straighten(index: SpotIndex, bursts: tuple[Burst, ...]) -> _Line:
    east = north = 0.0
    for burst in bursts:
        heading = math.radians(burst.heading_ddeg / 10)
        east += math.sin(heading)
        north += math.cos(heading)
    norm = math.hypot(east, north)
    ux, uy = east / norm, north / norm
    at = _distances(bursts)
    x = y = acc = 0.0
    for burst, s in zip(bursts, at, strict=True):
        px, py = index.metres(burst.lat_e6 / 1e6, burst.lon_e6 / 1e6)
        x += px - ux * s
        y += py - uy * s
        acc += burst.acc_dm
    n = len(bursts)
    # Per axis drms/√2; what a mean over the stretch leaves of it is mostly bias.
    sigma = min(max(acc / n / 10 / math.sqrt(2), 1.0), 8.0)
    return _Line(x / n, y / n, ux, uy, at, sigma)


def _distances(bursts: tuple[Burst, ...]) -> list[float]:
    """Metres by the odometer, whose whole metres are smoothed with the speed between them."""
    first = bursts[0]
    s = float(first.odo_m)
    found = [s]
    before = first
    for burst in bursts[1:]:
        dt = (burst.ts - before.ts) / 1000
        if dt > 1.5:
            s = float(burst.odo_m)
        else:
            s += (burst.speed_cmps + before.speed_cmps) / 200 * dt
            s += 0.3 * (burst.odo_m - s)
        found.append(s)
        before = burst
    return found


def _beside(index: SpotIndex, line: _Line) -> list[tuple[float, Placed]]:
    """Stalls on the right of the line, by the distance along it: `(m, stall)`, ordered."""
    slack = min(max(MIN_SLACK_M, 3 * line.sigma_m), MAX_SLACK_M)
    first, last = line.at[0] - 15.0 - LAG_M, line.at[-1] + LAG_M
    near, far = index.nearest_m - slack, index.farthest_m + slack
    xs = [line.x + a * line.ux + c * line.uy for a in (first, last) for c in (near, far)]
    ys = [line.y + a * line.uy - c * line.ux for a in (first, last) for c in (near, far)]
    found = []
    for placed in index.within(min(xs), min(ys), max(xs), max(ys)):
        if line.ux * placed.bearing_x + line.uy * placed.bearing_y < _MIN_COS:
            continue
        dx, dy = placed.x - line.x, placed.y - line.y
        along = dx * line.ux + dy * line.uy
        across = dx * line.uy - dy * line.ux - placed.offset_m
        if abs(across) <= slack and first <= along <= last:
            found.append((along, across, placed))
    if not found:
        return []
    # The stalls of a parallel street lie farther off: those about the middle are meant.
    middle = sorted(item[1] for item in found)[len(found) // 2]
    kept = [(along, placed) for along, across, placed in found if abs(across - middle) <= 3.0]
    kept.sort(key=lambda item: item[0])
    return kept


_MIN_COS = math.cos(math.radians(20.0))


class _Samples:
    """Near and far samples as bits of cells from `origin` on."""

    def __init__(self, bursts: tuple[Burst, ...], at: list[float], origin: float) -> None:
        near = far = 0
        self.count = self.heard = 0
        way = 0.0
        for burst, s in zip(bursts, at, strict=True):
            speed = burst.speed_cmps / 100
            spacing = speed / burst.rate_hz
            last = s - speed * DELAY_S - origin
            start = (last - (burst.count - 1) * spacing) / CELL_M
            step = spacing / CELL_M
            # Small numbers, shifted into the long ones once a burst.
            base, within = divmod(start, 1.0)
            bits, hit, miss = burst.near, 0, 0
            for _ in range(burst.count):
                if bits & 1:
                    hit |= 1 << int(within)
                else:
                    miss |= 1 << int(within)
                bits >>= 1
                within += step
            near |= hit << int(base)
            far |= miss << int(base)
            self.count += burst.count
            self.heard += burst.heard.bit_count()
            way += spacing * burst.count
        self.near, self.far = near, far & ~near
        bits = max(1, self.near.bit_count() + self.far.bit_count())
        self.spacing_m = way / bits
        """Of the way, what a bit stands for."""
        self.speed_mps = way / self.count * bursts[0].rate_hz
        self._drop_companions()

    def _drop_companions(self) -> None:
        """Forget near echoes on end for longer than any row of parked cars."""
        cells = round(LONGEST_DIP_M / CELL_M)
        # A span of that length holds a whole block of half of it without a far sample.
        half = (1 << cells // 2) - 1
        near, far = self.near, self.far
        while near:
            if near & half and not far & half:
                break
            near >>= cells // 2
            far >>= cells // 2
        else:
            return
        low = -1
        spans: list[tuple[int, int]] = []
        rest = self.near | self.far
        while rest:
            bit = rest & -rest
            rest ^= bit
            at = bit.bit_length() - 1
            if self.near & bit:
                low = at if low < 0 else low
                high = at
            elif low >= 0:
                spans.append((low, high))
                low = -1
        if low >= 0:
            spans.append((low, high))
        for low, high in spans:
            if high - low > cells:
                self.near &= ~(((1 << (high - low + 1)) - 1) << low)


def _fit(
    samples: _Samples,
    stalls: list[tuple[float, Placed]],
    origin: float,
    sigma_m: float,
    reach_m: float,
) -> list[tuple[int, float]]:
    """The best shifts in cells and their posterior weights, best first."""
    levels = [0] * len(COVER)
    for along, placed in stalls:
        inner = 0
        middle = (along - origin) / CELL_M
        for i, (share, _) in enumerate(COVER):
            half = placed.half_m * share / CELL_M
            low, high = round(middle - half), round(middle + half)
            mask = ((1 << (high - low)) - 1) << low
            levels[i] |= mask & ~inner
            inner = mask
    weight = max(samples.spacing_m, CELL_M) / LOOK_M
    gains = [
        (
            level,
            weight * math.log(TAKEN * cover / GAP),
            weight * math.log((1 - TAKEN * cover) / (1 - GAP)),
        )
        for level, (_, cover) in zip(levels, COVER, strict=True)
    ]
    near, far = samples.near, samples.far
    scores: list[tuple[float, int]] = []
    reach = round(reach_m / CELL_M)
    falloff = -(CELL_M**2) / (2 * sigma_m**2)
    for lag in range(-reach, reach + 1, LAG_STEP):
        # A positive lag: the stalls were passed later by the odometer than the fixes say.
        shifted_near, shifted_far = (
            (near >> lag, far >> lag) if lag >= 0 else (near << -lag, far << -lag)
        )
        score = falloff * lag * lag
        for level, yes, no in gains:
            score += (shifted_near & level).bit_count() * yes
            score += (shifted_far & level).bit_count() * no
        scores.append((score, lag))
    top = max(scores)[0]
    weights = [(math.exp(score - top), lag) for score, lag in scores]
    total = sum(item[0] for item in weights)
    chosen: list[tuple[int, float]] = []
    left = weights
    for _ in range(MODES):
        best, lag = max(left)
        if best < 0.02:
            break
        mine = [w for w, at in left if abs(at - lag) <= MODE_CELLS // 2]
        chosen.append((lag, sum(mine) / total))
        left = [(w, at) for w, at in left if abs(at - lag) > MODE_CELLS // 2]
        if not left:
            break
    return chosen
