"""Items of the tables as the API shows them, and pages of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from api.queries import BoxQuery, Cursor, Filter, NearQuery, write_token
from api.walking import Walks, straight_m
from fleet_sim.contract import BBox, Look, Spot, SpotDetail, SpotPage, VehicleView
from fleet_sim.contract.fading import as_of
from fleet_sim.contract.tables import CALLED, NEVER_SEEN, AttributeMap, Observation, SpotBelief
from fleet_sim.contract.trends import StreetTrend, TrendIndex

_belief = msgspec.json.Decoder(SpotBelief)
_recent = msgspec.json.Decoder(list[Observation])
_view = msgspec.json.Decoder(VehicleView)


def spot(item: AttributeMap, now_ms: float) -> Spot:
    """As it is believed to be at `now_ms`."""
    belief = as_of(_belief.decode(item["belief"]["S"]), now_ms)
    return Spot(
        id=item["id"]["S"],
        lat=float(item["lat"]["N"]),
        lon=float(item["lon"]["N"]),
        street=item["street"]["S"],
        state=belief.state,
        p_occupied=belief.p_occupied,
        confidence=round(abs(2 * belief.p_occupied - 1), 4),
        observations=belief.observations,
        last_seen_ms=belief.last_seen_ms or None,
    )


def spot_detail(item: AttributeMap, now_ms: float) -> SpotDetail:
    """With the observations behind it; the item is the table's, not the index's."""
    looks = [Look(look.ts, look.vin, look.llr) for look in _recent.decode(item["recent"]["S"])]
    looks.sort(key=lambda look: -look.ts)
    return SpotDetail(**msgspec.structs.asdict(spot(item, now_ms)), recent=looks)


def vehicle(item: AttributeMap) -> VehicleView:
    return _view.decode(item["state"]["S"])


def trend_index(item: AttributeMap) -> TrendIndex:
    return msgspec.json.decode(item["trend"]["S"], type=TrendIndex)


def street_trend(item: AttributeMap) -> StreetTrend:
    return msgspec.json.decode(item["trend"]["S"], type=StreetTrend)


def is_wanted(found: Spot, wanted: Filter) -> bool:
    return wanted.state in ("", found.state) and found.confidence >= wanted.min_confidence


def unlike(wanted: Filter) -> tuple[str, ...]:
    """Texts that are in the belief of no spot that is wanted: DynamoDB need not send those that
    have one."""
    if wanted.state in ("", "unknown"):
        return (NEVER_SEEN,) if wanted.min_confidence > 0 else ()
    # Fading only ever ends calls.
    return NEVER_SEEN, CALLED["free" if wanted.state == "occupied" else "occupied"]


def in_box(box: BBox, found: Spot) -> bool:
    return box.west <= found.lon <= box.east and box.south <= found.lat <= box.north


class Page:
    """Collects one page of spots: those in the box that are wanted, up to the limit."""

    def __init__(self, query: BoxQuery, now_ms: float) -> None:
        self._query, self._now_ms = query, now_ms
        self._spots: list[Spot] = []
        self._last = Cursor("", "")
        self._full = False

    @property
    def missing(self) -> int:
        """How many more spots show that the page is full and there is more."""
        return self._query.limit + 1 - len(self._spots)

    def add(self, cell: str, items: Iterable[AttributeMap]) -> bool:
        """Take a cell's items, by id; True when the page is full and there is more."""
        for item in items:
            found = spot(item, self._now_ms)
            if not in_box(self._query.box, found) or not is_wanted(found, self._query.wanted):
                continue
            if len(self._spots) == self._query.limit:
                self._full = True
                return True
            self._spots.append(found)
            self._last = Cursor(cell, found.id)
        return False

    def answer(self, next_cell: str | None = None) -> SpotPage:
        """The page; it goes on where it was full, or else at `next_cell`."""
        if self._full:
            return SpotPage(self._spots, write_token(self._last))
        if next_cell is not None:
            return SpotPage(self._spots, write_token(Cursor(next_cell, "")))
        return SpotPage(self._spots)


class Nearest:
    """Collects the spots around a point that are wanted; the answer is the nearest on foot."""

    def __init__(self, query: NearQuery, now_ms: float, walks: Walks | None) -> None:
        self._query, self._now_ms, self._walks = query, now_ms, walks
        self._by_cell: dict[str, list[Spot]] = {}
        self._count = 0

    def add(self, cell: str, items: Iterable[AttributeMap]) -> None:
        """Take a cell's items, by id."""
        query, found = self._query, self._by_cell.setdefault(cell, [])
        for item in items:
            lat, lon = float(item["lat"]["N"]), float(item["lon"]["N"])
            if straight_m(query.lat, query.lon, lat, lon) <= query.radius_m:
                candidate = spot(item, self._now_ms)
                if is_wanted(candidate, query.wanted):
                    found.append(candidate)
                    self._count += 1

    def complete(self, least_m: float) -> bool:
        """Whether nothing that is still to come belongs into the answer, when all of it is at least
        `least_m` away in a straight line."""
        if self._count < self._query.limit:
            return False
        if self._walks is not None:
            least_m = self._walks.least_m(self._query.lat, least_m)
        return self._ordered()[self._query.limit - 1][0] < least_m

    def answer(self) -> SpotPage:
        """The nearest, with how far that is."""
        spots = [
            msgspec.structs.replace(spot, walk_m=round(metres, 1))
            for metres, spot in self._ordered()[: self._query.limit]
        ]
        return SpotPage(spots, None, "straight" if self._walks is None else "streets")

    def _ordered(self) -> list[tuple[float, Spot]]:
        """Those that are equally far by cell, and by id."""
        query = self._query
        found = [spot for cell in sorted(self._by_cell) for spot in self._by_cell[cell]]
        if self._walks is None:
            walked = [straight_m(query.lat, query.lon, spot.lat, spot.lon) for spot in found]
        else:
            points = [(spot.lat, spot.lon) for spot in found]
            walked = self._walks.distances_m(query.lat, query.lon, points)
        return sorted(zip(walked, found, strict=True), key=lambda pair: pair[0])
