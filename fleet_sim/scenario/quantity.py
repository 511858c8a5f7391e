"""A number with its unit: what all quantities of a scenario have in common.

Text such as `35km/h` in, a number in one fixed unit out, and back. `str()` gives a canonical text
that parses to an equal value, bit for bit. Parsing is exact decimal arithmetic with one rounding
at the end: `1.1m` (minutes) is 66.0, not 66.00000000000001.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Self

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
SIGNED = rf"-?{NUMBER}"
MAX_CHARS = 400
"""Longest text that is looked at; the canonical text of the smallest float has 345."""


def plain(value: Decimal) -> str:
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


def refusal(value: object, allowed: str) -> ValueError:
    """The error for a value that is not taken."""
    return ValueError(f"{shown(value)} is not allowed (allowed: {allowed})")


class Quantity(float):
    """A float with a unit. Subclasses give the units, the range and the words for errors."""

    __slots__ = ()

    ALLOWED: ClassVar[str]
    """What a user may write, for errors and the schema."""
    PATTERN: ClassVar[str]
    """Of all accepted texts; a regular expression that JSON Schema understands too."""
    EXAMPLES: ClassVar[tuple[str, ...]]
    MIN: ClassVar[float] = 0.0
    """Smallest value, in the unit of the number, ..."""
    MAX: ClassVar[float]
    """... and the largest."""
    UNITS: ClassVar[Mapping[str, Decimal]]
    """Unit to how many of the number's own unit it is."""

    def __new__(cls, value: float = 0.0) -> Self:
        """`ValueError` unless `value` is finite and from `MIN` to `MAX`."""
        if not (math.isfinite(value) and cls.MIN <= value <= cls.MAX):
            allowed = f"{cls.MIN:g}..{float(cls.MAX):g} in its own unit, {cls.ALLOWED}"
            raise refusal(float(value), allowed)
        return super().__new__(cls, value + 0.0)  # + 0.0: -0.0 has no text of its own

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text with its unit; `ValueError` quotes the text and says what is allowed."""
        if len(text) > MAX_CHARS or not re.fullmatch(cls.PATTERN, text):
            raise refusal(text, cls.ALLOWED)
        total = cls._total(text)
        if total > Decimal(cls.MAX):
            raise refusal(text, f"at most {cls(cls.MAX)}")
        if total < Decimal(repr(cls.MIN)):
            raise refusal(text, f"at least {cls(cls.MIN)}")
        return cls(float(total))

    @classmethod
    def _total(cls, text: str) -> Decimal:
        """Value of a text that fits the pattern."""
        found = re.match(SIGNED, text)
        assert found is not None
        return Decimal(found[0]) * cls.UNITS[text[found.end() :]]

    @classmethod
    def decode(cls, value: object) -> Self:
        """Read a value as YAML gives it: a text with its unit, or the bare number 0."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            return cls(0.0)
        raise refusal(value, cls.ALLOWED)

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
