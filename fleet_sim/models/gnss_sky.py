"""Satellite geometry: the horizontal dilution of precision (HDOP) of each reception class.

Two constellations on circular orbits, as a receiver for GPS and GLONASS sees them; buildings are
an elevation mask, the same all around (assumption). HDOP is a function of time alone, so it does
not depend on the step.
"""

from typing import NamedTuple

import numpy as np

from fleet_sim.models.arrays import FloatArray

EARTH_KM, MU_KM3_S2 = 6371.0, 398_600.4
SIDEREAL_DAY_S = 86_164.1
EPOCH_S = 30.0
"""HDOP is computed anew every half minute; meanwhile a satellite moves a quarter of a degree."""
MIN_SATELLITES = 4
MAX_HDOP = 10.0
"""Geometry worse than this, or fewer than four satellites, counts as this (assumption)."""


class Walker(NamedTuple):
    """`satellites` on circular orbits in evenly spaced planes; `phasing` shifts the satellites of
    neighbouring planes by `phasing * 360° / satellites`."""

    inclination_deg: float
    satellites: int
    planes: int
    phasing: int
    altitude_km: float


GPS = Walker(55.0, 24, 6, 2, 20_180.0)
"""Nominal inclination, planes and altitude (GPS SPS Performance Standard); its slots are not
evenly spaced, ours are (assumption)."""
GLONASS = Walker(64.8, 24, 3, 1, 19_100.0)
"""Published: three planes of eight, planes shifted by 15° along the orbit."""


def satellites_km(walker: Walker, t_s: FloatArray) -> FloatArray:
    """Positions in an inertial frame, times [k] → [k, satellites, 3]."""
    radius = EARTH_KM + walker.altitude_km
    per_plane = walker.satellites // walker.planes
    plane, slot = np.divmod(np.arange(walker.satellites), per_plane)
    node = 2 * np.pi * plane / walker.planes
    start = 2 * np.pi * (slot / per_plane + plane * walker.phasing / walker.satellites)
    along = start + np.sqrt(MU_KM3_S2 / radius**3) * t_s[:, None]
    tilt = np.radians(walker.inclination_deg)
    x, y = np.cos(along), np.sin(along) * np.cos(tilt)
    return np.asarray(
        radius
        * np.stack(
            (
                x * np.cos(node) - y * np.sin(node),
                x * np.sin(node) + y * np.cos(node),
                np.sin(along) * np.sin(tilt),
            ),
            axis=-1,
        )
    )


def directions(lat_deg: float, t_s: FloatArray) -> FloatArray:
    """Unit vectors (east, north, up) to all satellites, times [k] → [k, satellites, 3]."""
    lat, lon = np.radians(lat_deg), 2 * np.pi * t_s / SIDEREAL_DAY_S
    up = np.stack(
        (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.full_like(lon, np.sin(lat))), -1
    )
    east = np.stack((-np.sin(lon), np.cos(lon), np.zeros_like(lon)), -1)
    frame = np.stack((east, np.cross(up, east), up), axis=1)
    seen = np.concatenate([satellites_km(w, t_s) for w in (GPS, GLONASS)], axis=1)
    seen = seen - EARTH_KM * up[:, None, :]
    seen /= np.linalg.norm(seen, axis=2, keepdims=True)
    return np.asarray(np.einsum("kij,ksj->ksi", frame, seen))


def hdop(lat_deg: float, t_s: FloatArray, mask_deg: FloatArray) -> tuple[FloatArray, FloatArray]:
    """HDOP and number of satellites above each mask: times [k], masks [m] → [k, m] each.

    `sqrt(Q_ee + Q_nn)` of `Q = (GᵀG)⁻¹`, rows of `G` being (east, north, up, 1).
    """
    rows = directions(lat_deg, t_s)
    rows = np.concatenate((rows, np.ones((*rows.shape[:2], 1))), axis=2)
    above = rows[:, None, :, 2] > np.sin(np.radians(mask_deg))[None, :, None]
    normal = np.einsum("kms,ksi,ksj->kmij", above.astype(np.float64), rows, rows)
    count = above.sum(axis=2).astype(np.float64)
    # A singular geometry stays invertible, and ends at the cap.
    q = np.linalg.inv(normal + 1e-6 * np.eye(4))
    found = np.sqrt(q[..., 0, 0] + q[..., 1, 1])
    return np.where(count < MIN_SATELLITES, MAX_HDOP, np.minimum(found, MAX_HDOP)), count


class Sky:
    """HDOP of each class over one city, and its mean over a sidereal day."""

    def __init__(self, lat_deg: float, mask_deg: FloatArray, start_s: float) -> None:
        self._lat_deg, self._mask_deg, self._start_s = lat_deg, mask_deg, start_s
        day = np.arange(0.0, SIDEREAL_DAY_S, 600.0)
        self.mean: FloatArray = hdop(lat_deg, start_s + day, mask_deg)[0].mean(axis=0)
        """[classes]"""
        self._epoch = -1.0
        self._now: FloatArray = self.mean

    def hdop(self, now_s: float) -> FloatArray:
        """[classes] at the latest full half minute."""
        epoch = np.floor(now_s / EPOCH_S)
        if epoch != self._epoch:
            self._epoch = epoch
            at = np.array([self._start_s + epoch * EPOCH_S])
            self._now = hdop(self._lat_deg, at, self._mask_deg)[0][0]
        return self._now
