"""`map.json`: the city at the end of a run, the truth beside what the API said."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class MapSpot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One stall, by the middle of it."""

    id: str
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    bearing_deg: float
    """Direction of the lane beside it, clockwise from true north: how the stall lies."""
    truth: Literal["free", "occupied", "unknown"]
    """`unknown` where the process that simulated its town died."""
    api: Literal["free", "occupied", "unknown"]
    """`unknown` also when the API did not list it."""
    p: Annotated[float, Meta(ge=0, le=1)]
    """The API's belief that it is occupied."""


class CityMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `map.json`."""

    streets: list[list[float]]
    """Each a line: `[lat, lon, lat, lon, …]`, degrees."""
    spots: list[MapSpot]
    attribution: str = ""
    """Whose map data it is, when the licence asks for that."""


def from_json(data: bytes | str) -> CityMap:
    """`ValueError` names the field that is unknown, missing or of the wrong type."""
    try:
        city = msgspec.json.decode(data, type=CityMap)
    except msgspec.DecodeError as error:
        raise ValueError(f"map.json: {error}") from None
    for i, street in enumerate(city.streets):
        if len(street) % 2 or len(street) < 4:
            raise ValueError(
                f"map.json: streets[{i}] has {len(street)} numbers (allowed: 4, 6, 8 …)"
            )
    return city
