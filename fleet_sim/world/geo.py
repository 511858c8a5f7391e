"""Local metres to and from degrees: equirectangular around the city's centre.

East and north of the centre on a sphere of the mean radius. The projection is exact both ways
(what it writes, it reads back); distances east-west at `d` metres north of the centre are off by
`tan(lat) d / R`: 0.06 % at 5 km and 38° latitude, that is 3 m in 5 km.
"""

import math
from dataclasses import dataclass

import numpy as np

from fleet_sim.models.arrays import FloatArray

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius R1 (IUGG)."""


@dataclass(frozen=True, slots=True)
class Projection:
    lat0: float
    lon0: float

    def to_degrees(self, x_m: FloatArray, y_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """East, north in m → latitude, longitude in degrees."""
        lat = self.lat0 + np.degrees(y_m / EARTH_RADIUS_M)
        lon = self.lon0 + np.degrees(x_m / (EARTH_RADIUS_M * math.cos(math.radians(self.lat0))))
        return lat, (lon + 180.0) % 360.0 - 180.0

    def to_metres(self, lat: FloatArray, lon: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Latitude, longitude in degrees → east, north in m."""
        dlon = (lon - self.lon0 + 180.0) % 360.0 - 180.0
        x = np.radians(dlon) * EARTH_RADIUS_M * math.cos(math.radians(self.lat0))
        return x, np.radians(lat - self.lat0) * EARTH_RADIUS_M
