"""Vehicles, radios, receivers and sensors of a user's own, under names that groups then use.

A field that is unset is the base's. What spans several fields, and what comes of a base, is
checked where the models are known (`world/equipment.py`); here is what each field may be.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from fleet_sim.scenario.physical import (
    Angle,
    Area,
    DataRate,
    Energy,
    Force,
    Frequency,
    LinearDrag,
    Mass,
    Power,
    QuadraticDrag,
    Resistance,
)
from fleet_sim.scenario.strict import (
    OwnRadioName,
    OwnReceiverName,
    OwnSensorName,
    OwnVehicleName,
    RadioName,
    ReceiverName,
    SensorName,
    Strict,
    VehicleName,
)
from fleet_sim.scenario.units import Duration, Fraction, Length

OWN_KINDS = {
    "vehicles": "vehicle",
    "radios": "radio",
    "receivers": "receiver",
    "sensors": "sensor",
}
"""Field of `Presets`, and of the catalog, to the field of a group that names one."""

_Source = Annotated[str, Meta(max_length=2_000)]
_Efficiency = Annotated[Fraction, Meta(extra={"min": Fraction(0.5)})]
_Sigma = Annotated[float, Meta(ge=0, le=3)]
_Chance = Annotated[float, Meta(ge=0, lt=1)]
_Factor = Annotated[float, Meta(gt=0, le=1_000)]
_Outage = Annotated[Duration, Meta(extra={"min": Duration(0.001)})]
_OutageShare = Annotated[Fraction, Meta(extra={"max": Fraction(0.99)})]
_Rtt = Annotated[Duration, Meta(extra={"min": Duration(0.0001), "max": Duration(60)})]
_Rate = Annotated[DataRate, Meta(extra={"min": DataRate(0.001)})]
_Knot = tuple[Fraction, Annotated[Power, Meta(extra={"min": Power(0.1), "max": Power(1_000)})]]


class RoadLoad(Strict, frozen=True, kw_only=True):
    """Coast-down coefficients: `F = a + b v + c v²`. EPA publishes them in lbf and mph."""

    a: Annotated[Force, Meta(extra={"max": Force(10_000)})]
    """Force that does not depend on speed."""
    b: LinearDrag = LinearDrag(0)
    """Force by speed; some published ones are below 0."""
    c: Annotated[QuadraticDrag, Meta(extra={"max": QuadraticDrag(50)})]
    """Force by speed squared, in air of 20 °C."""


class OwnVehicle(Strict, frozen=True, kw_only=True):
    """A vehicle of your own. Without `base`, mass, resistance, `usable_energy`, `ac_power`,
    `length` and `width` must be given."""

    base: VehicleName | None = None
    """The preset that everything unset is taken from."""
    mass_kg: Annotated[Mass, Meta(extra={"min": Mass(50), "max": Mass(60_000)})] | None = field(
        name="mass", default=None
    )
    """Of the vehicle as it drives, with load. Changed alone, it scales the base's force `a`."""
    road_load: RoadLoad | None = None
    """Resistance by coast-down coefficients, or else the three fields that follow."""
    drag_coefficient: Annotated[float, Meta(ge=0.05, le=2)] | None = None
    """Cd of the body."""
    frontal_area_m2: Annotated[Area, Meta(extra={"min": Area(0.2), "max": Area(15)})] | None = (
        field(name="frontal_area", default=None)
    )
    """Of the body, as drag is related to it."""
    rolling_resistance: Annotated[float, Meta(ge=0.001, le=0.05)] | None = None
    """Crr of the tyres."""
    gear_efficiency: _Efficiency | None = None
    """Share of the driving power that the gear passes. Unset: 98%, and 100% with `road_load`,
    which has measured the gear."""
    usable_energy_kwh: (
        Annotated[Energy, Meta(extra={"min": Energy(0.5), "max": Energy(2_000)})] | None
    ) = field(name="usable_energy", default=None)
    """Of the pack between 0 and 100 % of `soc`."""
    ac_power_kw: Annotated[Power, Meta(extra={"min": Power(0.5), "max": Power(100)})] | None = (
        field(name="ac_power", default=None)
    )
    """Of the on-board charger, at the wall."""
    dc_curve: Annotated[tuple[_Knot, ...], Meta(min_length=2, max_length=100)] | None = None
    """Most power that it asks for on DC, as `[state of charge, power]` from 0% to 100%."""
    length_m: Annotated[Length, Meta(extra={"min": Length(1), "max": Length(25)})] | None = field(
        name="length", default=None
    )
    """Bumper to bumper."""
    width_m: Annotated[Length, Meta(extra={"min": Length(0.4), "max": Length(3.5)})] | None = field(
        name="width", default=None
    )
    """Without mirrors."""
    motor_power_kw: Annotated[Power, Meta(extra={"min": Power(1), "max": Power(2_000)})] | None = (
        field(name="motor_power", default=None)
    )
    """Rated mechanical power; the motor's efficiency depends on the share of it that is used."""
    motor_efficiency: _Efficiency | None = None
    """Best efficiency of motor and inverter."""
    regen_power_kw: Annotated[Power, Meta(extra={"max": Power(2_000)})] | None = field(
        name="regen_power", default=None
    )
    """Most power into the pack while braking, at most the motor's."""
    heating: Literal["resistive", "heat_pump"] | None = None
    """How the cabin is warmed."""
    chemistry: Literal["nmc", "lfp"] | None = None
    """Of the cells: their open-circuit voltage."""
    cells: Annotated[int, Meta(ge=4, le=400)] | None = None
    """In series."""
    resistance_ohm: (
        Annotated[Resistance, Meta(extra={"min": Resistance(1e-4), "max": Resistance(2)})] | None
    ) = field(name="resistance", default=None)
    """Of the pack at 23 °C."""
    source: _Source | None = None
    """Where the figures come from, for people."""


class GoodPlace(Strict, frozen=True, kw_only=True):
    """Places with good coverage: all that are neither weak nor a hole."""

    outage_share: _OutageShare | None = None
    """Share of time that a vehicle standing there is without link."""
    outage_mean_s: _Outage | None = field(name="outage_mean", default=None)
    """Mean outage there."""
    rtt_factor: _Factor | None = None
    """Multiplies the round-trip time there."""
    throughput_factor: _Factor | None = None
    """Multiplies the throughput there."""


class BadPlace(Strict, frozen=True, kw_only=True):
    """Places with weak coverage, or with hardly any."""

    area_share: Fraction | None = None
    """Share of the city that is like this."""
    outage_share: _OutageShare | None = None
    """Share of time that a vehicle standing there is without link."""
    outage_mean_s: _Outage | None = field(name="outage_mean", default=None)
    """Mean outage there."""
    rtt_factor: _Factor | None = None
    """Multiplies the round-trip time there."""
    throughput_factor: _Factor | None = None
    """Multiplies the throughput there."""


class Places(Strict, frozen=True, kw_only=True):
    """Three classes of places, frozen in the map."""

    good: GoodPlace | None = None
    """Where the network is as it should be."""
    weak: BadPlace | None = None
    """Where the link goes down now and then."""
    hole: BadPlace | None = None
    """Where it is down much of the time."""


class OwnRadio(Strict, frozen=True, kw_only=True):
    """A mobile network of your own. Without `base`, every field of its kind must be given."""

    base: RadioName | None = None
    """The preset that everything unset is taken from."""
    kind: Literal["three_layer", "gilbert_elliott"] | None = None
    """Handovers, link failures and places; or two states alike everywhere. Unset: the base's, or
    `three_layer`."""
    rtt_s: _Rtt | None = field(name="rtt", default=None)
    """Median round-trip time."""
    rtt_log_sigma: _Sigma | None = None
    """Standard deviation of its logarithm."""
    uplink_kbps: _Rate | None = field(name="uplink", default=None)
    """Median throughput of one vehicle, to the network ..."""
    downlink_kbps: _Rate | None = field(name="downlink", default=None)
    """... and from it."""
    throughput_log_sigma: _Sigma | None = None
    """Standard deviation of the throughputs' logarithm."""
    p: _Chance | None = None
    """`gilbert_elliott`: chance that the link fails within a slot."""
    r: Annotated[float, Meta(gt=0, lt=1)] | None = None
    """`gilbert_elliott`: chance that it comes back within a slot; a burst lasts 1/r slots."""
    slot_s: Annotated[Duration, Meta(extra={"min": Duration(0.001)})] | None = field(
        name="slot", default=None
    )
    """`gilbert_elliott`: the time that `p` and `r` are about. Unset: 1s."""
    handovers: bool | None = None
    """Whether there are any."""
    handover_distance_m: Annotated[Length, Meta(extra={"min": Length(1)})] | None = field(
        name="handover_distance", default=None
    )
    """Mean way between two handovers."""
    handover_gap_s: _Outage | None = field(name="handover_gap", default=None)
    """Median time that a handover holds packets up."""
    handover_gap_log_sigma: _Sigma | None = None
    """Standard deviation of its logarithm."""
    handover_failure: Fraction | None = None
    """Share of handovers that end in a radio-link failure."""
    failure_s: tuple[Duration, Duration] | None = field(name="failure", default=None)
    """How long such a failure lasts, uniform between the two."""
    correlation_length_m: Annotated[Length, Meta(extra={"min": Length(1)})] | None = field(
        name="correlation_length", default=None
    )
    """Over which coverage is alike."""
    places: Places | None = None
    """Good, weak and hole."""
    outage_shape: Annotated[float, Meta(ge=0.2, le=5)] | None = None
    """Weibull k of outages and of the times between them; 1 has no memory."""
    delay_below_s: Duration | None = field(name="delay_below", default=None)
    """A shorter outage only delays."""
    source: _Source | None = None
    """Where the figures come from, for people."""


class OwnReceiver(Strict, frozen=True, kw_only=True):
    """A satellite receiver of your own. Without `base`, every field must be given."""

    base: ReceiverName | None = None
    """The preset that everything unset is taken from."""
    noise_m: Annotated[Length, Meta(extra={"max": Length(100)})] | None = field(
        name="noise", default=None
    )
    """Standard deviation per axis, on top of what the streets and the sky do."""
    noise_correlation_s: Annotated[Duration, Meta(extra={"min": Duration(0.01)})] | None = field(
        name="noise_correlation", default=None
    )
    """Correlation time of its noise."""
    hot_start_s: Duration | None = field(name="hot_start", default=None)
    """Median time to first fix less than 4 h after the last one."""
    cold_start_s: Duration | None = field(name="cold_start", default=None)
    """The same after longer, at least `hot_start`."""
    dead_reckoning: bool | None = None
    """Whether it goes on by wheel ticks and gyroscope where there is no sky."""
    source: _Source | None = None
    """Where the figures come from, for people."""


class OwnSensor(Strict, frozen=True, kw_only=True):
    """A side-looking ultrasonic sensor of your own; unset without `base`: as `hrxl_48k`."""

    base: SensorName | None = None
    """The preset that everything unset is taken from."""
    frequency_hz: (
        Annotated[Frequency, Meta(extra={"min": Frequency(2e4), "max": Frequency(5e5)})] | None
    ) = field(name="frequency", default=None)
    """Of the pulse: the air takes more of a higher one."""
    min_range_m: Annotated[Length, Meta(extra={"max": Length(5)})] | None = field(
        name="min_range", default=None
    )
    """End of the blind zone: what is nearer reads as this."""
    max_range_m: Annotated[Length, Meta(extra={"min": Length(0.1), "max": Length(20)})] | None = (
        field(name="max_range", default=None)
    )
    """Up to here a large flat target is heard reliably in air of 20 °C."""
    beam_deg: Annotated[Angle, Meta(extra={"min": Angle(1), "max": Angle(120)})] | None = field(
        name="beam", default=None
    )
    """Full opening angle."""
    compensated: bool | None = None
    """Whether it measures the air's temperature; else it takes it for 20 °C."""
    sigma_m: Annotated[Length, Meta(extra={"max": Length(1)})] | None = field(
        name="sigma", default=None
    )
    """Standard deviation of a reading, ..."""
    sigma_share: Fraction | None = None
    """... and what comes on top, as a share of the range."""
    dropout: Fraction | None = None
    """Share of strong echoes that are missed at normal incidence, ..."""
    dropout_oblique: Fraction | None = None
    """... and from an oblique surface."""
    crosstalk: Annotated[Fraction, Meta(extra={"max": Fraction(0.5)})] | None = None
    """Share of samples that another sensor's pulse answers."""
    source: _Source | None = None
    """Where the figures come from, for people."""


class Presets(Strict, frozen=True, kw_only=True):
    """Presets of your own, by name; a built-in one's name is refused."""

    vehicles: dict[OwnVehicleName, OwnVehicle] = field(default_factory=dict)
    """For `vehicle` of a group."""
    radios: dict[OwnRadioName, OwnRadio] = field(default_factory=dict)
    """For `radio` of a group."""
    receivers: dict[OwnReceiverName, OwnReceiver] = field(default_factory=dict)
    """For `receiver` of a group."""
    sensors: dict[OwnSensorName, OwnSensor] = field(default_factory=dict)
    """For `sensor` of a group."""
