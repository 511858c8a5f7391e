"""What a request may ask with: one declaration both refuses wrong values and documents them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from api.problems import bad_request

ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$"

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,30})?([eE][+-]?\d{1,2})?", re.ASCII)
_INTEGER = re.compile(r"\d{1,9}", re.ASCII)


class Parameter(NamedTuple):
    """Of a query or a path."""

    name: str
    about: str
    """For the document."""
    kind: str = "string"
    """`number`, `integer` or `string`, as JSON Schema has them."""
    low: float | None = None
    high: float | None = None
    """Bounds of a number, inclusive."""
    choices: tuple[str, ...] = ()
    pattern: str = ""
    default: Any = None
    example: Any = None
    unit: str = ""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of its values."""
        found: dict[str, Any] = {"type": self.kind}
        for key, value in (
            ("minimum", self.low),
            ("maximum", self.high),
            ("default", self.default),
            ("enum", list(self.choices) or None),
            ("pattern", self.pattern or None),
            ("examples", None if self.example is None else [self.example]),
        ):
            if value is not None:
                found[key] = value
        return found

    def number(self, text: str) -> float:
        """Its value; a problem when it is none or out of bounds."""
        if _NUMBER.fullmatch(text):
            value = float(text)
            if (self.low is None or value >= self.low) and (
                self.high is None or value <= self.high
            ):
                return value
        self._refuse(text)

    def integer(self, text: str) -> int:
        """As `number`, whole."""
        if not _INTEGER.fullmatch(text):
            self._refuse(text)
        return int(self.number(text))

    def text(self, text: str) -> str:
        """Its value; a problem when it is none of the choices or breaks the pattern."""
        if (self.choices and text not in self.choices) or (
            self.pattern and not re.fullmatch(self.pattern, text)
        ):
            self._refuse(text)
        return text

    def _refuse(self, text: str) -> NoReturn:
        allowed = self.pattern
        if self.choices:
            allowed = ", ".join(self.choices)
        elif self.kind != "string":
            allowed = f"{self.low:g}..{self.high:g}{self.unit and ' ' + self.unit}"
        bad_request(f"{self.name}: {text[:80]!r} (allowed: {allowed})")


def refuse_others(given: Mapping[str, str], allowed: tuple[Parameter, ...]) -> None:
    """A misspelled parameter must not be ignored."""
    names = [parameter.name for parameter in allowed]
    for name in given:
        if name not in names:
            bad_request(f"{name[:80]}: unknown parameter (allowed: {', '.join(names) or 'none'})")
