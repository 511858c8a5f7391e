"""A city: roads, stalls, venues and districts, in local metres and in degrees."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from fleet_sim.contract import RegistrySpot, Segment, SpotRegistry, StreetNetwork
from fleet_sim.models.arrays import BoolArray, FloatArray, IntArray
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.world import districts, grid, network, osm, streets
from fleet_sim.world.geo import Projection
from fleet_sim.world.roads import Roads
from fleet_sim.world.sites import Sites, place
from fleet_sim.world.stalls import Stalls

VENUES = ("arena", "market")
DISTRICTS = ("all", "north", "south", "east", "west")
OSM_ATTRIBUTION = "© OpenStreetMap contributors, ODbL"
MARKET_AT = -0.3
"""Of a map's width and height, from the centre: in the south-west, as in a generated city."""


@dataclass(frozen=True, slots=True)
class Venue:
    name: str
    x: float
    y: float


@dataclass(frozen=True)
class City:
    """`x`, `y` are metres east and north of the centre (`projection`)."""

    roads: Roads
    stalls: Stalls
    venues: tuple[Venue, ...]
    projection: Projection
    character: IntArray
    """[E] index into `districts.NAMES`."""
    sites: Sites
    """Garages and charging stations."""
    attribution: str = ""
    """Whose map it is, when its licence asks for that."""
    dropped: str = ""
    """What of a map is not in the city, for people; empty for none."""
    lat: FloatArray = field(init=False)
    """Of each stall's centre, degrees, [S]."""
    lon: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self._check_connected()
        lat, lon = self.projection.to_degrees(self.stalls.x, self.stalls.y)
        object.__setattr__(self, "lat", lat)
        object.__setattr__(self, "lon", lon)

    def _check_connected(self) -> None:
        """`ValueError` when some street cannot be reached from another: no trip would end there."""
        roads = self.roads
        n = roads.node_x.size
        graph = csr_array((np.ones(roads.n_edges), (roads.tail, roads.head)), shape=(n, n))
        parts, _ = connected_components(graph, directed=True, connection="strong")
        if parts != 1:
            raise ValueError(
                f"city: its {n} crossings are {parts} parts that cannot all be reached from each "
                "other (allowed: streets that form one strongly connected network)"
            )

    @classmethod
    def build(cls, spec: CitySpec, seed: int) -> "City":
        """The city of a scenario. `ValueError`, one line, for what cannot be one."""
        if spec.osm is not None:
            return cls.from_osm(Path(spec.osm), seed, spec)
        assert spec.generate is not None  # a scenario gives it one or the other
        return cls.generate(spec.generate, seed, spec)

    @classmethod
    def from_osm(cls, path: Path, seed: int, beside: CitySpec | None = None) -> "City":
        """The streets of an OpenStreetMap extract; stalls, venues and sites are made up for them.

        Centred on what is kept: the largest part in which every street leads to every other.
        Same file and `seed`: the same city. `ValueError` names the file and what is wrong.
        """
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0xC171]))
        net = network.build(osm.read(path))
        roads, of_street, legal = streets.lay_lanes(net, rng)
        stalls = streets.lay_stalls(roads, of_street, legal, rng)
        width, height = float(np.ptp(roads.node_x)), float(np.ptp(roads.node_y))
        venues = (
            Venue("arena", *streets.place_venue(roads, 0.0, 0.0)),
            Venue("market", *streets.place_venue(roads, MARKET_AT * width, MARKET_AT * height)),
        )
        dropped = ""
        if net.dropped_pieces:
            dropped = (
                f"{net.dropped_km:.1f} km of street that cannot be both reached and left within "
                "the map"
            )
        character = np.full(roads.n_edges, districts.MIXED)
        sites = place(roads, character, beside or CitySpec())
        where = net.projection
        return cls(roads, stalls, venues, where, character, sites, OSM_ATTRIBUTION, dropped)

    @classmethod
    def generate(cls, spec: GeneratedCity, seed: int, beside: CitySpec | None = None) -> "City":
        """Draw a grid city. Same `spec` and `seed`: the same city, byte for byte.

        `ValueError` for blocks too short for a crossing and too many crossings.
        """
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0xC171]))
        drawn = grid.generate(spec, rng)
        cols, rows = spec.blocks

        def block(col: int, row: int) -> tuple[float, float]:
            return float(drawn.x[col : col + 2].mean()), float(drawn.y[row : row + 2].mean())

        venues = (
            Venue("arena", *block(cols // 2, rows // 2)),
            Venue("market", *block(cols // 5, rows // 5)),
        )
        where, character = Projection(spec.lat, spec.lon), drawn.character
        sites = place(drawn.roads, character, beside or CitySpec())
        return cls(drawn.roads, drawn.stalls, venues, where, character, sites)

    def venue(self, name: str) -> Venue:
        for venue in self.venues:
            if venue.name == name:
                return venue
        raise ValueError(f"venue: {name!r} is not in the city (allowed: {', '.join(VENUES)})")

    def degrees_of(self, name: str) -> tuple[float, float]:
        """Latitude and longitude of a venue."""
        venue = self.venue(name)
        lat, lon = self.projection.to_degrees(np.array([venue.x]), np.array([venue.y]))
        return float(lat[0]), float(lon[0])

    def district(self, name: str, x: FloatArray, y: FloatArray) -> BoolArray:
        """Which points are in the district: `all`, or the half on that side of the centre."""
        halves = {"north": y >= 0, "south": y < 0, "east": x >= 0, "west": x < 0}
        if name == "all":
            return np.ones(x.shape, dtype=np.bool_)
        if name not in halves:
            raise ValueError(f"district: {name!r} is unknown (allowed: {', '.join(DISTRICTS)})")
        return np.asarray(halves[name])

    def to_registry(self) -> SpotRegistry:
        """The stalls as the cloud is told of them; `city` is a hash of their content."""
        stalls, roads = self.stalls, self.roads
        spots = [
            RegistrySpot(
                id=stalls.id[i],
                lat=round(float(self.lat[i]), 7),
                lon=round(float(self.lon[i]), 7),
                bearing_deg=float(roads.bearing_deg[stalls.edge[i]]),
                length_m=float(stalls.length[i]),
                lane_offset_m=float(stalls.lane_offset[i]),
                street=roads.streets[roads.street_of[stalls.edge[i]]],
            )
            for i in range(stalls.n)
        ]
        digest = hashlib.sha256(msgspec.json.encode(spots)).hexdigest()[:16]
        return SpotRegistry(city=digest, spots=spots)

    def to_streets(self, city: str) -> StreetNetwork:
        """The streets as the cloud is told of them; `city` is the registry's."""
        roads = self.roads
        lat, lon = self.projection.to_degrees(roads.node_x, roads.node_y)
        # Lanes of both directions are one street to people on foot.
        ends = np.sort(np.stack([roads.tail, roads.head], axis=1), axis=1)
        _, first = np.unique(ends, axis=0, return_index=True)
        return StreetNetwork(
            city=city,
            nodes=[
                (round(a, 7), round(b, 7)) for a, b in zip(lat.tolist(), lon.tolist(), strict=True)
            ],
            streets=list(roads.streets),
            segments=[
                Segment(int(ends[k, 0]), int(ends[k, 1]), int(roads.street_of[k])) for k in first
            ],
            attribution=self.attribution,
        )
