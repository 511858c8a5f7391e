"""Links without a world, for the checks of radio: standing vehicles, vehicles on straight roads."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.models.radio import RadioLinks, RadioPreset
from fleet_sim.models.radio_coverage import WEAK, Coverage

CELL_M, CELLS = 15.0, 200
"""A country of 3 × 3 km that goes round at its edges."""


@cache
def country(preset: RadioPreset, seed: int) -> Int8Array:
    """[CELLS, CELLS] class of coverage of each cell, east by row."""
    rng = np.random.default_rng(seed)
    along = CELL_M * np.arange(CELLS)
    x, y = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    shares = [place.area_share for place in preset.places]
    place = Coverage(shares, preset.correlation_m, rng).at(x, y).reshape(CELLS, CELLS)
    place.flags.writeable = False  # shared by all callers
    return place


def standing(preset: RadioPreset, place: Int8Array, seed: int) -> RadioLinks:
    """Links of vehicles that stand at `place` [n]."""
    rng, sense = np.random.default_rng(seed).spawn(2)
    n = place.size
    kind = np.zeros(n, dtype=np.int64)
    return RadioLinks([preset], kind, place, np.zeros(n), rng, sense)


@dataclass
class Drive:
    """`n` vehicles that drive east through a country at a constant speed."""

    preset: RadioPreset
    place: Int8Array
    n: int
    seed: int
    speed_mps: float = 10.0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._row = self._rng.integers(CELLS, size=self.n)
        self.odo_m: FloatArray = self._rng.uniform(0.0, CELL_M * CELLS, self.n)
        rng, sense = self._rng.spawn(2)
        kind = np.zeros(self.n, dtype=np.int64)
        self.links = RadioLinks([self.preset], kind, self.here(), self.odo_m, rng, sense)

    def stretch(self, cells: int) -> IntArray:
        """[n] which `cells` long piece of its road each vehicle is on: one index for all roads."""
        along = (self.odo_m / CELL_M).astype(np.int64) % CELLS // cells
        return np.asarray(along * CELLS + self._row)

    def here(self) -> Int8Array:
        return self.place.ravel()[self.stretch(1)]

    def step(self, dt_s: float) -> None:
        self.odo_m = self.odo_m + self.speed_mps * dt_s
        self.links.step(dt_s, self.here(), self.odo_m)


class Outages:
    """Collects outages that begin while `watch` is called, to the resolution of the calls."""

    def __init__(self, up: BoolArray) -> None:
        self._up = up
        self._since_s = np.full(up.size, np.nan)
        self._lengths: list[FloatArray] = []

    def watch(self, up: BoolArray, now_s: float, *, count_new: bool = True) -> None:
        back = np.flatnonzero(up & ~self._up)
        lengths = now_s - self._since_s[back]
        self._lengths.append(lengths[~np.isnan(lengths)])
        self._since_s[back] = np.nan
        if count_new:
            self._since_s[~up & self._up] = now_s
        self._up = up

    @property
    def lengths_s(self) -> FloatArray:
        return np.concatenate(self._lengths)


def outages_standing(preset: RadioPreset, n: int, seconds: float, seed: int) -> FloatArray:
    """Outages of vehicles in weak places, s: those of the first half, watched to the end."""
    place = np.full(n, WEAK, dtype=np.int8)
    links = standing(preset, place, seed)
    odo_m, dt_s = np.zeros(n), 0.1
    seen = Outages(links.up)
    for _ in range(round(seconds / dt_s)):
        links.step(dt_s, place, odo_m)
        seen.watch(links.up, links.now_s, count_new=links.now_s < seconds / 2)
    return seen.lengths_s


def outages_driving(preset: RadioPreset, n: int, seconds: float, seed: int) -> FloatArray:
    """Outages of vehicles that drive, s, as above."""
    drive = Drive(preset, country(preset, seed), n, seed + 1)
    seen = Outages(drive.links.up)
    for _ in range(round(seconds / 0.1)):
        drive.step(0.1)
        now_s = drive.links.now_s
        seen.watch(drive.links.up, now_s, count_new=now_s < seconds / 2)
    return seen.lengths_s


def handover_gaps(preset: RadioPreset, n: int, seconds: float, seed: int) -> FloatArray:
    """How long handovers stop the traffic of vehicles, s, watched from outside each ms.

    The vehicles are very fast, so that a short watch sees many; places have no outages.
    """
    quiet = tuple(replace(place, outage_share=0.0) for place in preset.places)
    preset = replace(preset, places=quiet, handover_failure=0.0)  # type: ignore[arg-type]
    rng, sense = np.random.default_rng(seed).spawn(2)
    place, odo_m = np.zeros(n, dtype=np.int8), np.zeros(n)
    links = RadioLinks([preset], place.astype(np.int64), place, odo_m, rng, sense)
    everyone, dt_s = np.arange(n), 0.001
    seen = Outages(np.ones(n, dtype=np.bool_))
    for _ in range(round(seconds / dt_s)):
        odo_m = odo_m + 300.0 * dt_s
        links.step(dt_s, place, odo_m)
        assert links.up.all()  # a handover is no outage
        flows = links.throughput_bps(everyone).uplink_bps > 0.0
        seen.watch(flows, links.now_s, count_new=links.now_s < seconds - 0.5)
    return seen.lengths_s
