"""The scenario as frozen structs. Every field a user may write is here, and no other is taken.

Quantities carry their unit in the YAML (`30s`, `5%`, `35km/h`) and in the attribute's name. The
text below a field is its description in the JSON Schema. What a type alone cannot say stands in
`Meta.extra`: `min` and `max` bound a quantity, `catalog` names the list of presets that are known,
and `not_in` the one whose names are taken.
"""

import datetime as dt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from fleet_sim.scenario.campaign import FACTORY_VERSION, Campaign, Version
from fleet_sim.scenario.load import Load
from fleet_sim.scenario.mqtt import Mqtt
from fleet_sim.scenario.physical import Power
from fleet_sim.scenario.presets import Presets
from fleet_sim.scenario.strict import (
    NAME,
    NAME_RULE,
    Name,
    RadioName,
    ReceiverName,
    SensorName,
    VehicleName,
)
from fleet_sim.scenario.strict import Strict as _Strict
from fleet_sim.scenario.threshold import Threshold
from fleet_sim.scenario.units import Duration, Fraction, Length, Speed
from fleet_sim.scenario.weather import Weather, WeatherChange

DEFAULT_OCCUPANCY = Fraction(0.6)
"""Of the first phase when it names none: the lower end of SFpark's target of 60-80 %."""

Venue = Annotated[str, Meta(pattern=NAME, extra={"catalog": "venues", "allowed": NAME_RULE})]

Period = Annotated[Duration, Meta(extra={"min": Duration.parse("50ms"), "max": Duration(3600)})]
PhaseDuration = Annotated[Duration, Meta(extra={"min": Duration.parse("100ms")})]
FaultDuration = Annotated[Duration, Meta(extra={"min": Duration.parse("1ms")})]
BlockLength = Annotated[Length, Meta(extra={"min": Length(40), "max": Length(1000)})]
DrivingSpeed = Annotated[
    Speed, Meta(extra={"min": Speed.parse("5km/h"), "max": Speed.parse("250km/h")})
]
StationPower = Annotated[Power, Meta(extra={"min": Power(1), "max": Power(1000)})]
Blocks = Annotated[int, Meta(ge=1, le=200)]
MapFile = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f]+\.(?:osm|osm\.bz2|osm\.gz|pbf)$",
        extra={"allowed": "a file that ends with .osm, .osm.bz2, .osm.gz or .pbf"},
    ),
]


class Clock(_Strict, frozen=True, kw_only=True):
    """Simulated time: where it starts and how fast it runs against the wall clock."""

    speed: Annotated[float, Meta(gt=0, le=3600)] = 1.0
    """Simulated seconds a second of wall time."""
    start: Annotated[dt.datetime, Meta(tz=True)] = dt.datetime(2026, 6, 5, 17, 0, tzinfo=dt.UTC)
    """Simulated date and time of the first phase's beginning, with its offset from UTC."""


class GeneratedCity(_Strict, frozen=True, kw_only=True):
    """A city drawn from the seed: a grid of blocks with streets, stalls and driveways, in districts
    of different character."""

    blocks: tuple[Blocks, Blocks] = (14, 10)
    """Columns (west to east) and rows (south to north)."""
    block_length_m: BlockLength = field(name="block_length", default=Length(100))
    """From the middle of one crossing to the middle of the next, on average."""
    legal_kerb: Fraction = Fraction(0.6)
    """Share of street sides on which parking is legal."""
    centre: Fraction = Fraction(0.4)
    """Of the city's width and height that its centre takes: high houses, short blocks, full kerbs.
    0%, or too little for a street inside, makes all blocks alike."""
    one_way: bool = True
    """Whether streets of the centre other than arterials are one-way, in turns."""
    tunnel: bool = True
    """Whether one block of an arterial is covered: no satellites there. Cities of fewer than four
    blocks across have none."""
    towns: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Separate towns of this kind, side by side, that share out the fleet's vehicles; each has its
    own streets, parking demand and events."""
    lat: Annotated[float, Meta(ge=-80, le=80)] = 37.8044
    """Latitude of the city's centre, degrees."""
    lon: Annotated[float, Meta(ge=-180, le=180)] = -122.2712
    """Longitude of the city's centre, degrees."""


class Garages(_Strict, frozen=True, kw_only=True):
    """Parking off the street, under cover: neither satellites nor a radio link inside."""

    count: Annotated[int, Meta(ge=0, le=1_000)] = 3
    """How many; the first is in the city's middle, the others spread around it."""
    capacity: Annotated[int, Meta(ge=1, le=100_000)] = 150
    """Places of each."""
    occupancy: Fraction = Fraction(0.6)
    """Share of the places that cars hold which were there before, or come without searching."""


class Charging(_Strict, frozen=True, kw_only=True):
    """Fast charging off the street, with direct current."""

    stations: Annotated[int, Meta(ge=0, le=1_000)] = 2
    """How many, spread over the city. Without any, vehicles charge slowly where they park."""
    points: Annotated[int, Meta(ge=1, le=1_000)] = 4
    """Vehicles that a station charges at the same time; others wait for their turn."""
    power_kw: StationPower = field(name="power", default=Power(150))
    """Of each point; the vehicle may take less."""


class City(_Strict, frozen=True, kw_only=True):
    """Streets, what is beside them, and who else drives there."""

    generate: GeneratedCity | None = None
    """Draw a city from the seed; what is used when no map is named."""
    osm: MapFile | None = None
    """Read the streets from an OpenStreetMap extract instead: `.osm`, `.osm.bz2`, `.osm.gz` or
    `.osm.pbf`, relative to the scenario file's folder."""
    cars: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """Cars that are not of the fleet and drive: they queue, look for stalls, park and leave, and
    send nothing. Unset: one for every ten vehicles of the fleet."""
    garages: Garages = field(default_factory=Garages)
    """Parking garages; who finds no stall goes there."""
    charging: Charging = field(default_factory=Charging)
    """Charging stations; who runs low goes there."""

    def __post_init__(self) -> None:
        if self.generate is None and self.osm is None:
            msgspec.structs.force_setattr(self, "generate", GeneratedCity())


class TelemetrySettings(_Strict, frozen=True, kw_only=True):
    """What a vehicle publishes, and how often."""

    period_s: Period = field(name="period", default=Duration(1))
    """Simulated time between a vehicle's messages."""
    qos: Literal[0, 1] = 1
    """MQTT quality of service: 1 is acknowledged and sent again, 0 is sent once."""
    encoding: Literal["json", "msgpack", "protobuf"] = "json"
    """How a message is written; what is not `json` is for a broker without our cloud behind it."""


class VehicleGroup(_Strict, frozen=True, kw_only=True):
    """Vehicles that are alike."""

    group: Name
    """Name of the group, unique in the scenario."""
    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    """How many vehicles."""
    vehicle: VehicleName = "model3_rwd"
    """A vehicle preset: road load, motor, pack, heating, size."""
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    """What they publish, and how often."""
    radio: RadioName = "lte_urban"
    """A radio preset: round-trip time and outages."""
    receiver: ReceiverName = "automotive"
    """A receiver preset: noise of the position, and what it does without sky."""
    sensor: SensorName = "hrxl_48k"
    """A preset of the side-looking ultrasonic sensor, or `none`."""
    parked: Fraction = Fraction(0.1)
    """Share that stands in a stall when the run begins."""
    max_speed_mps: DrivingSpeed = field(name="max_speed", default=Speed.parse("50km/h"))
    """They never drive faster, whatever the street allows."""
    soc: tuple[Fraction, Fraction] = (Fraction(0.4), Fraction(0.95))
    """State of charge when the run begins, uniform between the two."""
    firmware: dict[Version, Fraction] = field(
        default_factory=lambda: {FACTORY_VERSION: Fraction(1.0)}
    )
    """Firmware version to the share of vehicles that run it when the run begins."""


class ParkingEvent(_Strict, frozen=True, kw_only=True):
    """A crowd of non-fleet cars that wants stalls near one place, or leaves it."""

    at: Venue
    """A venue of the city: `arena` or `market`."""
    attendance: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Cars that arrive during this phase."""
    peak_before_s: Duration | None = field(name="peak_before", default=None)
    """Time before the phase's end at which most arrive; unset: a third of the phase."""
    leaves: Fraction | None = None
    """Share of the event's cars that leave during this phase."""


class Parking(_Strict, frozen=True, kw_only=True):
    """What the cars do that are not of the fleet."""

    occupancy: Fraction | None = None
    """Share of stalls that non-fleet cars hold on average; unset keeps the phase before (the first
    phase: 60%)."""
    event: ParkingEvent | None = None
    """A crowd that comes or goes."""


class Phase(_Strict, frozen=True, kw_only=True):
    """A stretch of simulated time; phases follow one another."""

    name: Name
    """Name of the phase, unique in the scenario."""
    duration_s: PhaseDuration = field(name="duration")
    """Simulated time it lasts."""
    parking: Parking = field(default_factory=Parking)
    """Demand for stalls."""
    weather: WeatherChange | None = None
    """Weather that comes with this phase; unset keeps what it was."""


class RadioFault(_Strict, frozen=True, kw_only=True):
    """The radio link of some vehicles fails."""

    state: Literal["down", "stalled"] = "down"
    """`down`: connections are cut; `stalled`: no byte passes, and they end when keepalive finds
    out."""
    district: Literal["all", "north", "south", "east", "west"] = "all"
    """Which vehicles: those that are in this half of the city when it strikes."""


class BrokerFault(_Strict, frozen=True, kw_only=True):
    """The broker is killed, and started anew when the fault is over."""

    state: Literal["down"] = "down"
    """What happens to the broker."""


class Fault(_Strict, frozen=True, kw_only=True):
    """Something that breaks, and is mended before the phases end."""

    at_s: Duration = field(name="at")
    """Simulated time after the beginning of the first phase."""
    for_s: FaultDuration = field(name="for")
    """Simulated time it lasts."""
    radio: RadioFault | None = None
    """The radio link is what breaks."""
    broker: BrokerFault | None = None
    """The broker is what breaks, where the run started it: `--broker embedded`."""


class Scenario(_Strict, frozen=True, kw_only=True):
    """Vehicles in a city, through phases and faults, and what must hold afterwards."""

    name: Name
    """Name of the scenario; runs and reports carry it."""
    description: Annotated[str, Meta(max_length=4_000)] = ""
    """What it shows, for people."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """All randomness of the simulation comes from it: the same seed, the same truth."""
    clock: Clock = field(default_factory=Clock)
    """Simulated time."""
    city: City = field(default_factory=City)
    """Streets, stalls and venues."""
    weather: Weather = field(default_factory=Weather)
    """Weather when the run begins."""
    presets: Presets = field(default_factory=Presets)
    """Vehicles, radios, receivers and sensors of your own."""
    fleet: Annotated[tuple[VehicleGroup, ...], Meta(min_length=1, max_length=1_000)]
    """The vehicles, in groups that are alike."""
    phases: Annotated[tuple[Phase, ...], Meta(min_length=1, max_length=1_000)]
    """What happens, in order."""
    faults: Annotated[tuple[Fault, ...], Meta(max_length=1_000)] = ()
    """What breaks, and when; they may overlap."""
    mqtt: Mqtt = field(default_factory=Mqtt)
    """How vehicles speak MQTT to the broker."""
    campaign: Campaign | None = None
    """An update of the firmware; unset: there is none."""
    load: Load | None = None
    """Users of the API while the fleet runs; unset: there are none."""
    thresholds: dict[str, Annotated[tuple[str | Threshold, ...], Meta(min_length=1)]] = field(
        default_factory=dict
    )
    """Metric (`name{tag:value}`) to conditions (`p(95)<2000`), in k6's syntax. One that does not
    hold fails the run."""

    def __post_init__(self) -> None:
        first, *rest = self.phases or (None,)
        if first is not None and first.parking.occupancy is None:
            parking = msgspec.structs.replace(first.parking, occupancy=DEFAULT_OCCUPANCY)
            first = msgspec.structs.replace(first, parking=parking)
            msgspec.structs.force_setattr(self, "phases", (first, *rest))

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The thresholds' conditions by metric."""
        return {
            metric: tuple(r.threshold if isinstance(r, Threshold) else r for r in rules)
            for metric, rules in self.thresholds.items()
        }

    @property
    def vehicles(self) -> int:
        """Number of vehicles over all groups."""
        return sum(group.count for group in self.fleet)

    @property
    def duration_s(self) -> float:
        """Simulated length of all phases."""
        return sum(phase.duration_s for phase in self.phases)
