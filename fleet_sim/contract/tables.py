"""How the two tables are laid out: shared by the processor that writes them, the API that reads
them and the upload that seeds the spots.

`vehicles`: key `vin`; `version`; `state`, a map with the fields of `VehicleView` but `vin`.
`spots`: key `id`; `cell`, `lat`, `lon`, `street` from the registry; `version`; `belief`, a map
with the fields of `SpotBelief`; `recent`, the observations behind it as JSON (`Observation`s).

`version` counts writes: each write is conditional on the one it has read. Numbers are DynamoDB's
`N`, whose 38 digits hold any double.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fleet_sim.contract.api import SpotState

SPOTS_BY_CELL = "by-cell"
"""Index of the spots table: partition `cell`, sort `id`; all attributes but `recent`, `version`."""

AttributeMap = dict[str, Any]
"""DynamoDB's wire form: name → `{"S": "text"}`, `{"N": "1.5"}`, `{"M": {…}}`."""


class Observation(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """One look of one vehicle at one spot; `(run, vin, seq)` names the message it came from."""

    ts: int
    """Event time, ms since the epoch."""
    vin: str
    seq: int
    llr: float
    """Log-likelihood ratio occupied : free of what was seen."""


class SpotBelief(msgspec.Struct, frozen=True, gc=False):
    """What the cloud believes of a spot, and the run whose observations made it so."""

    run: str = ""
    state: SpotState = "unknown"
    p_occupied: float = 0.5
    observations: int = 0
    """How many recent observations the belief rests on."""
    last_seen_ms: int = 0
    """Event time of the newest; 0 when never seen."""


def to_attributes(values: Mapping[str, str | float]) -> AttributeMap:
    """Strings and numbers in DynamoDB's wire form."""
    return {
        name: {"S": value} if isinstance(value, str) else {"N": repr(value)}
        for name, value in values.items()
    }


def from_attributes(attributes: AttributeMap) -> dict[str, str | float]:
    """Strings and numbers of an item or map; other attributes are left out."""
    plain: dict[str, str | float] = {}
    for name, value in attributes.items():
        if "S" in value:
            plain[name] = value["S"]
        elif "N" in value:
            text = value["N"]
            plain[name] = int(text) if text.lstrip("-").isdigit() else float(text)
    return plain


def new_spot(spot_id: str, cell: str, lat: float, lon: float, street: str) -> AttributeMap:
    """Item of a spot that nothing is known of."""
    return {
        **to_attributes({"id": spot_id, "cell": cell, "lat": lat, "lon": lon, "street": street}),
        "version": {"N": "0"},
        "belief": {"M": to_attributes(msgspec.structs.asdict(SpotBelief()))},
        "recent": {"S": "[]"},
    }
