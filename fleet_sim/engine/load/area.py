"""Where the users of a load test want to go: corners of the deployed streets."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fleet_sim.engine.load.plan import Hot

METRES_A_DEGREE = 111_195.0
"""Of latitude, on a sphere of 6,371 km."""


class _Geometry(msgspec.Struct):
    coordinates: list[tuple[float, float]]


class _Feature(msgspec.Struct):
    geometry: _Geometry


class _Streets(msgspec.Struct):
    features: list[_Feature]


class Area(NamedTuple):
    """Corners of streets, as latitude and longitude."""

    corners: Sequence[tuple[float, float]]

    @classmethod
    def of_geojson(cls, body: bytes) -> "Area":
        """From what `GET /streets` answers. `ValueError` when that is no street network."""
        try:
            streets = msgspec.json.decode(body, type=_Streets)
        except msgspec.DecodeError as error:
            raise ValueError(f"/streets: {error}") from None
        corners = {
            (lat, lon) for feature in streets.features for lon, lat in feature.geometry.coordinates
        }
        if not corners:
            raise ValueError("/streets: no street (allowed: a city; fleet-sim deploy --city)")
        return cls(sorted(corners))

    @property
    def bbox(self) -> str:
        """West, south, east, north of all corners, as the API wants it."""
        lats, lons = zip(*self.corners, strict=True)
        edges = (min(lons), min(lats), max(lons), max(lats))
        return ",".join(f"{edge:.6f}" for edge in edges)

    def goal(self, draw: random.Random, hot: Sequence[Hot] = ()) -> tuple[float, float]:
        """Where somebody wants to park: near a hot place with its share, else at any corner."""
        share = draw.random()
        for place in hot:
            if share < place.share:
                north, east = draw.gauss(0, place.spread_m), draw.gauss(0, place.spread_m)
                lat = place.lat + north / METRES_A_DEGREE
                scale = METRES_A_DEGREE * math.cos(math.radians(place.lat))
                return lat, place.lon + east / scale
            share -= place.share
        return draw.choice(self.corners)
