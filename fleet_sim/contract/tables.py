"""How the two tables are laid out: shared by the processor that writes them, the API that reads
them and the upload that seeds the spots.

`vehicles`: key `vin`; `state`, a `VehicleView` as JSON; `track`, the processor's own: sonar samples
that wait to be judged.
`spots`: key `id`; `cell`, `lat`, `lon`, `street` from the registry; `belief`, a `SpotBelief` as
JSON; `recent`, the `Observation`s behind it as JSON.

A write is conditional on the text of `state` or `recent` that it has read. Texts and not maps:
a map of fifteen numbers costs DynamoDB's clients five times the CPU of the rest of the write, and
nobody asks DynamoDB about a single field.
"""

from typing import Any

import msgspec

from fleet_sim.contract.api import SpotState

SPOTS_BY_CELL = "by-cell"
"""Index of the spots table: partition `cell`, sort `id`; all attributes but `recent`."""

AttributeMap = dict[str, Any]
"""DynamoDB's wire form: name → `{"S": "text"}` or `{"N": "1.5"}`."""


class Observation(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """One look of one vehicle at one spot; `(run, vin, seq)` names the message it came from."""

    ts: int
    """Event time, ms since the epoch."""
    vin: str
    seq: int
    llr: float
    """Log-likelihood ratio occupied : free of what was seen."""


USUAL = 0.65
"""Share of stalls taken where nothing was seen for long (SFpark's target is 60-80 %)."""
RELAX_S = 2700.0
"""Time in which what a look told fades by 1 - 1/e: see `contract.fading`."""


class SpotBelief(msgspec.Struct, frozen=True, gc=False):
    """What the cloud believed of a spot at its newest look, and the run whose observations made it
    so. `contract.fading.as_of` says what is left of it by now."""

    run: str = ""
    state: SpotState = "unknown"
    p_occupied: float = 0.5
    observations: int = 0
    """How many recent observations the belief rests on."""
    last_seen_ms: int = 0
    """Event time of the newest; 0 when never seen."""
    ahead_ms: int = 0
    """How far the vehicles' clock was ahead of the cloud's when this was written: scenarios have
    clocks of their own. Where those run faster than ours, a belief fades too slowly by now."""
    usual: float = USUAL
    """Share of the time that this stall is taken, towards which the belief fades, 0-1."""
    relax_s: float = RELAX_S
    """Time in which it does so by 1 - 1/e."""


NEVER_SEEN = '"last_seen_ms":0,'
"""In the text of a belief of a spot that was never seen: it is unknown, with no confidence."""
CALLED = {"free": '"state":"free"', "occupied": '"state":"occupied"'}
"""In the text of a belief that was made when the spot was called so."""


def text_attribute(value: object) -> AttributeMap:
    """A struct as JSON text."""
    return {"S": msgspec.json.encode(value).decode()}


def new_spot(spot_id: str, cell: str, lat: float, lon: float, street: str) -> AttributeMap:
    """Item of a spot that nothing is known of."""
    return {
        "id": {"S": spot_id},
        "cell": {"S": cell},
        "lat": {"N": repr(lat)},
        "lon": {"N": repr(lon)},
        "street": {"S": street},
        "belief": text_attribute(SpotBelief()),
        "recent": {"S": "[]"},
    }
