"""What the HTTP API answers. Times are ms since the epoch; angles are degrees."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

SpotState = Literal["free", "occupied", "unknown"]


class BBox(msgspec.Struct, frozen=True):
    """West, south, east, north in degrees, as GeoJSON orders them (RFC 7946, section 5)."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, text: str) -> "BBox":
        """Parse `west,south,east,north`; `ValueError` says which rule was broken."""
        parts = text.split(",")
        if len(parts) != 4:
            raise ValueError(
                f"bbox: {text!r} has {len(parts)} values (allowed: west,south,east,north)"
            )
        try:
            west, south, east, north = (float(p) for p in parts)
        except ValueError:
            raise ValueError(f"bbox: {text!r} is not four numbers") from None
        if not (-180 <= west <= 180 and -180 <= east <= 180):
            raise ValueError(f"bbox: longitudes of {text!r} are outside -180..180")
        if not (-90 <= south <= 90 and -90 <= north <= 90):
            raise ValueError(f"bbox: latitudes of {text!r} are outside -90..90")
        if west > east or south > north:
            raise ValueError(f"bbox: {text!r} is empty (allowed: west <= east, south <= north)")
        return cls(west, south, east, north)


class Spot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the cloud believes of one stall."""

    id: str
    lat: float
    lon: float
    street: str
    state: SpotState
    p_occupied: float
    """Belief that it is occupied, 0-1; 0.5 when nothing is known."""
    confidence: float
    """`|2 p - 1|`: 0 knows nothing, 1 is certain."""
    observations: int
    """How many recent observations the belief rests on."""
    last_seen_ms: int | None
    """Event time of the newest observation; null when never seen."""
    walk_m: float | UnsetType = UNSET
    """Walking distance from the point asked about, m; only in answers about a point."""


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vehicle's observation of a spot."""

    ts: int
    """Event time."""
    vin: str
    llr: float
    """Log-likelihood ratio occupied : free of what was seen; above 0 speaks for occupied."""


class SpotDetail(Spot, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A spot and the observations that its belief rests on."""

    recent: list[Look]
    """Newest first."""


class SpotPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Spots in a box or near a point; `next` fetches the rest, null at the end."""

    spots: list[Spot]
    next: str | None = None
    walk: Literal["streets", "straight"] | UnsetType = UNSET
    """How `walk_m` was measured: along the streets, or, where their network is not deployed, in a
    straight line."""


class VehicleView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest state of one vehicle."""

    vin: str
    run: str
    seq: int
    """Highest sequence number applied."""
    applied: str
    """All sequence numbers applied, as ranges: `1-118,120-121`."""
    ts: int
    """Event time of the newest message."""
    lat: float
    lon: float
    speed_mps: float
    heading_deg: float
    soc: float
    mode: str
    fw: str
    arrival_ms: float
    """When the newest message reached the stream."""
    processed_ms: float
    """When the processor took up its batch."""
    stored_ms: float
    """When the processor wrote the newest message's state."""


class VehiclePage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some vehicles, in no particular order; `next` fetches the rest, null at the end."""

    vehicles: list[VehicleView]
    next: str | None = None


class FleetSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts that the processor keeps (`contract.counters`), exact but for what a process that died
    did not count: that is made up for within a day, for spots within an hour."""

    vehicles: int
    """Heard of in the last day of processing time; the modes and the mean are theirs."""
    online: int
    """Heard of in the last minute, or up to ten seconds longer."""
    driving: int
    parked: int
    charging: int
    mean_soc: float | None
    """0-1; null without vehicles."""
    spots: int
    occupied: int
    """As of now: calls that have faded are unknown, up to five minutes late."""
    free: int
    unknown: int
    as_of_ms: int


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The function runs and reads its tables."""

    status: Literal["ok"] = "ok"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem document (`application/problem+json`)."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"
