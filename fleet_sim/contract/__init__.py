"""What crosses a wire: structs and topics shared by vehicles, Lambdas, the API and the audit.

This room depends on msgspec alone and travels inside every Lambda package. Unknown fields are
refused on both sides, so that a producer and a consumer cannot drift apart in silence.
"""

from fleet_sim.contract.api import (
    BBox,
    FleetSummary,
    Health,
    Look,
    Problem,
    Spot,
    SpotDetail,
    SpotPage,
    SpotState,
    VehiclePage,
    VehicleView,
)
from fleet_sim.contract.archive import ArchivedRecord
from fleet_sim.contract.registry import RegistrySpot, Segment, SpotRegistry, StreetNetwork
from fleet_sim.contract.telemetry import (
    MAX_TELEMETRY_BYTES,
    RuleRecord,
    SonarBurst,
    Telemetry,
    VehicleMode,
)
from fleet_sim.contract.topics import (
    TELEMETRY_FILTER,
    TELEMETRY_RULE_SQL,
    telemetry_topic,
    thing_of_topic,
)

__all__ = [
    "MAX_TELEMETRY_BYTES",
    "TELEMETRY_FILTER",
    "TELEMETRY_RULE_SQL",
    "ArchivedRecord",
    "BBox",
    "FleetSummary",
    "Health",
    "Look",
    "Problem",
    "RegistrySpot",
    "RuleRecord",
    "Segment",
    "SonarBurst",
    "Spot",
    "SpotDetail",
    "SpotPage",
    "SpotRegistry",
    "SpotState",
    "StreetNetwork",
    "Telemetry",
    "VehicleMode",
    "VehiclePage",
    "VehicleView",
    "telemetry_topic",
    "thing_of_topic",
]
