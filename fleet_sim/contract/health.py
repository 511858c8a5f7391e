"""Fleet health: metrics by their names, who is connected, who needs an update.

The tables: `presence` has an item a vehicle (key `thing`, attribute `presence`, a `Presence` as
JSON) and the item `#fleet` with the counts `online` and `lost`; `flags` has an `UpdateFlag` as JSON
under the key `vin`; `objects` names the archive's objects that were counted, until they expire.
"""

from typing import Literal, NamedTuple

import msgspec

from fleet_sim.contract.campaign_records import (
    IN_PROGRESS_METRIC,
    METRICS_NAMESPACE,
    SUCCESS_RATE_METRIC,
)
from fleet_sim.contract.jobs import Version
from fleet_sim.contract.telemetry import Vin


class Metric(NamedTuple):
    """A metric of CloudWatch, without dimensions."""

    namespace: str
    name: str


VEHICLES_ONLINE = Metric("FleetHealth", "VehiclesOnline")
"""How many are connected, at a moment. Count."""
VEHICLES_LOST = Metric("FleetHealth", "VehiclesLost")
"""How many are not connected and did not say good-bye, at a moment. Count."""
BATTERY_AVERAGE = Metric("FleetHealth", "BatteryAverage")
"""State of charge of the vehicles that were heard of: a sample a vehicle. Percent."""
DATA_POINTS = Metric("Telemetry", "DataPoints")
"""Valid messages in the archive. Count."""
INVALID_RECORDS = Metric("Telemetry", "InvalidRecords")
"""Records in the archive that are no telemetry, or another's. Count."""
LATENCY = Metric("Telemetry", "Latency")
"""From the IoT rule to the processor's taking up the batch, a sample a message. Milliseconds."""
UPDATES_IN_PROGRESS = Metric(METRICS_NAMESPACE, IN_PROGRESS_METRIC)
UPDATE_SUCCESS_RATE = Metric(METRICS_NAMESPACE, SUCCESS_RATE_METRIC)

PRESENCE_RULE_SQL = "SELECT * FROM '$aws/events/presence/+/+' WHERE eventType <> 'connect_failed'"
"""The IoT rule's SQL; `infra/` carries the same text, and a test compares. Who was refused was not
connected: it changes nobody's presence."""

FLEET_ITEM = "#fleet"
"""Key of the counts in the table of presence; no VIN has this form."""

PresenceState = Literal["online", "left", "lost"]
"""`left`: it ended the connection itself; `lost`: the connection ended without a good-bye."""


class LifecycleEvent(msgspec.Struct, frozen=True, rename="camel"):
    """What IoT Core says on `$aws/events/presence/…`. It is not ours, and may grow."""

    client_id: str
    timestamp: int
    """ms since the epoch; AWS promises it to about two minutes."""
    event_type: Literal["connected", "disconnected"]
    version_number: int
    """Grows with each connection of a client; both events of a connection have the same. It begins
    again at 0 when the client was away for about an hour."""
    client_initiated_disconnect: bool = False
    disconnect_reason: str = ""


class Presence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest that is known of a vehicle's connection."""

    state: PresenceState
    version: int
    at_ms: int
    reason: str = ""
    """Why it ended, in AWS's words."""


class UpdateFlag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vehicle that runs an older firmware than is current and has charge enough for an update."""

    vin: Vin
    wanted: Version
    fw: str
    """What it runs, as it says."""
    soc: float
    """State of charge when it was flagged, 0-1."""
    flagged_ms: int
