"""Map matching: lays a stretch of sonar samples onto the registry's stalls and judges those.

The odometer says how the samples lie among themselves; what the satellites leave open is one shift
along the street for all of them. Two things tell it. Cars stand in stalls and hardly between them,
so a shift whose near echoes fall into stalls fits better. And the fixes' error is known in part:
across the last streets it was seen from the lane, along them from their own shifts, and the part of
it that the atmosphere makes stays. Shifts that fit nearly as well, as where one more stall
would do too, are all kept with their probabilities (maximum a posteriori, as a particle filter of
one dimension), and a look is judged under each: a slip by a whole stall is the error that later
passes repeat. Pure: no clock, no environment, no I/O.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fleet_sim.contract.tables import Observation
from telemetry_processor import sensor
from telemetry_processor.samples import CELL_M, Samples
from telemetry_processor.spots import MAX_SLACK_M, MIN_SLACK_M, Placed, SpotIndex
from telemetry_processor.track import Burst, FixError, Stretch

LAG_M = 14.0
"""Shifts tried at most to either side of where the fixes put the stretch."""
LAG_STEP = 2
"""Cells from one tried shift to the next."""
TRIED_SIGMAS = 4.0
"""Of the shift's prior, that shifts are tried to either side of it."""
TAKEN, GAP = 0.7, 0.12
"""Expected before looking: stalls taken, and near echoes where no stall is (driveways)."""
MIDDLE, COVERED = 0.75, 0.9
"""Of a stall's length, the part in the middle beside which a car in it is so often: cars are
shorter than stalls and stand off their middles."""
LOOK_M = 2.5
"""Samples of so much of the way are worth one independent look: they see the same car."""
CORE = 0.7
"""Share of a stall whose samples are judged. The beam's footprint (about 1 m at 2 m range) lets a
car next door reach into a stall's ends."""
MIN_HEARD = 0.03
"""Share of samples with any echo below which a vehicle was not beside the kerb (another lane) or
its sensor is deaf. Cross-talk alone makes 0.5 %."""
MODES, MODE_CELLS, MODE_DEPTH = 4, 6, 14.0
"""How many of the best shifts are judged under, how far apart they are at least, and how far below
the best, in log-likelihood of the samples."""
STRETCH_SIGMA = 0.56
"""Error of the mean of a stretch's fixes, per axis, over what the receiver says of one of them:
multipath changes every 30 m and partly averages out. Fitted, as the next ones, to the log loss of
looks in the generated city of `fleet-sim bench parking`."""
FIRST_STREET, NEXT_STREET = 0.6, 0.3
"""What a street weighs in what is known of the fixes' error: what streets have in common is the
atmosphere's part, what they have not is multipath."""
KEPT_ERROR, ERROR_MS = 0.8, 900_000.0
"""Share of it that is expected on the next street, and how long it lasts (the atmosphere's
correlation time)."""


class _Line(NamedTuple):
    """A stretch laid straight: where its odometer's zero is, and which way it goes."""

    x: float
    y: float
    ux: float
    uy: float
    at: list[float]
    """Metres along it where each burst's message was sent."""
    sigma_m: float
    """Of one fix, per axis."""


class _Shift(NamedTuple):
    weight: float
    cells: int
    shares: list[tuple[int, int]]
    """Of each stall: near cells of its core, and cells of it that were passed."""


def judge(
    index: SpotIndex,
    vin: str,
    stretch: Stretch,
    error: FixError | None = None,
    *,
    reach_m: float = LAG_M,
) -> tuple[list[tuple[str, Observation]], FixError | None]:
    """What a stretch says of which stalls: `(spot id, observation)`; and of its fixes' error.

    `error`: what is known of that from before, given back when nothing newer is. `reach_m`: shifts
    tried.
    """
    bursts = stretch.bursts
    line = _straighten(index, bursts)
    stalls, across = _beside(index, line)
    if not stalls:
        return [], error
    origin = min(line.at[0] - 30.0, stalls[0][0] - 6.0) - LAG_M
    samples = Samples(bursts, line.at, origin)
    if samples.heard < MIN_HEARD:
        return [], error
    mean_m, sigma_m = _expected(line, bursts[0].ts, error)
    shifts = _fit(samples, stalls, origin, mean_m, sigma_m, reach_m)
    found = []
    best = shifts[0].cells * CELL_M
    of = 0
    for i, (along, placed) in enumerate(stalls):
        true = along + best  # where by the odometer the stall was passed
        if not stretch.from_m < true <= stretch.to_m:
            continue
        if shifts[0].shares[i][1] * CELL_M < placed.half_m * CORE:
            continue  # less than half of the core was passed
        while of < len(bursts) - 1 and line.at[of] < true:
            of += 1
        burst = bursts[of]
        shares = [(*shift.shares[i], shift.weight) for shift in shifts]
        llr = sensor.llr_of(shares, samples.speed_mps)
        if llr:
            found.append((placed.spot.id, Observation(burst.ts, vin, burst.seq, llr)))
    ahead = sum(shift.weight * shift.cells for shift in shifts) * CELL_M
    east, north = ahead * line.ux - across * line.uy, ahead * line.uy + across * line.ux
    return found, _learnt(error, bursts[-1].ts, 100 * east, 100 * north)


def _learnt(error: FixError | None, ts: int, east_cm: float, north_cm: float) -> FixError:
    if error is None:
        return FixError(ts, round(FIRST_STREET * east_cm), round(FIRST_STREET * north_cm))
    if ts <= error.ts:
        return error
    return FixError(
        ts,
        round(error.east_cm + NEXT_STREET * (east_cm - error.east_cm)),
        round(error.north_cm + NEXT_STREET * (north_cm - error.north_cm)),
    )


def heard(index: SpotIndex, stretch: Stretch) -> list[tuple[str, float, float]]:
    """What a stretch met beside each place of an index that is to be judged, where its fixes put it
    and in the order of driving: `(id, share of the place beside something near, share passed)`."""
    line = _straighten(index, stretch.bursts)
    places, _ = _beside(index, line)
    if not places:
        return []
    origin = min(line.at[0] - 30.0, places[0][0] - 6.0) - LAG_M
    samples = Samples(stretch.bursts, line.at, origin)
    if samples.heard < MIN_HEARD:
        return []
    found = []
    for along, placed in places:
        if not stretch.from_m < along <= stretch.to_m:
            continue
        cells = max(1, round(2 * placed.half_m / CELL_M))
        begin = round((along - placed.half_m - origin) / CELL_M)
        near, passed = samples.grade(begin, cells)
        found.append((placed.spot.id, near / cells, passed / cells))
    return found


def _expected(line: _Line, ts: int, error: FixError | None) -> tuple[float, float]:
    """The shift before looking: mean and standard deviation, m."""
    sigma_m = STRETCH_SIGMA * line.sigma_m
    if error is None:
        return 0.0, sigma_m / 0.93
    kept = KEPT_ERROR * math.exp(min(error.ts - ts, 0) / ERROR_MS)
    return kept * (error.east_cm * line.ux + error.north_cm * line.uy) / 100, sigma_m


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
    # Per axis drms/√2.
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


def _beside(index: SpotIndex, line: _Line) -> tuple[list[tuple[float, Placed]], float]:
    """Stalls on the right of the line, by the distance along it: `(m, stall)`, ordered; and how far
    right of the line their lane is, m."""
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
        return [], 0.0
    # The stalls of a parallel street lie farther off: those about the middle are meant.
    middle = sorted(item[1] for item in found)[len(found) // 2]
    kept = [(along, placed) for along, across, placed in found if abs(across - middle) <= 3.0]
    kept.sort(key=lambda item: item[0])
    return kept, middle


_MIN_COS = math.cos(math.radians(20.0))


def _fit(
    samples: Samples,
    stalls: list[tuple[float, Placed]],
    origin: float,
    mean_m: float,
    sigma_m: float,
    reach_m: float,
) -> list[_Shift]:
    """The shifts that fit best, most probable first; their weights sum to 1."""
    scores = _scores(samples, stalls, origin, mean_m, sigma_m, reach_m)
    fits = sensor.fits_of(samples.speed_mps)
    starts = []
    for along, placed in stalls:
        core = max(1, round(placed.half_m * CORE * 2 / CELL_M))
        starts.append((round((along - placed.half_m * CORE - origin) / CELL_M), core))
    laid = []
    for lag in _peaks(scores):
        shares = [samples.grade(begin + lag, core) for begin, core in starts]
        score = -((lag * CELL_M - mean_m) ** 2) / (2 * sigma_m**2)
        for (near, passed), (_, core) in zip(shares, starts, strict=True):
            if 2 * passed >= core:
                score += fits[sensor.grade(near, passed)]
        laid.append((score, lag, shares))
    top = max(laid)[0]
    weights = [math.exp(score - top) for score, _, _ in laid]
    total = sum(weights)
    shifts = [
        _Shift(weight / total, lag, shares)
        for weight, (_, lag, shares) in zip(weights, laid, strict=True)
    ]
    return sorted(shifts, key=lambda shift: (-shift.weight, shift.cells))


def _scores(
    samples: Samples,
    stalls: list[tuple[float, Placed]],
    origin: float,
    mean_m: float,
    sigma_m: float,
    reach_m: float,
) -> list[tuple[float, int]]:
    """Log-likelihood of the samples, roughly, and the lag in cells, of each shift tried."""
    beside = 0
    for along, placed in stalls:
        half = placed.half_m * MIDDLE / CELL_M
        middle = (along - origin) / CELL_M
        low, high = round(middle - half), round(middle + half)
        beside |= ((1 << (high - low)) - 1) << low
    weight = CELL_M / LOOK_M
    yes = weight * math.log(TAKEN * COVERED / GAP)
    no = weight * math.log((1 - TAKEN * COVERED) / (1 - GAP))
    near, far = samples.near, samples.far
    scores: list[tuple[float, int]] = []
    tried_m = min(TRIED_SIGMAS * sigma_m, reach_m)
    low = math.ceil(max(mean_m - tried_m, -reach_m) / CELL_M)
    high = math.floor(min(mean_m + tried_m, reach_m) / CELL_M)
    scale = -1 / (2 * sigma_m**2)
    for lag in range(low, max(high, low) + 1, LAG_STEP):
        # A positive lag: the stalls were passed later by the odometer than the fixes say.
        shifted = beside << lag if lag >= 0 else beside >> -lag
        score = (near & shifted).bit_count() * yes + (far & shifted).bit_count() * no
        score += scale * (lag * CELL_M - mean_m) ** 2
        scores.append((score, lag))
    return scores


def _peaks(scores: list[tuple[float, int]]) -> list[int]:
    """Lags of the highest local maxima."""
    floor = max(scores)[0] - MODE_DEPTH
    peaks = [
        (score, lag)
        for i, (score, lag) in enumerate(scores)
        if score >= floor
        and (i == 0 or score >= scores[i - 1][0])
        and (i + 1 == len(scores) or score >= scores[i + 1][0])
    ]
    chosen: list[int] = []
    for _, lag in sorted(peaks, reverse=True):
        if all(abs(lag - other) > MODE_CELLS for other in chosen):
            chosen.append(lag)
    return chosen[:MODES]
