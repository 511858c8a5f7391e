"""Passes of a side-looking sensor along a simulated kerb."""

from typing import Any, NamedTuple

import numpy as np

from fleet_sim.models.arrays import FloatArray, Int16Array, IntArray
from fleet_sim.models.gnss import STREET, GnssModel
from fleet_sim.models.gnss_presets import receiver
from fleet_sim.models.ultrasonic import ULTRASONIC, UltrasonicPreset, measure_cm, noise_db
from fleet_sim.models.ultrasonic_air import AIR, Air
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.scenario.units import Fraction
from fleet_sim.world.beam import echoes
from fleet_sim.world.city import City
from fleet_sim.world.demand import Demand
from fleet_sim.world.kerb import CAR_HALF_WIDTH_M, Kerb
from fleet_sim.world.sonar import DELAY_S

KMH = 1 / 3.6
DIP_DEPTH_CM = 89.7 * 2.54
"""What is nearer may be a car: the threshold ParkNet trained in a street with marked stalls."""
OCCUPANCY = 0.7
"""Middle of SFpark's target of 60-80 %."""
BLOCKS = (10, 10)
SPEEDS_KMH = (20, 30, 50)
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
    cm = np.zeros(s.shape, dtype=np.int16)
    never = np.full(which.size, np.inf)
    met = echoes(street.kerb, which, s[inside], where, never, noise_db(speed_mps), preset)
    cm[inside] = measure_cm(
        met.range_m,
        rng,
        preset,
        incidence_deg=met.incidence_deg,
        target_db=met.target_db,
        air=air,
        answers=met.answers,
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
        late_m = speed_mps * (DELAY_S + rng.random((edge.size, 1)) / preset.rate_hz)
        error = along[:, np.searchsorted(fixes, last)] + late_m
    return Passes(edge, spacing, s, cm, error, sensor[:, 0])


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
