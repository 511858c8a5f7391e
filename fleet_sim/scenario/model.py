"""The scenario as frozen structs. Every field a user may write is here, and no other is taken.

Quantities carry their unit in the YAML (`30s`, `5%`, `35km/h`) and in the attribute's name.
"""

import datetime as dt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from fleet_sim.scenario.units import Duration, Fraction, Length, Speed

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all scenario structs."""


class Clock(_Frozen):
    """Simulated time: where it starts and how fast it runs against the wall clock."""

    speed: Annotated[float, Meta(gt=0, le=3600)] = 1.0
    """Simulated seconds a second of wall time."""
    start: dt.datetime = dt.datetime(2026, 6, 5, 17, 0, tzinfo=dt.UTC)
    """Simulated date and time of the first phase's beginning."""


class GeneratedCity(_Frozen):
    """A city drawn from the seed: a grid of blocks with streets, stalls and driveways."""

    blocks: tuple[Annotated[int, Meta(ge=1, le=200)], Annotated[int, Meta(ge=1, le=200)]] = (14, 10)
    """Columns (west to east) and rows (south to north)."""
    block_length_m: Length = field(name="block_length", default=Length(100.0))
    legal_kerb: Fraction = Fraction(0.6)
    """Share of street sides on which parking is legal."""
    lat: Annotated[float, Meta(ge=-80, le=80)] = 37.8044
    """Of the city's centre, degrees."""
    lon: Annotated[float, Meta(ge=-180, le=180)] = -122.2712


class City(_Frozen):
    generate: GeneratedCity = field(default_factory=GeneratedCity)


class TelemetrySettings(_Frozen):
    period_s: Duration = field(name="period", default=Duration(1.0))
    """Simulated time between a vehicle's messages."""
    qos: Literal[0, 1] = 1


class VehicleGroup(_Frozen):
    """Vehicles that are alike."""

    group: Name
    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    vehicle: Name = "model3_rwd"
    """A vehicle preset."""
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    radio: Name = "lte_urban"
    """A radio preset."""
    parked: Fraction = Fraction(0.1)
    """Share that stands in a stall when the run begins."""
    max_speed_mps: Speed = field(name="max_speed", default=Speed(50 / 3.6))
    soc: tuple[Fraction, Fraction] = (Fraction(0.4), Fraction(0.95))
    """State of charge at the beginning, uniform between the two."""


class ParkingEvent(_Frozen):
    """A crowd of non-fleet cars that wants stalls near one place, or leaves it."""

    at: Name
    """A venue of the city: `arena` or `market`."""
    attendance: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Cars that arrive during this phase."""
    peak_before_s: Duration | None = field(name="peak_before", default=None)
    """Time before the phase's end at which most arrive; default: a third of the phase."""
    leaves: Fraction | None = None
    """Share of the event's cars that leave during this phase."""


class Parking(_Frozen):
    occupancy: Fraction | None = None
    """Share of stalls that non-fleet cars hold on average; unset keeps the phase before."""
    event: ParkingEvent | None = None


class Phase(_Frozen):
    name: Name
    duration_s: Duration = field(name="duration")
    parking: Parking = field(default_factory=Parking)


class RadioFault(_Frozen):
    state: Literal["down"] = "down"
    district: Literal["all", "north", "south", "east", "west"] = "all"
    """Which vehicles: those that are in this half of the city when it strikes."""


class Fault(_Frozen):
    at_s: Duration = field(name="at")
    """Simulated time after the beginning of the first phase."""
    for_s: Duration = field(name="for")
    radio: RadioFault


class Scenario(_Frozen):
    name: Name
    description: str = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    clock: Clock = field(default_factory=Clock)
    city: City = field(default_factory=City)
    fleet: Annotated[tuple[VehicleGroup, ...], Meta(min_length=1)]
    phases: Annotated[tuple[Phase, ...], Meta(min_length=1)]
    faults: tuple[Fault, ...] = ()
    thresholds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Metric (`name{tag:value}`) to conditions (`p(95)<2000`), in k6's syntax."""

    @property
    def vehicles(self) -> int:
        """Number of vehicles over all groups."""
        return sum(group.count for group in self.fleet)

    @property
    def duration_s(self) -> float:
        """Simulated length of all phases."""
        return sum(phase.duration_s for phase in self.phases)
