"""Satellite positioning: error, reported accuracy and kind of fix of all vehicles of one city.

Per axis `e = HDOP(t) / mean HDOP * (b_atm(x, y, t) + b_mp(x, y) + w(t))`.

`b_atm` (ionosphere, troposphere, orbits) is one Gauss-Markov process for neighbours. `b_mp`
(multipath) is a field frozen in space, so that two passes of one street repeat the same bias; its
scale is itself a lognormal field, for the heavy tail of streets and canyons (CEP95/CEP50 above the
2.08 of an isotropic Gaussian). `w` is each receiver's own noise, Gauss-Markov too. Satellite
geometry scales them all, so that drms / HDOP of a class is constant. Where there is no sky the
vehicle reckons (`gnss_reckoning`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from fleet_sim.models.arrays import FloatArray, Int8Array, IntArray
from fleet_sim.models.gnss_field import Atmosphere, LatticeFields
from fleet_sim.models.gnss_presets import (
    ATM_SIGMA_M,
    CANYON,
    COVERED,
    MP_SPACING_M,
    OPEN,
    RECEPTION,
    SCALE_SPACING_M,
    STREET,
    Receiver,
)
from fleet_sim.models.gnss_reckoning import SATELLITE, Reckoning
from fleet_sim.models.gnss_sky import SIDEREAL_DAY_S, Sky
from fleet_sim.models.noise import Noise

__all__ = ["CANYON", "COVERED", "OPEN", "RECEPTION", "STREET", "Fixes", "GnssModel", "Positions"]

Positions: TypeAlias = Callable[[IntArray], tuple[FloatArray, FloatArray]]
"""East and north, m, of the vehicles asked for."""


class Fixes(NamedTuple):
    """What k receivers say."""

    error_m: FloatArray
    """[k, 2] east, north: reported less true position."""
    acc_m: FloatArray
    """[k] drms that the receiver reports. It knows the scale of its errors, not their values."""
    fix: Int8Array
    """[k] 0 no position, 1 dead reckoning, 2 satellite fix."""


class GnssModel:
    """The receivers of n vehicles. Positions are metres east and north of the city's centre.

    `which` [n] indexes `receivers`. `field_rng` draws what is frozen (multipath, which satellites
    are up when it begins), `rng` what moves on. `ValueError` for a latitude off the globe.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        which: IntArray,
        lat_deg: float,
        field_rng: np.random.Generator,
        rng: np.random.Generator,
    ) -> None:
        if not -90.0 <= lat_deg <= 90.0:
            raise ValueError(f"gnss: lat_deg {lat_deg!r} is out of range (allowed: -90..90)")
        atm_rng, noise_rng, reckoning_rng = rng.spawn(3)
        self._fields = LatticeFields((MP_SPACING_M, SCALE_SPACING_M), field_rng)
        self._median = np.array([r.mp_median_m for r in RECEPTION])
        self._log_sigma = np.array([r.mp_log_sigma for r in RECEPTION])
        masks = np.array([r.mask_deg for r in RECEPTION])
        self._sky = Sky(lat_deg, masks, field_rng.uniform(0.0, SIDEREAL_DAY_S))
        self.mean_hdop: FloatArray = self._sky.mean
        """[classes] over a sidereal day."""
        self.atmosphere = Atmosphere(atm_rng)
        self.reckoning = Reckoning(tuple(receivers), which, reckoning_rng)
        self.now_s = 0.0
        self.hdop: FloatArray = self._sky.hdop(0.0)
        """[classes] now."""
        self._which = which
        own = np.array([r.noise_m for r in receivers])
        self._noise_m = np.hypot(own[:, None], np.array([r.noise_m for r in RECEPTION]))
        self._tau_s: FloatArray = np.array([r.noise_tau_s for r in receivers])[which]
        self._noise: FloatArray = noise_rng.standard_normal((which.size, 2))
        self._fresh = Noise.drawn(noise_rng)
        self._tick = 0
        self._noise_at_s: FloatArray = np.zeros(which.size)
        self._class: IntArray = np.full(which.size, STREET)
        """Of the place where each vehicle last saw the sky."""

    def step(self, dt_s: float) -> None:
        """Advance what all share by `dt_s`. Receivers' noise follows when it is looked at."""
        self.now_s += dt_s
        self._tick += 1
        self.atmosphere.step(dt_s)
        self.hdop = self._sky.hdop(self.now_s)

    def track(self, reception: IntArray, positions: Positions) -> None:
        """Who lost the sky, who finds it again, and how the others reckon; after each step.

        `reception`: int [n], index into `RECEPTION` or `COVERED`. Not needed in a city where
        nothing is covered. A vehicle that begins under a cover begins with what it knew there.
        """
        covered = reception == COVERED
        lost = np.flatnonzero(covered & ~self.reckoning.blind)
        if lost.size:
            x, y = positions(lost)
            error, acc_m = self._received(lost, x, y, self._class[lost])
            self.reckoning.lose(lost, self.now_s, x, y, error, acc_m)
        self._class = np.where(covered, self._class, reception)
        if self.reckoning.any_blind:
            blind = np.flatnonzero(self.reckoning.blind)
            self.reckoning.drive(blind, *positions(blind))
            self.reckoning.search(blind, covered[blind], self.now_s)

    def observe(
        self, idx: IntArray, x_m: FloatArray, y_m: FloatArray, reception: IntArray
    ) -> Fixes:
        """What the receivers of the vehicles `idx` [k], which are at (x, y) [k], say now.

        `reception`: int [k]. `COVERED` counts from the next `track` on.
        """
        error, acc_m = self._received(idx, x_m, y_m, np.minimum(reception, CANYON))
        fix = np.full(idx.size, SATELLITE, dtype=np.int8)
        if self.reckoning.any_blind:
            blind = np.flatnonzero(self.reckoning.blind[idx])
            error[blind] = self.reckoning.error_m[idx[blind]]
            acc_m[blind], fix[blind] = self.reckoning.report(idx[blind])
        return Fixes(error, acc_m, fix)

    def multipath(
        self, x_m: FloatArray, y_m: FloatArray, reception: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Frozen bias [k, 2] and its local standard deviation [k] at the mean HDOP, m."""
        unit, scale = self._fields.at(x_m, y_m)
        # Both axes have one scale: its pair's second field is not used.
        sigma = self._median[reception] * np.exp(self._log_sigma[reception] * scale[:, 0])
        return sigma[:, None] * unit, sigma

    def _received(
        self, idx: IntArray, x_m: FloatArray, y_m: FloatArray, reception: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Error [k, 2] and drms [k] of satellite fixes."""
        geometry = (self.hdop / self.mean_hdop)[reception]
        bias, sigma = self.multipath(x_m, y_m, reception)
        noise = self._noise_m[self._which[idx], reception]
        error = bias + self.atmosphere.at(x_m, y_m) + noise[:, None] * self._noise_now(idx)
        drms = geometry * np.sqrt(2.0 * (ATM_SIGMA_M**2 + sigma**2 + noise**2))
        return geometry[:, None] * error, drms

    def _noise_now(self, idx: IntArray) -> FloatArray:
        """Unit noise [k, 2]: a Gauss-Markov process, advanced by the time since the last look."""
        phi = np.exp((self._noise_at_s[idx] - self.now_s) / self._tau_s[idx])
        drawn = self._fresh.at(idx, self._tick).standard_normal((idx.size, 2))
        fresh = np.sqrt(1.0 - phi * phi)[:, None] * drawn
        self._noise[idx] = phi[:, None] * self._noise[idx] + fresh
        self._noise_at_s[idx] = self.now_s
        return self._noise[idx]
