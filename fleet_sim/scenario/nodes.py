"""YAML text to a tree of values that know where they were written.

The tree is built from the parser's events and not by PyYAML's constructors, for three reasons:

- plain scalars follow YAML 1.2's core schema: `22:00`, `no` and `2026-06-05` are text, not a
  number of minutes, a boolean and a date as in YAML 1.1;
- duplicate keys, tags, merge keys and keys that are not text are refused, with their place;
- a hostile file stops at a limit: its depth, and its size once aliases are expanded, are counted
  while it is read, so that the "billion laughs" cost nothing.
"""

import re
from typing import NamedTuple, NoReturn, Protocol, TypeAlias

import yaml

from fleet_sim.scenario.problems import Path, Place, Problem, ScenarioError, shorten
from fleet_sim.scenario.units import shown

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_VALUES = 100_000
"""Scalars, lists and mappings of a file, aliases expanded."""

Scalar: TypeAlias = str | int | float | bool | None


class Node(NamedTuple):
    """A value and where it begins. Lists are tuples; a mapping keeps the place of each key."""

    value: "Scalar | tuple[Node, ...] | dict[str, Entry]"
    place: Place


class Entry(NamedTuple):
    """A mapping's value, and where its key is."""

    node: Node
    place: Place


_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NON_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def resolve(text: str) -> Scalar:
    """Value of a plain scalar by YAML 1.2's core schema (section 10.3.2)."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) > 100:  # no number we take is that long, and reading one takes quadratic time
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED_INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NON_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def compose(text: str, place: Place, problems: list[Problem]) -> Node | None:
    """The tree of the one document in `text`; None when there is none.

    Values get the place's file, with their line and column when the place itself has a line (an
    argument's value keeps the argument's place). What can be passed over (a duplicate key) is
    added to `problems`; what cannot (a syntax error, a limit) raises `ScenarioError`.
    """
    if bad := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise ScenarioError(
            [
                Problem.at(
                    place if place.line is None else Place(place.file, line),
                    (),
                    f"the character U+{ord(bad[0]):04X} is not allowed "
                    "(allowed: YAML text in UTF-8; is this a binary file?)",
                )
            ]
        )
    builder = _Builder(place, problems)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.refuse(mark, f"not YAML: {error.problem or error.context}")
    return builder.root


class _Mark(Protocol):
    """A position as either of PyYAML's parsers gives it, counting from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class _Open:
    """A list or mapping whose end has not been read."""

    def __init__(self, place: Place, anchor: str | None, is_mapping: bool) -> None:
        self.place = place
        self.anchor = anchor
        self.is_mapping = is_mapping
        self.items: list[Node] = []
        self.entries: dict[str, Entry] = {}
        self.key: tuple[str, Place] | None = None
        self.values = 1


class _Builder:
    def __init__(self, place: Place, problems: list[Problem]) -> None:
        self.root: Node | None = None
        self._base = place
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0
        self._values = 0

    def refuse(self, mark: _Mark | None, message: str) -> NoReturn:
        raise ScenarioError([*self._problems, Problem.at(self._place(mark), (), message)])

    def _place(self, mark: _Mark | None) -> Place:
        if self._base.line is None or mark is None:
            return self._base
        return Place(self._base.file, mark.line + 1, mark.column + 1)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self.refuse(event.start_mark, "a second document begins (allowed: one)")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._common(event)
            scalar = resolve(event.value) if event.implicit[0] else event.value
            self._add(Node(scalar, self._place(event.start_mark)), 1, event, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._common(event)
            if len(self._stack) >= MAX_DEPTH:
                self.refuse(event.start_mark, f"nested too deeply (allowed: {MAX_DEPTH} levels)")
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            if self._expects_key():
                self.refuse(event.start_mark, "a list or mapping as a key (allowed: text)")
            self._stack.append(_Open(self._place(event.start_mark), event.anchor, is_mapping))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            value = done.entries if done.is_mapping else tuple(done.items)
            self._add(Node(value, done.place), done.values, event, done.anchor)

    def _common(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            tag = shorten(event.tag)
            self.refuse(event.start_mark, f"the tag {tag!r} is not allowed (allowed: no tags)")

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        if any(level.anchor == name for level in self._stack):
            self.refuse(event.start_mark, f"the alias *{shorten(name)} contains itself")
        if name not in self._anchors:
            self.refuse(event.start_mark, f"the alias *{shorten(name)} has no anchor before it")
        if self._expects_key():
            self.refuse(event.start_mark, "an alias as a key (allowed: text)")
        node, values = self._anchors[name]
        self._add(node, values, event, None)

    def _expects_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].is_mapping and self._stack[-1].key is None

    def _add(self, node: Node, values: int, event: yaml.Event, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, values)
        self._values += 1 if isinstance(event, yaml.CollectionEndEvent) else values
        if self._values > MAX_VALUES:
            self.refuse(
                event.start_mark,
                f"too large: more than {MAX_VALUES} values once aliases are expanded",
            )
        if not self._stack:
            self.root = node
            return
        level = self._stack[-1]
        level.values += values
        if not level.is_mapping:
            level.items.append(node)
        elif level.key is None:
            level.key = (self._key(node, event), node.place)
        else:
            (name, place), level.key = level.key, None
            self._enter(level, name, Entry(node, place))

    def _key(self, node: Node, event: yaml.Event) -> str:
        if isinstance(node.value, str):
            if node.value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                self.refuse(
                    event.start_mark,
                    "merge keys (<<) are not allowed (allowed: aliases of whole values)",
                )
            return node.value
        self._problems.append(
            Problem.at(
                node.place,
                self._path(),
                f"the key {shown(node.value)} is not text (allowed: it in quotes)",
            )
        )
        return str(node.value)

    def _enter(self, level: _Open, name: str, entry: Entry) -> None:
        if name in level.entries:
            first = level.entries[name].place.line
            where = "" if first is None else f", first in line {first}"
            message = f"the key is there twice{where} (allowed: once)"
            self._problems.append(Problem.at(entry.place, (*self._path(), name), message))
        else:
            level.entries[name] = entry

    def _path(self) -> Path:
        """Of the list or mapping that is open and has no key yet."""
        return tuple(
            len(level.items) if not level.is_mapping else level.key[0] if level.key else ""
            for level in self._stack[:-1]
        )
