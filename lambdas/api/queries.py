"""Requests understood: parameters, the cells they concern, tokens of pages. Pure."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import h3
import msgspec

from api.parameters import ID_PATTERN, Parameter, refuse_others
from api.problems import bad_request
from fleet_sim.contract import BBox
from fleet_sim.contract.registry import SPOT_CELL_RESOLUTION

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 200
MAX_CELLS = 20_000
"""H3 cells a box may cover: about 2,000 km², a metropolis."""
MAX_RADIUS_M = 2_000.0
DEFAULT_RADIUS_M = 500.0
MAX_NAME_BYTES = 512
M_PER_DEG = 111_195.0
"""Mean Earth radius 6,371,009 m (IUGG) times π/180."""

BBOX = Parameter("bbox", "West, south, east, north in degrees.", example="-122.3,37.8,-122.2,37.9")
LAT = Parameter("lat", "Latitude of the point, degrees.", "number", -90, 90, example=37.8044)
LON = Parameter("lon", "Longitude of the point, degrees.", "number", -180, 180, example=-122.2712)
RADIUS = Parameter(
    "radius",
    "How far around the point in a straight line, m.",
    "number",
    1,
    MAX_RADIUS_M,
    default=DEFAULT_RADIUS_M,
    unit="m",
)
STATE = Parameter(
    "state", "Only spots in this state.", choices=("free", "occupied", "unknown"), example="free"
)
CONFIDENCE = Parameter(
    "min_confidence", "Only spots known at least so well.", "number", 0, 1, default=0
)
LIMIT = Parameter(
    "limit", "At most so many in an answer.", "integer", 1, MAX_LIMIT, default=DEFAULT_LIMIT
)
NEXT = Parameter("next", "`next` of the page before, with the other parameters as they were.")
SPOT_ID = Parameter("spot_id", "Id of a spot.", pattern=ID_PATTERN)
VIN = Parameter("vin", "Vehicle identification number.", pattern=ID_PATTERN)
STREET = Parameter("name", "Name of a street, as `/trends` lists it.", example="1st St")

SPOTS = (BBOX, LAT, LON, RADIUS, STATE, CONFIDENCE, LIMIT, NEXT)
VEHICLES = (LIMIT, NEXT)
STREET_TREND = (STREET,)

T = TypeVar("T")


class Filter(NamedTuple):
    """Which spots are wanted."""

    state: str = ""
    """Empty for any."""
    min_confidence: float = 0.0


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page of a box ended."""

    cell: str
    after: str


class VehicleCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    vin: str


class BoxQuery(NamedTuple):
    box: BBox
    limit: int
    cells: tuple[str, ...]
    """H3 cells that cover the box, sorted; from where this page begins."""
    after: str
    """Last spot id of the page before, in the first of `cells`; empty at a cell's beginning."""
    wanted: Filter


class NearQuery(NamedTuple):
    lat: float
    lon: float
    radius_m: float
    limit: int
    cells: tuple[str, ...]
    """H3 cells that the circle touches."""
    wanted: Filter


def spot_query(given: Mapping[str, str]) -> BoxQuery | NearQuery:
    """Understand `GET /spots`; the problem names the parameter that is wrong."""
    refuse_others(given, SPOTS)
    near = [p.name for p in (LAT, LON, RADIUS) if p.name in given]
    if "bbox" in given and near:
        bad_request(f"{near[0]}: not together with bbox (allowed: bbox, or lat and lon)")
    wanted = Filter(
        STATE.text(given["state"]) if "state" in given else "",
        CONFIDENCE.number(given.get("min_confidence", "0")),
    )
    limit = LIMIT.integer(given.get("limit", str(DEFAULT_LIMIT)))
    if near:
        return _near(given, limit, wanted)
    if "bbox" not in given:
        bad_request("bbox: missing (allowed: west,south,east,north in degrees, or lat and lon)")
    try:
        box = BBox.parse(given["bbox"])
    except ValueError as error:
        bad_request(str(error))
    cells = covering_cells(box)
    cursor = read_token(given["next"], Cursor) if "next" in given else Cursor("", "")
    if cursor.cell and cursor.cell not in cells:
        bad_request("next: is of another bbox")
    rest = tuple(cell for cell in cells if cell >= cursor.cell)
    return BoxQuery(box, limit, rest, cursor.after, wanted)


def _near(given: Mapping[str, str], limit: int, wanted: Filter) -> NearQuery:
    for parameter in (LAT, LON):
        if parameter.name not in given:
            bad_request(f"{parameter.name}: missing (allowed: lat and lon together)")
    if "next" in given:
        bad_request("next: not with lat and lon (what is near comes in one answer)")
    lat, lon = LAT.number(given["lat"]), LON.number(given["lon"])
    radius_m = RADIUS.number(given.get("radius", str(DEFAULT_RADIUS_M)))
    north = radius_m / M_PER_DEG
    if abs(lat) + north > 89:
        bad_request(f"lat: {given['lat']!r} is too near to a pole (allowed: -88.9..88.9)")
    east = north / math.cos(math.radians(abs(lat) + north))
    if abs(lon) + east > 180:
        bad_request(f"lon: {given['lon']!r} is too near to the antimeridian")
    box = BBox(lon - east, lat - north, lon + east, lat + north)
    return NearQuery(lat, lon, radius_m, limit, tuple(covering_cells(box)), wanted)


def covering_cells(box: BBox) -> list[str]:
    """Sorted H3 cells that touch the box."""
    # Some cells' area at this resolution is 0.1 km²; refuse before computing millions of them.
    height, width = box.north - box.south, box.east - box.west
    if height * width * 111.2**2 > MAX_CELLS * 0.1:
        bad_request(f"bbox: too large (allowed: about {MAX_CELLS * 0.1:.0f} km²)")
    # A box without extent covers no area: H3 wants a polygon.
    pad = 1e-7
    corners = [
        (box.south - pad, box.west - pad),
        (box.south - pad, box.east + pad),
        (box.north + pad, box.east + pad),
        (box.north + pad, box.west - pad),
    ]
    shape = h3.LatLngPoly(corners)
    return sorted(h3.h3shape_to_cells_experimental(shape, SPOT_CELL_RESOLUTION, "overlap"))


class VehiclesQuery(NamedTuple):
    limit: int
    after: str
    """Last VIN of the page before; empty at the beginning."""


def vehicles_query(given: Mapping[str, str]) -> VehiclesQuery:
    refuse_others(given, VEHICLES)
    cursor = read_token(given["next"], VehicleCursor) if "next" in given else VehicleCursor("")
    return VehiclesQuery(LIMIT.integer(given.get("limit", str(DEFAULT_LIMIT))), cursor.vin)


def write_token(cursor: Cursor | VehicleCursor) -> str:
    """Opaque to clients. It only names a place in public data: it is validated, not signed."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read_token(text: str, kind: type[T]) -> T:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, msgspec.MsgspecError):
        bad_request("next: is not a token that this API made")


def street_name(given: Mapping[str, str]) -> str:
    refuse_others(given, STREET_TREND)
    name = given.get(STREET.name, "")
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        bad_request(f"name: {len(name.encode())} bytes (allowed: 1..{MAX_NAME_BYTES})")
    return name
