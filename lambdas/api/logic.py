"""Questions and answers of the API. Pure: no clock, no environment, no I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

import h3
import msgspec

from fleet_sim.contract import BBox, FleetSummary, Problem, Spot, SpotPage, VehicleView
from fleet_sim.contract.registry import SPOT_CELL_RESOLUTION
from fleet_sim.contract.tables import AttributeMap, SpotBelief

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 200
MAX_CELLS = 20_000
"""H3 cells a box may cover: about 2,000 km², a metropolis."""
ONLINE_MS = 60_000
"""A vehicle is online when the processor heard of it in this time."""

_ID = re.compile(r"^[A-Za-z0-9_.:-]{1,64}$")


class ProblemError(Exception):
    """An answer that is a problem document (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str = "") -> None:
        super().__init__(detail or title)
        self.problem = Problem(title=title, status=status, detail=detail)


def bad_request(detail: str) -> NoReturn:
    raise ProblemError(400, "Bad request", detail)


def not_found(detail: str) -> NoReturn:
    raise ProblemError(404, "Not found", detail)


# --- spots in a box -------------------------------------------------------------------------------


class SpotQuery(msgspec.Struct, frozen=True):
    """`GET /spots` understood."""

    box: BBox
    limit: int
    cells: tuple[str, ...]
    """H3 cells that cover the box, sorted; from where this page begins."""
    after: str
    """Last spot id of the page before, in the first of `cells`; empty at a cell's beginning."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    cell: str
    after: str


def spot_query(parameters: Mapping[str, str]) -> SpotQuery:
    """Parse `bbox`, `limit` and `next`; `ProblemError` names the one that is wrong."""
    for name in parameters:
        if name not in ("bbox", "limit", "next"):
            bad_request(f"{name}: unknown parameter (allowed: bbox, limit, next)")
    if "bbox" not in parameters:
        bad_request("bbox: missing (allowed: west,south,east,north in degrees)")
    try:
        box = BBox.parse(parameters["bbox"])
    except ValueError as error:
        bad_request(str(error))
    limit = parameters.get("limit", str(DEFAULT_LIMIT))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MAX_LIMIT:
        bad_request(f"limit: {limit!r} (allowed: 1..{MAX_LIMIT})")
    cells = covering_cells(box)
    cursor = _parse_cursor(parameters["next"]) if "next" in parameters else _Cursor("", "")
    if cursor.cell and cursor.cell not in cells:
        bad_request("next: is of another bbox")
    rest = tuple(cell for cell in cells if cell >= cursor.cell)
    return SpotQuery(box, int(limit), rest, cursor.after)


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


class Page:
    """Collects one page of spots: those in the box, up to the limit."""

    def __init__(self, query: SpotQuery) -> None:
        self._query = query
        self._spots: list[Spot] = []
        self._last = _Cursor("", "")
        self._full = False

    def add(self, cell: str, items: Iterable[AttributeMap]) -> bool:
        """Take a cell's items, by id; True when the page is full and there is more."""
        for item in items:
            found = spot(item)
            if not in_box(self._query.box, found):
                continue
            if len(self._spots) == self._query.limit:
                self._full = True
                return True
            self._spots.append(found)
            self._last = _Cursor(cell, found.id)
        return False

    def answer(self, next_cell: str | None = None) -> SpotPage:
        """The page; it goes on where it was full, or else at `next_cell`."""
        if self._full:
            return SpotPage(self._spots, _format_cursor(self._last))
        if next_cell is not None:
            return SpotPage(self._spots, _format_cursor(_Cursor(next_cell, "")))
        return SpotPage(self._spots)


def in_box(box: BBox, spot: Spot) -> bool:
    return box.west <= spot.lon <= box.east and box.south <= spot.lat <= box.north


def _format_cursor(cursor: _Cursor) -> str:
    """Opaque to clients. It only names a place in public data: it is validated, not signed."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _parse_cursor(text: str) -> _Cursor:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=_Cursor)
    except (ValueError, msgspec.MsgspecError):
        bad_request("next: is not a token that this API made")


# --- items ----------------------------------------------------------------------------------------


def spot_id(text: str) -> str:
    if not _ID.match(text):
        bad_request(f"id: {text!r} (allowed: 1-64 letters, digits, _ . : -)")
    return text


_belief = msgspec.json.Decoder(SpotBelief)
_view = msgspec.json.Decoder(VehicleView)


def spot(item: AttributeMap) -> Spot:
    """A spots item as the API shows it."""
    belief = _belief.decode(item["belief"]["S"])
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


def vehicle(item: AttributeMap) -> VehicleView:
    """A vehicles item as the API shows it."""
    return _view.decode(item["state"]["S"])


def summary(
    vehicles: Iterable[AttributeMap], spots: Iterable[AttributeMap], now_ms: int
) -> FleetSummary:
    """Counts over items that hold at least `state` and `belief`."""
    modes = {"driving": 0, "parked": 0, "charging": 0}
    states = {"occupied": 0, "free": 0, "unknown": 0}
    count = online = 0
    soc = 0.0
    for item in vehicles:
        view = vehicle(item)
        count += 1
        soc += view.soc
        online += view.processed_ms >= now_ms - ONLINE_MS
        modes[view.mode] += 1
    for item in spots:
        states[_belief.decode(item["belief"]["S"]).state] += 1
    return FleetSummary(
        vehicles=count,
        online=online,
        mean_soc=round(soc / count, 4) if count else None,
        spots=sum(states.values()),
        as_of_ms=now_ms,
        **modes,
        **states,
    )
