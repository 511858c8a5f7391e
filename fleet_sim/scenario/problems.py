"""What is wrong with a scenario, and where."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Names and indices from the top of the scenario: `("fleet", 0, "count")`."""

_MAX_SHOWN = 100
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Place(NamedTuple):
    """Where a value was written: a file, or the argument that set it."""

    file: str
    line: int | None = None
    column: int | None = None
    """Both count from 1; None for an argument and for the file as a whole."""


class Problem(NamedTuple):
    """One thing that is wrong. `str()` is one line: `FILE:LINE: PATH: MESSAGE`."""

    file: str
    """The file as it was named, or the argument: `--set fleet[0].count=-5`."""
    line: int | None
    column: int | None
    path: str
    """`fleet[0].count`; empty when it is about the whole."""
    message: str
    """Names the value and what is allowed."""

    @classmethod
    def at(cls, place: Place, path: Path, message: str) -> "Problem":
        """The problem at a place; `path` may be empty."""
        return cls(place.file, place.line, place.column, path_text(path), message)

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ScenarioError(ValueError):
    """A scenario that is not valid. `str()` has one line a problem, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(problems, key=lambda problem: problem.line or 0)
        lines = [str(problem) for problem in self.problems[:_MAX_SHOWN]]
        if len(self.problems) > _MAX_SHOWN:
            lines.append(f"… and {len(self.problems) - _MAX_SHOWN} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type["ScenarioError"], tuple[list[Problem]]]:
        return type(self), (self.problems,)


def path_text(path: Path) -> str:
    """`fleet[0].count`; keys with other characters are quoted: `thresholds."a{b:c}"[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else json.dumps(shorten(part))
            text += f".{name}" if text else name
    return text


def shorten(text: str, limit: int = 60) -> str:
    """At most `limit` characters, the last of them `…` when something was cut off."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that `name` is most likely a slip of."""
    near = difflib.get_close_matches(shorten(name).lower(), known, n=1, cutoff=0.6)
    return near[0] if near else None


def unknown_name(what: str, name: str, known: Sequence[str]) -> str:
    """`unknown field, did you mean 'duration'? (allowed: duration, name)`."""
    near = nearest(name, known)
    guess = f", did you mean {near!r}?" if near else ""
    return f"{what}{guess} (allowed: {any_of(known)})"


def any_of(names: Iterable[object], limit: int = 20) -> str:
    """`a, b, c` for an error; only the first `limit`."""
    texts = [str(name) for name in names]
    more = f", … ({len(texts)} in all)" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
