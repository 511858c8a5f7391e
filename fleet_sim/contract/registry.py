"""The spot registry: which stalls exist, deployed as data beside the code.

It is one gzip JSON object in the data bucket under `registry/spots.json.gz`, read by the telemetry
processor and by the upload that seeds the spots table. Beside it, under
`registry/streets.json.gz`, is the network of streets, which the API walks and draws, and under
`registry/cells.json.gz` how many stalls each cell has, so that the API reads none in vain.
"""

from typing import Annotated

import msgspec

REGISTRY_KEY = "registry/spots.json.gz"
STREETS_KEY = "registry/streets.json.gz"
CELLS_KEY = "registry/cells.json.gz"
SPOT_CELL_RESOLUTION = 9
"""H3 resolution of a spot's `cell` (mean edge 201 m): a screenful of map is some ten cells."""


class RegistrySpot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A stall as a map knows it. `lat`, `lon`: the stall's centre."""

    id: str
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    bearing_deg: Annotated[float, msgspec.Meta(ge=0, lt=360)]
    """Direction of travel on the lane beside it, clockwise from true north: the stall is on the
    right-hand side of a vehicle with this heading."""
    length_m: Annotated[float, msgspec.Meta(gt=0)]
    lane_offset_m: Annotated[float, msgspec.Meta(gt=0)]
    """From the centre of that lane to the stall's centre line, across."""
    street: str
    """Name of the street the stall is on."""


class SpotRegistry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All stalls of one city. `city` changes when any stall does."""

    city: str
    spots: list[RegistrySpot]


class Segment(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A straight piece of a street, walked both ways."""

    tail: int
    """Index of a node."""
    head: int
    street: int
    """Index of a name."""


class StreetNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streets of one city as a graph, for people on foot."""

    city: str
    """As in the `SpotRegistry` that it belongs to."""
    nodes: list[tuple[float, float]]
    """Latitude, longitude in degrees."""
    streets: list[str]
    segments: list[Segment]
    attribution: str = ""
    """Whose map it is, when its licence asks for that."""


class SpotCells(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the stalls of one city are, coarsely."""

    city: str
    """As in the `StreetNetwork` beside it; another one's is out of date."""
    stalls: dict[str, int]
    """H3 cell → its stalls; cells without any are not there."""
