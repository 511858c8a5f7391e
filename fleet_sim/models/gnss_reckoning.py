"""Without the sky: who has no satellite fix, dead reckoning meanwhile, time to first fix after.

A vehicle loses its fix under a cover. Then it counts wheel ticks and integrates a gyroscope: its
error grows by a scale error `s` of the wheels and a heading error `θ`, which is there from the
start, walks with the distance `d`, and takes a share `g` of every angle `α` turned,

    de = s dr + θ d(r turned left),   θ = θ₀ + q W(d) + g α.

On a straight all of it advances exactly, whatever the step. Back under the sky it needs the
time to first fix, hot or cold by how long ago it had one; a cover before that begins it anew.
"""

import numpy as np

from fleet_sim.models.arrays import BoolArray, FloatArray, Int8Array, IntArray
from fleet_sim.models.gnss_presets import HOT_S, MAX_ACC_M, Receiver

SCALE_SIGMA = 0.012
HEADING_SIGMA_RAD = 0.011
HEADING_WALK_RAD = 5.97e-4
"""A square root of a metre. The three (assumptions) together: 25 m after 1 km of straight driving
or better in 8 of 10 (Teltonika)."""
GYRO_SIGMA = 0.01
"""Scale error of the gyroscope (assumption: automotive MEMS)."""
USELESS_M = 100.0
"""Dead reckoning whose drms is beyond this says `no position` (assumption)."""
HOT_LOG_SIGMA, COLD_LOG_SIGMA = 0.25, 0.15
"""Of the lognormal times to first fix (assumptions)."""
NO_FIX, RECKONED, SATELLITE = range(3)


def reckoning_drms_m(distance_m: FloatArray) -> FloatArray:
    """Growth of the error over `distance_m` of straight driving: drms."""
    d = distance_m
    per_m2 = SCALE_SIGMA**2 + HEADING_SIGMA_RAD**2 + HEADING_WALK_RAD**2 * d / 3.0
    return np.asarray(d * np.sqrt(per_m2))


class Reckoning:
    """n vehicles; public arrays are [n]. All begin with a satellite fix."""

    def __init__(
        self, receivers: tuple[Receiver, ...], which: IntArray, rng: np.random.Generator
    ) -> None:
        n = which.size
        self._rng = rng
        self._reckons: BoolArray = np.array([r.dead_reckoning for r in receivers])[which]
        self._hot_s: FloatArray = np.array([r.hot_s for r in receivers])[which]
        self._cold_s: FloatArray = np.array([r.cold_s for r in receivers])[which]
        self.blind: BoolArray = np.zeros(n, dtype=np.bool_)
        """Whether it has no satellite fix."""
        self.any_blind = False
        self.error_m: FloatArray = np.zeros((n, 2))
        """East, north, of those that are blind."""
        self.distance_m: FloatArray = np.zeros(n)
        """Driven since the fix was lost."""
        self.lost_s: FloatArray = np.zeros(n)
        """When the fix was lost."""
        self.ready_s: FloatArray = np.full(n, np.inf)
        """When the receiver will have found itself, `inf` while it sees nothing."""
        self._acc0_m: FloatArray = np.zeros(n)
        self._scale: FloatArray = np.zeros(n)
        self._theta: FloatArray = np.zeros(n)
        self._gyro: FloatArray = np.zeros(n)
        self._course: FloatArray = np.full(n, np.nan)
        """Of the last metres driven, rad; NaN until it moves."""
        self._x: FloatArray = np.zeros(n)
        self._y: FloatArray = np.zeros(n)

    def lose(
        self,
        idx: IntArray,
        now_s: float,
        x_m: FloatArray,
        y_m: FloatArray,
        error_m: FloatArray,
        acc_m: FloatArray,
    ) -> None:
        """The vehicles `idx` [k] lose the sky at (x, y), with the error of their last fix."""
        self.blind[idx] = True
        self.any_blind = True
        self.lost_s[idx], self.ready_s[idx] = now_s, np.inf
        self.error_m[idx], self._acc0_m[idx] = error_m, acc_m
        self._x[idx], self._y[idx], self.distance_m[idx] = x_m, y_m, 0.0
        self._course[idx] = np.nan
        drawn = self._rng.standard_normal((3, idx.size))
        self._scale[idx] = SCALE_SIGMA * drawn[0]
        self._theta[idx] = HEADING_SIGMA_RAD * drawn[1]
        self._gyro[idx] = GYRO_SIGMA * drawn[2]

    def drive(self, idx: IntArray, x_m: FloatArray, y_m: FloatArray) -> None:
        """Blind vehicles `idx` [k] are at (x, y) now: reckon the way since the last call."""
        dx, dy = x_m - self._x[idx], y_m - self._y[idx]
        ds = np.hypot(dx, dy)
        course = np.where(ds > 0.0, np.arctan2(dy, dx), self._course[idx])
        angle = np.nan_to_num(course - self._course[idx])
        self._course[idx] = course
        self._theta[idx] += self._gyro[idx] * ((angle + np.pi) % (2 * np.pi) - np.pi)
        walk = self._rng.standard_normal((2, idx.size))
        step = HEADING_WALK_RAD * np.sqrt(ds)
        # Mean of the walk over the step, jointly with its end: exact for a Wiener process.
        turned = self._theta[idx] + step * (walk[0] / 2.0 + walk[1] / np.sqrt(12.0))
        self._theta[idx] += step * walk[0]
        scale = self._scale[idx]
        reckons = self._reckons[idx]
        # Without dead reckoning the last position stays, and the error is the way driven.
        self.error_m[idx, 0] += np.where(reckons, scale * dx - turned * dy, -dx)
        self.error_m[idx, 1] += np.where(reckons, scale * dy + turned * dx, -dy)
        self.distance_m[idx] += ds
        self._x[idx], self._y[idx] = x_m, y_m

    def search(self, idx: IntArray, covered: BoolArray, now_s: float) -> None:
        """Blind vehicles `idx` [k] look for satellites, and find them when it is time."""
        hidden = idx[covered]
        self.ready_s[hidden] = np.inf
        seeing = idx[~covered]
        starting = seeing[np.isinf(self.ready_s[seeing])]
        if starting.size:
            self.ready_s[starting] = now_s + self._first_fix_s(starting, now_s)
        self.blind[seeing[self.ready_s[seeing] <= now_s]] = False
        self.any_blind = bool(self.blind.any())

    def _first_fix_s(self, idx: IntArray, now_s: float) -> FloatArray:
        hot = now_s - self.lost_s[idx] < HOT_S
        median = np.where(hot, self._hot_s[idx], self._cold_s[idx])
        spread = np.where(hot, HOT_LOG_SIGMA, COLD_LOG_SIGMA)
        return np.asarray(median * np.exp(spread * self._rng.standard_normal(idx.size)))

    def report(self, idx: IntArray) -> tuple[FloatArray, Int8Array]:
        """`acc_m` and `fix` of blind vehicles `idx` [k]."""
        reckons, d = self._reckons[idx], self.distance_m[idx]
        grown = np.where(reckons, reckoning_drms_m(d), d)
        acc_m = np.minimum(np.hypot(self._acc0_m[idx], grown), MAX_ACC_M)
        fix = np.where(reckons & (acc_m <= USELESS_M), RECKONED, NO_FIX).astype(np.int8)
        return acc_m, fix
