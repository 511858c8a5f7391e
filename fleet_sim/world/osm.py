"""Read the streets of an OpenStreetMap extract: what a car may use, and how.

Tags are read as the OpenStreetMap wiki defines them (`highway`, `oneway`, `lanes`, `maxspeed`,
`access`, `parking:SIDE`). Turn restrictions, turn lanes, surfaces and opening hours are not read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = {
    "motorway": 90, "motorway_link": 60, "trunk": 70, "trunk_link": 50, "primary": 50,
    "primary_link": 40, "secondary": 50, "secondary_link": 40, "tertiary": 50, "tertiary_link": 40,
    "unclassified": 40, "residential": 40, "living_street": 10,
}  # fmt: skip
"""Values of `highway` that are streets for everybody, and the limit in km/h where no `maxspeed`
stands (assumption). Service roads, tracks and paths are not."""
PARKING_KINDS = frozenset({"secondary", "tertiary", "unclassified", "residential"})
"""Streets along which kerbs are taken to be legal for parking, but for tags that forbid it."""
SUFFIXES = (".osm", ".osm.bz2", ".osm.gz", ".osm.pbf", ".pbf")
MAX_STREET_POINTS = 1_000_000
"""Of all streets together: a region of that size has far more crossings than routes can hold."""

MAX_LANES = 6
"""Of one direction; more are toll plazas and mistakes."""
WIDE_KINDS = frozenset({"motorway", "trunk", "primary", "secondary"})
"""Streets with two lanes a direction where no `lanes` says otherwise (assumption)."""

_KMH = {"km/h": 1.0, "kmh": 1.0, "kph": 1.0, "mph": 1.609344, "knots": 1.852, "": 1.0}
_SPEED = re.compile(r"^(\d+(?:\.\d+)?)\s*([a-z/]*)$")
_SHUT = frozenset(
    {"no", "private", "agricultural", "forestry", "delivery", "emergency", "psv", "bus", "military"}
)
_NO_PARKING = frozenset({"no", "no_parking", "no_stopping", "no_standing", "fire_lane"})


@dataclass(frozen=True, slots=True)
class Way:
    """A street between two ends, in the direction in which it was drawn."""

    points: tuple[int, ...]
    """OpenStreetMap's numbers of its nodes, at least two."""
    kind: str
    name: str
    limit_mps: float
    forward: bool
    """Whether a car may go as it was drawn, and against it."""
    backward: bool
    lanes_forward: int
    """Lanes of each direction, at least 1."""
    lanes_backward: int
    park_right: bool
    park_left: bool
    covered: bool
    """Without a view of the sky: a tunnel, or under a building."""


@dataclass(slots=True)
class Extract:
    """Streets of a file. `place`: latitude and longitude of every point, degrees."""

    ways: list[Way] = field(default_factory=list)
    place: dict[int, tuple[float, float]] = field(default_factory=dict)
    signals: set[int] = field(default_factory=set)
    """Points with traffic signals."""


def read(path: Path) -> Extract:
    """The streets in an extract. `ValueError`, one line, for what cannot be read or has none."""
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"city.osm: {path}: unknown format (allowed: {', '.join(SUFFIXES)})")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ValueError(f"city.osm: {path}: {what} (allowed: an OpenStreetMap extract)")
    try:
        import osmium
    except ImportError:
        raise ValueError(
            "city.osm: reading a map needs the osmium package "
            "(allowed: after pip install 'fleet-sim[osm]')"
        ) from None
    extract = Extract()
    points = 0
    try:
        streets = osmium.filter.KeyFilter("highway")
        items: Iterable[Any] = osmium.FileProcessor(str(path)).with_locations().with_filter(streets)
        for item in items:
            if item.is_node():
                if item.tags["highway"] == "traffic_signals":
                    extract.signals.add(item.id)
            elif item.is_way():
                points += _take(item, extract)
                if points > MAX_STREET_POINTS:
                    break
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"city.osm: {path}: not a whole OpenStreetMap file: {reason} "
            f"(allowed: {', '.join(SUFFIXES)})"
        ) from None
    if points > MAX_STREET_POINTS:
        raise ValueError(
            f"city.osm: {path}: streets have more than {MAX_STREET_POINTS} points "
            "(allowed: fewer; cut a smaller extract)"
        )
    if not extract.ways:
        raise ValueError(
            f"city.osm: {path}: has no street that cars may use (allowed: ways with highway = "
            f"{', '.join(KINDS)})"
        )
    return extract


def _take(item: Any, extract: Extract) -> int:
    """Add the way, cut where a point of it is not in the file; answers how many points it has."""
    tags = {tag.k: tag.v for tag in item.tags}
    if tags["highway"] not in KINDS or not open_to_cars(tags):
        return 0
    run: list[int] = []
    runs = [run]
    for node in item.nodes:
        if not node.location.valid():
            run = []
            runs.append(run)
        elif not run or run[-1] != node.ref:
            run.append(node.ref)
            extract.place[node.ref] = (node.lat, node.lon)
    extract.ways += [way_of(tags, tuple(points)) for points in runs if len(points) > 1]
    return sum(map(len, runs))


def way_of(tags: dict[str, str], points: tuple[int, ...]) -> Way:
    """What the tags of a street mean."""
    kind = tags["highway"]
    forward, backward = directions(tags)
    right, left = parking(tags)
    onward, against = lanes(tags, forward, backward)
    return Way(
        points=points,
        kind=kind,
        name=(tags.get("name") or tags.get("ref") or f"unnamed {kind}")[:80],
        limit_mps=(speed_kmh(tags.get("maxspeed", "")) or KINDS[kind]) / 3.6,
        forward=forward,
        backward=backward,
        lanes_forward=onward,
        lanes_backward=against,
        park_right=right,
        park_left=left,
        covered=any(tags.get(key, "no") != "no" for key in ("tunnel", "covered")),
    )


def open_to_cars(tags: dict[str, str]) -> bool:
    """Whether anybody's car may be there; the most specific access tag decides."""
    if tags.get("area") == "yes":
        return False
    for key in ("motorcar", "motor_vehicle", "vehicle", "access"):
        if key in tags:
            return tags[key] not in _SHUT
    return True


def directions(tags: dict[str, str]) -> tuple[bool, bool]:
    """Whether cars may go (as drawn, against it)."""
    implied = (
        tags["highway"] in ("motorway", "motorway_link")
        or tags.get("junction") in ("roundabout", "circular")
    )  # fmt: skip
    match tags.get("oneway", "yes" if implied else "no"):
        case "yes" | "true" | "1":
            return True, False
        case "-1" | "reverse":
            return False, True
        case _:
            return True, True


def lanes(tags: dict[str, str], forward: bool, backward: bool) -> tuple[int, int]:
    """Lanes (as drawn, against it), each 1..`MAX_LANES`.

    `lanes` counts both directions; what `lanes:both_ways` counts is for turning only. Without a
    number `WIDE_KINDS` have two a direction, all others one.
    """

    def number(key: str) -> int | None:
        text = tags.get(key, "").split(";")[0].strip()
        return int(text) if text.isdecimal() else None

    usual = 2 if tags["highway"] in WIDE_KINDS else 1
    total = number("lanes")
    if forward and backward:
        found = number("lanes:forward"), number("lanes:backward")
        if total is not None:
            total -= number("lanes:both_ways") or 0
            # One direction and the total give the other.
            one, other = found
            if one is None:
                one = total - other if other is not None else total // 2
            if other is None:
                other = total - one
            # An odd lane that nobody assigns is for turning.
            found = (one, min(one, other)) if found == (None, None) else (one, other)
    else:
        found = (total, total)
    onward, against = (min(max(usual if n is None else n, 1), MAX_LANES) for n in found)
    return onward, against


def speed_kmh(text: str) -> float | None:
    """`50`, `25 mph`, `walk`; None for what says no number (`none`, `signals`, `RO:urban`)."""
    text = text.split(";")[0].strip().lower()
    if text == "walk":
        return 7.0
    found = _SPEED.match(text)
    if found is None or found[2] not in _KMH or not 3.0 <= float(found[1]) <= 200.0:
        return None
    return float(found[1]) * _KMH[found[2]]


def parking(tags: dict[str, str]) -> tuple[bool, bool]:
    """Whether cars may be parked along the (right, left) kerb, as the way was drawn."""
    allowed = tags["highway"] in PARKING_KINDS and tags.get("junction") is None
    if not allowed or tags.get("bridge", "no") != "no" or tags.get("tunnel", "no") != "no":
        return False, False

    def side(name: str) -> bool:
        keys = (f"parking:{s}" for s in (name, "both"))
        older = (f"parking:lane:{s}" for s in (name, "both"))
        return not any(tags.get(key) in _NO_PARKING for key in (*keys, *older))

    return side("right"), side("left")
