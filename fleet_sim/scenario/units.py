"""Quantities with a unit: text such as `1m30s` or `35km/h` in, SI numbers out, and back.

Each type is a number (`Duration` is a float of seconds), so arithmetic needs no unwrapping; the
result of arithmetic is a plain number. What they have in common is in `quantity.py`; those of the
physics (masses, powers, temperatures) are in `physical.py`.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Self

from fleet_sim.scenario.physical import PHYSICAL
from fleet_sim.scenario.quantity import MAX_CHARS, NUMBER, Quantity, plain, refusal, shown

__all__ = [
    "QUANTITIES",
    "ByteSize",
    "Duration",
    "Fraction",
    "Length",
    "Speed",
    "dec_hook",
    "enc_hook",
    "shown",
]


class Duration(Quantity):
    """Seconds. Written `250ms`, `30s`, `5m`, `2h`, `1d` or compound: `1m30s`."""

    __slots__ = ()

    ALLOWED = "a duration with its unit: 250ms, 30s, 5m, 2h, 1d or 1m30s; or 0"
    PATTERN = (
        r"^(?=[0-9])"
        + "".join(rf"(?:{NUMBER}{unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms"))
        + "$"
    )
    EXAMPLES = ("250ms", "30s", "5m", "1m30s", "2h", "1d")
    MAX = 366 * 86_400.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "d": Decimal(86_400),
        "h": Decimal(3_600),
        "m": Decimal(60),
        "s": Decimal(1),
        "ms": Decimal("0.001"),
    }

    @classmethod
    def _total(cls, text: str) -> Decimal:
        parts = re.findall(rf"({NUMBER})([a-z]+)", text)
        return sum((Decimal(number) * cls.UNITS[unit] for number, unit in parts), Decimal(0))

    def to_text(self) -> str:
        exact = self._exact
        if exact == 0:
            return "0s"
        if exact < 1:
            return f"{plain(exact * 1000)}ms"
        parts = []
        for unit in ("d", "h", "m"):
            whole = int(exact // self.UNITS[unit])
            exact -= whole * self.UNITS[unit]
            if whole:
                parts.append(f"{whole}{unit}")
        if exact:
            parts.append(f"{plain(exact)}s")
        return "".join(parts)


class Fraction(Quantity):
    """A share from 0 to 1. Written `5%` or `0.05`."""

    __slots__ = ()

    ALLOWED = "a share: 0%..100% or a number 0..1"
    PATTERN = r"^(?:100(?:\.0+)?|[0-9]{1,2}(?:\.[0-9]+)?)%$"
    EXAMPLES = ("5%", "37.5%", "100%")
    MAX = 1.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {"%": Decimal("0.01")}

    @classmethod
    def decode(cls, value: object) -> Self:
        """Read a value as YAML gives it: a percentage, or a number from 0 to 1."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            if 0 <= value <= 1:
                return cls(value)
            raise refusal(value, cls.ALLOWED)
        return super().decode(value)

    def to_text(self) -> str:
        return f"{plain(self._exact * 100)}%"


class Length(Quantity):
    """Metres. Written `100m`, `0.5km`, `30cm`, `5mm`, `300ft` or `12in`."""

    __slots__ = ()

    ALLOWED = "a length with its unit: 100m, 0.5km, 30cm, 5mm, 300ft or 12in; or 0"
    PATTERN = rf"^{NUMBER}(?:m|km|cm|mm|ft|in)$"
    EXAMPLES = ("100m", "0.5km", "300ft")
    MAX = 1_000_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "m": Decimal(1),
        "km": Decimal(1_000),
        "cm": Decimal("0.01"),
        "mm": Decimal("0.001"),
        "ft": Decimal("0.3048"),
        "in": Decimal("0.0254"),
    }

    def to_text(self) -> str:
        return f"{plain(self._exact)}m"


class Speed(Quantity):
    """Metres a second. Written `35km/h`, `30mph` or `12m/s`."""

    __slots__ = ()

    ALLOWED = "a speed with its unit: 35km/h, 30mph or 12m/s; or 0"
    PATTERN = rf"^{NUMBER}(?:km/h|mph|m/s)$"
    EXAMPLES = ("35km/h", "30mph", "12m/s")
    MAX = 120.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "km/h": Decimal(1) / Decimal("3.6"),
        "mph": Decimal("0.44704"),
        "m/s": Decimal(1),
    }

    def to_text(self) -> str:
        rounded = round(Decimal(self * 3.6), 6)
        if float(rounded * self.UNITS["km/h"]) == self:
            return f"{plain(rounded)}km/h"
        return f"{plain(self._exact)}m/s"


class ByteSize(int):
    """Bytes. Written `100B`, `200MB`, `1.5GB` (decimal) or `512KiB`, `1GiB` (binary)."""

    __slots__ = ()

    ALLOWED = "a size with its unit: 100B, 200kB, 200MB, 1.5GB, 1TB, 512KiB, 16MiB or 2GiB; or 0"
    PATTERN = rf"^{NUMBER}(?:[kKMGT]?B|[KMGT]iB)$"
    EXAMPLES = ("100B", "512KiB", "200MB", "1.5GB")
    MAX = 10**15
    UNITS: ClassVar[Mapping[str, int]] = {
        "B": 1,
        "kB": 10**3,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "TiB": 2**40,
    }

    def __new__(cls, value: int = 0) -> Self:
        """`ValueError` unless `value` is from 0 to `MAX`."""
        if not 0 <= value <= cls.MAX:
            raise refusal(value, f"0..{cls.MAX} bytes, {cls.ALLOWED}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text with its unit; `ValueError` when it is not a whole number of bytes."""
        if len(text) > MAX_CHARS or not re.fullmatch(cls.PATTERN, text):
            raise refusal(text, cls.ALLOWED)
        unit = text.lstrip("0123456789.")
        total = Decimal(text.removesuffix(unit)) * cls.UNITS[unit]
        if total != total.to_integral_value():
            raise refusal(text, "a whole number of bytes")
        if total > cls.MAX:
            raise refusal(text, f"at most {cls(cls.MAX)}")
        return cls(int(total))

    @classmethod
    def decode(cls, value: object) -> Self:
        """Read a value as YAML gives it: a text with its unit, or the bare number 0."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, int) and not isinstance(value, bool) and value == 0:
            return cls(0)
        raise refusal(value, cls.ALLOWED)

    def to_text(self) -> str:
        """Canonical text: the largest unit that divides it, decimal before binary."""
        for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "kB", "KiB"):
            if self and self % self.UNITS[unit] == 0:
                return f"{self // self.UNITS[unit]}{unit}"
        return f"{int(self)}B"

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"ByteSize({self.to_text()!r})"


QUANTITIES: tuple[type[Any], ...] = (Duration, Fraction, Length, Speed, ByteSize, *PHYSICAL)


def dec_hook(kind: type[Any], value: object) -> Any:
    """For `msgspec.convert(…, dec_hook=dec_hook)`; `ValueError` as the type's `decode`."""
    if kind in QUANTITIES:
        decode: Callable[[object], Any] = kind.decode
        return decode(value)
    raise NotImplementedError(f"no scenario field has the type {kind.__name__}")


def enc_hook(value: object) -> str:
    """For `msgspec.to_builtins(…, enc_hook=enc_hook)` and the encoders: the canonical text."""
    if isinstance(value, QUANTITIES):
        return str(value)
    raise NotImplementedError(f"no scenario field has the type {type(value).__name__}")
