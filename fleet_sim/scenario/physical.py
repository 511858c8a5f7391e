"""Quantities of the physics: what vehicles, radios, sensors and the weather are described in."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, Self

from fleet_sim.scenario.quantity import NUMBER, Quantity, plain, refusal

_LBF = Decimal("4.4482216152605")
_MPH = Decimal("0.44704")


class _Simple(Quantity):
    """One number and one unit; the first unit is the number's own and the canonical one."""

    __slots__ = ()

    def to_text(self) -> str:
        return f"{plain(self._exact)}{next(iter(self.UNITS))}"


class Mass(_Simple):
    """Kilograms. Written `2100kg`, `2.1t` or `3875lb`."""

    __slots__ = ()

    ALLOWED = "a mass with its unit: 2100kg, 2.1t or 3875lb"
    PATTERN = rf"^{NUMBER}(?:kg|t|lb)$"
    EXAMPLES = ("2100kg", "2.1t", "3875lb")
    MAX = 1_000_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "kg": Decimal(1),
        "t": Decimal(1_000),
        "lb": Decimal("0.45359237"),
    }


class Energy(_Simple):
    """Kilowatt-hours, as packs are sold. Written `57.5kWh` or `800Wh`."""

    __slots__ = ()

    ALLOWED = "an energy with its unit: 57.5kWh or 800Wh"
    PATTERN = rf"^{NUMBER}(?:kWh|Wh)$"
    EXAMPLES = ("57.5kWh", "800Wh")
    MAX = 1_000_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"kWh": Decimal(1), "Wh": Decimal("0.001")}


class Power(_Simple):
    """Kilowatts, as motors are sold. Written `150kW` or `250W`."""

    __slots__ = ()

    ALLOWED = "a power with its unit: 150kW or 250W; or 0"
    PATTERN = rf"^{NUMBER}(?:kW|W)$"
    EXAMPLES = ("150kW", "250W")
    MAX = 1_000_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"kW": Decimal(1), "W": Decimal("0.001")}


class Resistance(_Simple):
    """Ohm. Written `40mohm` or `0.04ohm`; `Ω` is taken too."""

    __slots__ = ()

    ALLOWED = "a resistance with its unit: 40mohm, 0.04ohm, 40mΩ or 0.04Ω"
    PATTERN = rf"^{NUMBER}m?(?:ohm|Ω)$"
    EXAMPLES = ("40mohm", "0.04ohm")
    MAX = 1_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "ohm": Decimal(1),
        "mohm": Decimal("0.001"),
        "Ω": Decimal(1),
        "mΩ": Decimal("0.001"),
    }


class Area(_Simple):
    """Square metres. Written `2.2m2` or `24ft2`."""

    __slots__ = ()

    ALLOWED = "an area with its unit: 2.2m2 or 24ft2"
    PATTERN = rf"^{NUMBER}(?:m2|m²|ft2|ft²)$"
    EXAMPLES = ("2.2m2", "24ft2")
    MAX = 1_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "m2": Decimal(1),
        "m²": Decimal(1),
        "ft2": Decimal("0.09290304"),
        "ft²": Decimal("0.09290304"),
    }


class Force(_Simple):
    """Newton. Written `115N` or, as EPA does, `25.89lbf`."""

    __slots__ = ()

    ALLOWED = "a force with its unit: 115N or 25.89lbf; or 0"
    PATTERN = rf"^{NUMBER}(?:N|lbf)$"
    EXAMPLES = ("115N", "25.89lbf")
    MAX = 1_000_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"N": Decimal(1), "lbf": _LBF}


class LinearDrag(_Simple):
    """Newton a m/s. Written `3.4Ns/m` or `0.3449lbf/mph`; it may be below 0."""

    __slots__ = ()

    ALLOWED = "a force by speed with its unit: 3.4Ns/m or 0.3449lbf/mph; or 0"
    PATTERN = rf"^-?{NUMBER}(?:Ns/m|lbf/mph)$"
    EXAMPLES = ("3.4Ns/m", "0.3449lbf/mph")
    MIN = -10_000.0
    MAX = 10_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"Ns/m": Decimal(1), "lbf/mph": _LBF / _MPH}


class QuadraticDrag(_Simple):
    """Newton a (m/s)². Written `0.43Ns2/m2` or `0.01945lbf/mph2`."""

    __slots__ = ()

    ALLOWED = "a force by speed squared with its unit: 0.43Ns2/m2 or 0.01945lbf/mph2; or 0"
    PATTERN = rf"^{NUMBER}(?:Ns2/m2|lbf/mph2)$"
    EXAMPLES = ("0.43Ns2/m2", "0.01945lbf/mph2")
    MAX = 10_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "Ns2/m2": Decimal(1),
        "lbf/mph2": _LBF / _MPH / _MPH,
    }


class Angle(_Simple):
    """Degrees. Written `30deg` or `30°`."""

    __slots__ = ()

    ALLOWED = "an angle with its unit: 30deg or 30°; or 0"
    PATTERN = rf"^{NUMBER}(?:deg|°)$"
    EXAMPLES = ("30deg", "30°")
    MAX = 360.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"deg": Decimal(1), "°": Decimal(1)}


class _Thousands(_Simple):
    """Written in thousands of the number's own unit, the second of the units, from 1000 on."""

    __slots__ = ()

    def to_text(self) -> str:
        one, thousand, *_ = self.UNITS
        if self < 1_000:
            return f"{plain(self._exact)}{one}"
        return f"{plain(self._exact.scaleb(-3))}{thousand}"


class DataRate(_Thousands):
    """Kilobits a second. Written `6.3Mbit/s`, `800kbit/s` or `1Gbit/s`."""

    __slots__ = ()

    ALLOWED = "a data rate with its unit: 6.3Mbit/s, 800kbit/s, 500bit/s or 1Gbit/s"
    PATTERN = rf"^{NUMBER}(?:bit|kbit|Mbit|Gbit)/s$"
    EXAMPLES = ("6.3Mbit/s", "800kbit/s")
    MAX = 1e9
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "kbit/s": Decimal(1),
        "Mbit/s": Decimal(1_000),
        "bit/s": Decimal("0.001"),
        "Gbit/s": Decimal(1_000_000),
    }


class Frequency(_Thousands):
    """Hertz. Written `48kHz` or `20Hz`."""

    __slots__ = ()

    ALLOWED = "a frequency with its unit: 48kHz or 20Hz"
    PATTERN = rf"^{NUMBER}k?Hz$"
    EXAMPLES = ("48kHz", "20Hz")
    MAX = 1e9
    UNITS: ClassVar[Mapping[str, Decimal]] = {"Hz": Decimal(1), "kHz": Decimal(1_000)}


class Temperature(Quantity):
    """Degrees Celsius. Written `-7C`, `20°C` or `68F`."""

    __slots__ = ()

    ALLOWED = "a temperature with its unit: -7C, 20°C or 68F"
    PATTERN = rf"^-?{NUMBER}°?[CF]$"
    EXAMPLES = ("-7C", "20°C", "68F")
    MIN = -273.15
    MAX = 1_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"C": Decimal(1), "F": Decimal(5) / Decimal(9)}

    @classmethod
    def _total(cls, text: str) -> Decimal:
        number = Decimal(text[:-1].removesuffix("°"))
        return number if text[-1] == "C" else (number - 32) * 5 / 9

    @classmethod
    def decode(cls, value: object) -> Self:
        """Read a value as YAML gives it: a text with its unit. A bare 0 is not one temperature."""
        if isinstance(value, int | float) and not isinstance(value, cls):
            raise refusal(value, cls.ALLOWED)
        return super().decode(value)

    def to_text(self) -> str:
        return f"{plain(self._exact)}C"


PHYSICAL: tuple[type[Any], ...] = (
    Mass,
    Energy,
    Power,
    Resistance,
    Area,
    Force,
    LinearDrag,
    QuadraticDrag,
    DataRate,
    Frequency,
    Angle,
    Temperature,
)
