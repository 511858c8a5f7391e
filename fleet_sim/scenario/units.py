"""Quantities with a unit: text such as `1m30s` or `35km/h` in, SI numbers out, and back.

Each type is a number (`Duration` is a float of seconds), so arithmetic needs no unwrapping; the
result of arithmetic is a plain number. `str()` gives a canonical text that parses to an equal
value, bit for bit. Parsing is exact decimal arithmetic with one rounding at the end: `1.1m` is
66.0, not 66.00000000000001.
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Self

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_MAX_CHARS = 400
"""Longest text that is looked at; the canonical text of the smallest float has 345."""


def _plain(value: Decimal) -> str:
    """Without exponent and trailing zeros, nothing rounded."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def shown(value: object, limit: int = 60) -> str:
    """A value as it is quoted in an error: one line, at most about `limit` characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) > 10**limit:
        return "a number of more than 60 digits"
    text = str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _refuse(value: object, allowed: str) -> ValueError:
    return ValueError(f"{shown(value)} is not allowed (allowed: {allowed})")


class _Quantity(float):
    """A float with a unit. Subclasses give the units, the range and the words for errors."""

    __slots__ = ()

    ALLOWED: ClassVar[str]
    """What a user may write, for errors and the schema."""
    PATTERN: ClassVar[str]
    """Of all accepted texts; a regular expression that JSON Schema understands too."""
    EXAMPLES: ClassVar[tuple[str, ...]]
    MAX: ClassVar[float]
    """Largest value, in the SI unit."""
    UNITS: ClassVar[Mapping[str, Decimal]]
    """Unit to how many SI units it is."""

    def __new__(cls, value: float = 0.0) -> Self:
        """`ValueError` unless `value` is finite and from 0 to `MAX`."""
        if not (math.isfinite(value) and 0 <= value <= cls.MAX):
            allowed = f"0..{float(cls.MAX):g} in SI units, {cls.ALLOWED}"
            raise _refuse(float(value), allowed)
        return super().__new__(cls, abs(value))  # abs: -0.0 has no text of its own

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text with its unit; `ValueError` quotes the text and says what is allowed."""
        if len(text) > _MAX_CHARS or not re.fullmatch(cls.PATTERN, text):
            raise _refuse(text, cls.ALLOWED)
        total = sum(
            (
                Decimal(number) * cls.UNITS[unit]
                for number, unit in re.findall(rf"({_NUMBER})([a-z/%]+)", text)
            ),
            Decimal(0),
        )
        if total > Decimal(cls.MAX):
            raise _refuse(text, f"at most {cls(cls.MAX)}")
        return cls(float(total))

    @classmethod
    def decode(cls, value: object) -> Self:
        """Read a value as YAML gives it: a text with its unit, or the bare number 0."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            return cls(0.0)
        raise _refuse(value, cls.ALLOWED)

    def to_text(self) -> str:
        """Canonical text; `parse` of it is equal to this value."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_text()!r})"

    @property
    def _exact(self) -> Decimal:
        return Decimal(float.__repr__(self))


class Duration(_Quantity):
    """Seconds. Written `250ms`, `30s`, `5m`, `2h`, `1d` or compound: `1m30s`."""

    __slots__ = ()

    ALLOWED = "a duration with its unit: 250ms, 30s, 5m, 2h, 1d or 1m30s; or 0"
    PATTERN = (
        r"^(?=[0-9])"
        + "".join(rf"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms"))
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

    def to_text(self) -> str:
        exact = self._exact
        if exact == 0:
            return "0s"
        if exact < 1:
            return f"{_plain(exact * 1000)}ms"
        parts = []
        for unit in ("d", "h", "m"):
            whole = int(exact // self.UNITS[unit])
            exact -= whole * self.UNITS[unit]
            if whole:
                parts.append(f"{whole}{unit}")
        if exact:
            parts.append(f"{_plain(exact)}s")
        return "".join(parts)


class Fraction(_Quantity):
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
            raise _refuse(value, cls.ALLOWED)
        return super().decode(value)

    def to_text(self) -> str:
        return f"{_plain(self._exact * 100)}%"


class Length(_Quantity):
    """Metres. Written `100m`, `0.5km` or `300ft`."""

    __slots__ = ()

    ALLOWED = "a length with its unit: 100m, 0.5km or 300ft; or 0"
    PATTERN = rf"^{_NUMBER}(?:m|km|ft)$"
    EXAMPLES = ("100m", "0.5km", "300ft")
    MAX = 1_000_000.0
    UNITS: ClassVar[Mapping[str, Decimal]] = {
        "m": Decimal(1),
        "km": Decimal(1_000),
        "ft": Decimal("0.3048"),
    }

    def to_text(self) -> str:
        return f"{_plain(self._exact)}m"


class Speed(_Quantity):
    """Metres a second. Written `35km/h`, `30mph` or `12m/s`."""

    __slots__ = ()

    ALLOWED = "a speed with its unit: 35km/h, 30mph or 12m/s; or 0"
    PATTERN = rf"^{_NUMBER}(?:km/h|mph|m/s)$"
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
            return f"{_plain(rounded)}km/h"
        return f"{_plain(self._exact)}m/s"


class ByteSize(int):
    """Bytes. Written `100B`, `200MB`, `1.5GB` (decimal) or `512KiB`, `1GiB` (binary)."""

    __slots__ = ()

    ALLOWED = "a size with its unit: 100B, 200kB, 200MB, 1.5GB, 1TB, 512KiB, 16MiB or 2GiB; or 0"
    PATTERN = rf"^{_NUMBER}(?:[kKMGT]?B|[KMGT]iB)$"
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
            raise _refuse(value, f"0..{cls.MAX} bytes, {cls.ALLOWED}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text with its unit; `ValueError` when it is not a whole number of bytes."""
        if len(text) > _MAX_CHARS or not re.fullmatch(cls.PATTERN, text):
            raise _refuse(text, cls.ALLOWED)
        unit = text.lstrip("0123456789.")
        total = Decimal(text.removesuffix(unit)) * cls.UNITS[unit]
        if total != total.to_integral_value():
            raise _refuse(text, "a whole number of bytes")
        if total > cls.MAX:
            raise _refuse(text, f"at most {cls(cls.MAX)}")
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
        raise _refuse(value, cls.ALLOWED)

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


QUANTITIES: tuple[type[Any], ...] = (Duration, Fraction, Length, Speed, ByteSize)


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
