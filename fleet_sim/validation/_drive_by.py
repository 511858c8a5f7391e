"""Passes along a simulated kerb, and ParkNet's slotted detector written from its description.

Nothing here is shared with the cloud's functions: a mistake there cannot hide one here.
"""

from typing import Any, NamedTuple

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int16Array, IntArray
from fleet_sim.models.gnss import STREET, GnssModel
from fleet_sim.models.gnss_presets import receiver
from fleet_sim.models.ultrasonic import ULTRASONIC, UltrasonicPreset, measure_cm
from fleet_sim.models.ultrasonic_air import AIR, Air
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.scenario.units import Fraction
from fleet_sim.world.city import City
from fleet_sim.world.demand import Demand
from fleet_sim.world.kerb import CAR_HALF_WIDTH_M, Kerb
from fleet_sim.world.sonar import meet

KMH = 1 / 3.6
DIP_DEPTH_CM = 89.7 * 2.54
DIP_WIDTH_M = 2.52
"""ParkNet's trained thresholds of a car's dip in a street with marked stalls."""
LANE_SIGMA_M = 0.12

MOST_PASSES = 65_536
"""Receivers that one set of passes may have: each pass is a vehicle of its own."""


class Street:
    """A city whose every kerb has stalls, filled to `occupancy` on average."""

    def __init__(self, blocks: tuple[int, int], occupancy: float, seed: int) -> None:
        streams = np.random.SeedSequence([seed, 0x50]).spawn(5)
        kerb, demand, field, noise, self.rng = (np.random.default_rng(s) for s in streams)
        self.city = City.generate(GeneratedCity(blocks=blocks, legal_kerb=Fraction(1.0)), seed)
        self.kerb = Kerb(self.city.stalls, kerb)
        self.demand = Demand(self.kerb, occupancy, demand)
        which = np.zeros(MOST_PASSES, dtype=np.int64)
        latitude = self.city.projection.lat0
        self.gnss = GnssModel((receiver("automotive"),), which, latitude, field, noise)

    @property
    def edges(self) -> IntArray:
        return np.arange(self.city.roads.n_edges)


class Passes(NamedTuple):
    """P passes of N samples, each along one edge at a constant speed."""

    edge: IntArray
    """[P]"""
    spacing_m: float
    s: FloatArray
    """[P, N] where each sample was really taken, m along the edge; past its end: no sample."""
    cm: Int16Array
    error_m: FloatArray
    """[P, N] along the edge, of the fix that places the sample."""
    sensor_m: FloatArray
    """[P] how far right of the lane's centre the sensor was."""


def drive(
    street: Street,
    edge: IntArray,
    speed_mps: float,
    *,
    preset: UltrasonicPreset = ULTRASONIC,
    air: Air = AIR,
    reception: int | None = STREET,
) -> Passes:
    """One pass along each `edge` [P] as things stand now; perfect positions for `reception` None.

    A fix places the 20 samples of the second before it, as the telemetry does.
    """
    rng, roads = street.rng, street.city.roads
    spacing = speed_mps / preset.rate_hz
    n = int(np.ceil(roads.length[edge].max() / spacing))
    s = rng.random((edge.size, 1)) * spacing + spacing * np.arange(n)
    inside = s < roads.length[edge, None]
    sensor = CAR_HALF_WIDTH_M + np.clip(rng.normal(0.0, LANE_SIGMA_M, (edge.size, 1)), -0.3, 0.3)
    which = np.broadcast_to(edge[:, None], s.shape)[inside]
    where = np.broadcast_to(sensor, s.shape)[inside]
    met = meet(street.kerb, which, s[inside], where, np.full(which.size, np.inf), preset)
    cm = np.zeros(s.shape, dtype=np.int16)
    cm[inside] = measure_cm(
        met.range_m, rng, preset, incidence_deg=met.incidence_deg, target_db=met.target_db, air=air
    )
    error = np.zeros(s.shape)
    if reception is not None:
        burst = np.arange(n) // preset.rate_hz
        last = np.minimum((burst + 1) * preset.rate_hz - 1, n - 1)
        fixes = np.unique(last)
        at = np.repeat(edge, fixes.size)
        x, y = (axis.reshape(edge.size, -1) for axis in roads.point(at, s[:, fixes].ravel()))
        receivers = np.arange(edge.size)
        along = np.zeros((edge.size, fixes.size))
        for k in range(fixes.size):  # a second apart, as the receivers' own noise is correlated
            street.gnss.step(1.0)
            fix = street.gnss.observe(receivers, x[:, k], y[:, k], np.full(edge.size, reception))
            along[:, k] = fix.error_m[:, 0] * roads.ux[edge] + fix.error_m[:, 1] * roads.uy[edge]
        error = along[:, np.searchsorted(fixes, last)]
    return Passes(edge, spacing, s, cm, error, sensor[:, 0])


class Dips(NamedTuple):
    """D dips: `row` of the pass, estimated centre along the edge and width, m, [D]."""

    row: IntArray
    centre_m: FloatArray
    width_m: FloatArray


def find_dips(passes: Passes, *, bridge: int = 0) -> Dips:
    """Runs of samples below the depth threshold that are wide enough.

    `bridge`: runs of so many other samples or fewer between two such are taken as part of the dip.
    """
    near = (passes.cm > 0) & (passes.cm < DIP_DEPTH_CM)
    for gap in range(1, bridge + 1):
        for before in range(1, gap + 1):
            after = gap + 1 - before
            near[:, before:-after] |= near[:, : -before - after] & near[:, before + after :]
    edges = np.diff(np.pad(near.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    width: FloatArray = np.asarray((last - first + 1) * passes.spacing_m, dtype=np.float64)
    wide = width >= DIP_WIDTH_M
    row, first, last, width = row[wide], first[wide], last[wide], width[wide]
    middle = (first + last) // 2
    centre = (passes.s[row, first] + passes.s[row, last]) / 2 + passes.error_m[row, middle]
    return Dips(row, centre, width)


class Looks(NamedTuple):
    """K judgements of a stall by a pass, [K]."""

    stall: IntArray
    occupied: BoolArray
    row: IntArray


def judge(street: Street, passes: Passes, dips: Dips) -> Looks:
    """Every stall of a pass's edge: occupied when a dip covers it for the width threshold."""
    stalls = street.city.stalls
    count = stalls.first[passes.edge + 1] - stalls.first[passes.edge]
    begin = np.cumsum(count) - count
    row = np.repeat(np.arange(passes.edge.size), count)
    stall = stalls.first[passes.edge][row] + np.arange(row.size) - begin[row]
    occupied = np.zeros(row.size, dtype=np.bool_)
    # Each dip against the stalls of its edge, one after the other: an edge has about ten.
    for k in range(int(count.max(initial=0))):
        has = np.flatnonzero(k < count[dips.row])
        look = begin[dips.row[has]] + k
        middle, half = stalls.offset[stall[look]], stalls.length[stall[look]] / 2
        low = np.maximum(dips.centre_m[has] - dips.width_m[has] / 2, middle - half)
        high = np.minimum(dips.centre_m[has] + dips.width_m[has] / 2, middle + half)
        occupied[look[high - low >= DIP_WIDTH_M - 1e-9]] = True
    return Looks(stall, occupied, row)


def carry(passes: Passes) -> Passes:
    """Places by odometer: one along-track offset a pass, the mean of its fixes' errors.

    The odometer is exact over a block, so the fixes' scatter averages out and their bias stays.
    """
    mean = passes.error_m.mean(axis=1, keepdims=True)
    return passes._replace(error_m=np.broadcast_to(mean, passes.error_m.shape).copy())


LAG_M, LAG_STEP_M = 14.0, 0.25
_PRIOR_SIGMA_M = 3.0
"""Of the along-track error that the odometer's mean over a block leaves, class street."""
_PRIOR_TAKEN, _PRIOR_GAP = 0.7, 0.12
"""What a matcher expects before it looked: stalls taken, and cars where no stall is."""
_INDEPENDENT_M = 2.5
"""Neighbouring samples see the same car: about half a car is one independent look."""


class Matcher:
    """Map matching along the track: shifts a pass to where its echoes fit the stalls best.

    Maximum a posteriori over the lag. The registry says where stalls and gaps are, not which are
    taken: of the truth nothing is used but what a vehicle reports.
    """

    def __init__(self, street: Street) -> None:
        stalls, self._roads = street.city.stalls, street.city.roads
        self._grid: FloatArray = np.arange(
            -LAG_M, self._roads.length.max() + LAG_M, LAG_STEP_M, dtype=np.float64
        )
        expected = np.full((self._roads.n_edges, self._grid.size), _PRIOR_GAP)
        for stall in range(stalls.n):
            away = np.abs(self._grid - stalls.offset[stall])
            inside = away < stalls.length[stall] / 2
            # A car's flank is over the middle of its stall nearly always, over its ends at times.
            cover = np.interp(away[inside], [1.8, 2.6, 3.35], [0.95, 0.6, 0.2])
            expected[stalls.edge[stall], inside] = _PRIOR_TAKEN * cover
        self._yes, self._no = np.log(expected), np.log(1.0 - expected)

    def __call__(self, passes: Passes) -> Passes:
        near = (passes.cm > 0) & (passes.cm < DIP_DEPTH_CM)
        reported = passes.s + passes.error_m
        inside = passes.s < self._roads.length[passes.edge, None]
        lags: FloatArray = np.arange(-LAG_M, LAG_M + LAG_STEP_M / 2, LAG_STEP_M, dtype=np.float64)
        score = np.empty((passes.edge.size, lags.size))
        row = np.broadcast_to(passes.edge[:, None], reported.shape)
        for j, lag in enumerate(lags):
            cell = np.rint((reported - lag - self._grid[0]) / LAG_STEP_M).astype(np.int64)
            cell = np.clip(cell, 0, self._grid.size - 1)
            fit = np.where(near, self._yes[row, cell], self._no[row, cell])
            score[:, j] = (fit * inside).sum(axis=1) * passes.spacing_m / _INDEPENDENT_M
        score -= lags**2 / (2 * _PRIOR_SIGMA_M**2)
        best = lags[score.argmax(axis=1)]
        return passes._replace(error_m=passes.error_m - best[:, None])


def draw_pass(axes: Any, street: Street, edge: int, speed_kmh: float) -> None:
    """One pass along `edge`: stalls, cars, things, and what the sensor reads of them."""
    passes = drive(street, np.array([edge]), speed_kmh * KMH, reception=None)
    kerb, stalls, things = street.kerb, street.city.stalls, street.kerb.things
    ends: FloatArray = np.array([-1.0, 1.0])
    for k in range(int(stalls.first[edge]), int(stalls.first[edge + 1])):
        axes.plot(stalls.offset[k] + ends * stalls.length[k] / 2, [0.1, 0.1], "|-", color="0.6")
        if kerb.truth.occupied[k]:
            near = np.full(2, kerb.side[0, k] - passes.sensor_m[0])
            axes.plot(kerb.centre[0, k] + ends * kerb.half[0, k], near, lw=6, alpha=0.3, color="C0")
    for k in np.flatnonzero(things.edge == edge).tolist():
        near = np.full(2, things.side[k] - passes.sensor_m[0])
        axes.plot(things.centre[k] + ends * things.half[k], near, lw=6, alpha=0.5, color="C1")
    heard = passes.cm[0] > 0
    axes.plot(passes.s[0, heard], passes.cm[0, heard] / 100, "k.", ms=4)
    axes.plot(passes.s[0, ~heard], np.zeros((~heard).sum()), "rx", ms=3)
    axes.axhline(DIP_DEPTH_CM / 100, color="0.5", ls="--", lw=1)
    axes.set(xlabel="along the lane, m", ylabel="range, m", ylim=(-0.2, 5.2))
    axes.set_title(f"A pass at {speed_kmh:g} km/h: cars, things (orange), no echo (red)")
