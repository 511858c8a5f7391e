"""The weather: it drives heating, the pack's resistance, drag, and sound in the air."""

from typing import Annotated

from msgspec import Meta, field

from fleet_sim.scenario.physical import Temperature
from fleet_sim.scenario.strict import Strict
from fleet_sim.scenario.units import Fraction

_Ambient = Annotated[Temperature, Meta(extra={"min": Temperature(-50), "max": Temperature(60)})]
_Humidity = Annotated[Fraction, Meta(extra={"min": Fraction(0.01)})]


class Weather(Strict, frozen=True, kw_only=True):
    """Weather when the run begins; a phase may change it."""

    temperature_c: _Ambient = field(name="temperature", default=Temperature(20))
    """Of the air, and of the packs: heating and cooling, resistance, density, speed of sound."""
    humidity: _Humidity = Fraction(0.5)
    """Relative humidity: how much of its sound the air takes from the ultrasonic sensor."""


class WeatherChange(Strict, frozen=True, kw_only=True):
    """Weather from a phase's beginning on."""

    temperature_c: _Ambient | None = field(name="temperature", default=None)
    """Unset keeps what it was."""
    humidity: _Humidity | None = None
    """Unset keeps what it was."""
