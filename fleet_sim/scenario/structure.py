"""Does a tree fit the structs? Walks both, and reports everything that does not.

`msgspec.convert` stops at the first error and does not know about lines. This walk finds all of
them, and gives back the plain values without the fields that nobody knows, so that the rest can
still be checked. It is generic over the types that occur in `model.py`; a type it does not know
raises `TypeError`, in the tests and not at a user.
"""

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from fleet_sim.scenario.catalog import Catalog
from fleet_sim.scenario.nodes import MAX_VALUES, Node
from fleet_sim.scenario.problems import Path, Problem, any_of, nearest, unknown_name
from fleet_sim.scenario.units import QUANTITIES, shown

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"


class Fit:
    """One walk. Afterwards `problems` is what was found."""

    def __init__(self, catalog: Catalog | None) -> None:
        self.problems: list[Problem] = []
        self.fatal = False
        """Something else than an unknown field is wrong: the values must not be used."""
        self.unknown: list[Path] = []
        """Where unknown fields were left out."""
        self._catalog = catalog or Catalog()

    def visit(self, node: Node, kind: inspect.Type, path: Path = ()) -> Plain:
        """Plain values of the tree, for `msgspec.convert`."""
        extra: Mapping[str, Any] = {}
        while True:
            if isinstance(kind, inspect.Metadata):
                extra, kind = {**extra, **(kind.extra or {})}, kind.type
            elif isinstance(kind, inspect.UnionType):
                if node.value is None and any(_is_none(t) for t in kind.types):
                    return None
                kind = _meant(node, [t for t in kind.types if not _is_none(t)])
            else:
                break
        match kind:
            case inspect.StructType():
                return self._struct(node, kind, path)
            case inspect.DictType():
                return self._dict(node, kind, path)
            case inspect.TupleType() | inspect.VarTupleType():
                return self._list(node, kind, path)
            case _:
                return self._scalar(node, kind, extra, path)

    def _refuse(self, node: Node, path: Path, allowed: str) -> None:
        value = node.value
        if isinstance(value, dict):
            what = "a mapping"
        elif isinstance(value, tuple):
            what = f"a list of {len(value)}"
        else:
            what = shown(value)
        self._report(node, path, f"{what} is not allowed (allowed: {allowed})")

    def _report(self, node: Node, path: Path, message: str) -> None:
        self.problems.append(Problem.at(node.place, path, message))
        self.fatal = True

    def _struct(self, node: Node, kind: inspect.StructType, path: Path) -> Plain:
        fields = {f.encode_name: f for f in kind.fields}
        if not isinstance(node.value, dict):
            self._refuse(node, path, f"a mapping with the fields {any_of(fields)}")
            return None
        plain: dict[str, Plain] = {}
        guessed: list[str | None] = []
        for name, entry in node.value.items():
            if name in fields:
                plain[name] = self.visit(
                    Node(entry.node.value, entry.place), fields[name].type, (*path, name)
                )
                continue
            guessed.append(nearest(name, list(fields)))
            self.unknown.append(path)
            message = unknown_name("unknown field", name, list(fields))
            self.problems.append(Problem.at(entry.place, (*path, name), message))
        for name, field in fields.items():
            if field.required and name not in node.value:
                if name in guessed:
                    self.fatal = True  # reported as a misspelt field already
                else:
                    self._report(node, (*path, name), "is missing (allowed: it must be given)")
        return plain

    def _dict(self, node: Node, kind: inspect.DictType, path: Path) -> Plain:
        if not isinstance(node.value, dict):
            self._refuse(node, path, "a mapping")
            return None
        for name, entry in node.value.items():
            self.visit(Node(name, entry.place), kind.key_type, (*path, name))
        return {
            name: self.visit(Node(entry.node.value, entry.place), kind.value_type, (*path, name))
            for name, entry in node.value.items()
        }

    def _list(
        self, node: Node, kind: inspect.TupleType | inspect.VarTupleType, path: Path
    ) -> Plain:
        if isinstance(kind, inspect.TupleType):
            low, high = len(kind.item_types), len(kind.item_types)
            allowed = f"a list of exactly {low}"
        else:
            low, high = kind.min_length or 0, kind.max_length or MAX_VALUES
            allowed = f"a list of {low} to {high}" if kind.max_length else "a list"
            if low and not kind.max_length:
                allowed = f"a list of at least {low}"
        items = node.value
        if not isinstance(items, tuple) or len(items) < low or len(items) > high:
            self._refuse(node, path, allowed)
            return None
        kinds = (
            kind.item_types
            if isinstance(kind, inspect.TupleType)
            else (kind.item_type,) * len(items)
        )
        return [
            self.visit(item, item_kind, (*path, i))
            for i, (item, item_kind) in enumerate(zip(items, kinds, strict=True))
        ]

    def _scalar(
        self, node: Node, kind: inspect.Type, extra: Mapping[str, Any], path: Path
    ) -> Plain:
        value = node.value
        if isinstance(kind, inspect.CustomType) and kind.cls in QUANTITIES:
            self._quantity(node, kind.cls, extra, path)
        elif isinstance(kind, inspect.IntType | inspect.FloatType):
            whole = isinstance(kind, inspect.IntType)
            fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not fits or not _in_range(value, kind):
                self._refuse(node, path, _range_text(kind))
        elif isinstance(kind, inspect.BoolType):
            if not isinstance(value, bool):
                self._refuse(node, path, "true or false")
        elif isinstance(kind, inspect.LiteralType):
            if not any(type(value) is type(v) and value == v for v in kind.values):
                self._refuse(node, path, any_of(kind.values))
        elif isinstance(kind, inspect.StrType):
            self._text(node, kind, extra, path)
        elif isinstance(kind, inspect.DateTimeType):
            self._moment(node, path)
        else:
            raise TypeError(f"{path}: no rule for {kind}")
        return value if not isinstance(value, tuple | dict) else None

    def _quantity(self, node: Node, cls: Any, extra: Mapping[str, Any], path: Path) -> None:
        low, high = quantity_range(cls, extra)
        try:
            quantity = cls.decode(node.value if not isinstance(node.value, tuple | dict) else [])
        except ValueError as error:
            if isinstance(node.value, tuple | dict):
                self._refuse(node, path, cls.ALLOWED)
            elif _negated(node.value, cls):
                self._refuse(node, path, f"{low}..{high}")
            else:
                self._report(node, path, str(error))
            return
        if not low <= quantity <= high:
            self._refuse(node, path, f"{low}..{high}")

    def _text(
        self, node: Node, kind: inspect.StrType, extra: Mapping[str, Any], path: Path
    ) -> None:
        value = node.value
        if not isinstance(value, str):
            hint = "text" if isinstance(value, tuple | dict | None) else "text; put it in quotes"
            self._refuse(node, path, hint)
        elif kind.pattern is not None and not re.fullmatch(kind.pattern, value):
            self._refuse(node, path, extra.get("allowed", f"text that matches {kind.pattern}"))
        elif kind.max_length is not None and len(value) > kind.max_length:
            self._refuse(node, path, f"at most {kind.max_length} characters")
        elif "catalog" in extra:
            known = getattr(self._catalog, extra["catalog"])
            if known and value not in known:
                what = f"{shown(value)} is not known"
                self._report(node, path, unknown_name(what, value, known))

    def _moment(self, node: Node, path: Path) -> None:
        try:
            moment = msgspec.convert(node.value, dt.datetime)
        except msgspec.ValidationError:
            self._refuse(node, path, "a date, time and offset such as 2026-06-05T17:00:00Z")
            return
        if moment.tzinfo is None:
            self._refuse(node, path, "a time with its offset from UTC: …Z or …+02:00")


def _is_none(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.NoneType)


def _meant(node: Node, kinds: list[inspect.Type]) -> inspect.Type:
    """Of one type, or of a struct and its short form: the struct where a mapping stands."""
    if len(kinds) == 1:
        return kinds[0]
    structs = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    (short,) = (kind for kind in kinds if kind not in structs)
    (struct,) = structs
    return struct if isinstance(node.value, dict) else short


def quantity_range(cls: Any, extra: Mapping[str, Any]) -> tuple[Any, Any]:
    """Smallest and largest value of a quantity's field."""
    return extra.get("min", cls(getattr(cls, "MIN", 0))), extra.get("max", cls(cls.MAX))


def _negated(value: object, cls: Any) -> bool:
    """Whether it is a text that would be one of the quantity without its minus sign."""
    return isinstance(value, str) and value[:1] == "-" and bool(re.match(cls.PATTERN, value[1:]))


def _in_range(value: Any, kind: inspect.IntType | inspect.FloatType) -> bool:
    return (
        math.isfinite(value)
        and (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _range_text(kind: inspect.IntType | inspect.FloatType) -> str:
    number = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    if kind.ge is not None and kind.le is not None:
        return f"{kind.ge}..{kind.le}"
    bounds = [
        f"{word} {bound}"
        for word, bound in (
            ("at least", kind.ge),
            ("more than", kind.gt),
            ("at most", kind.le),
            ("less than", kind.lt),
        )
        if bound is not None
    ]
    return " and ".join([number, *bounds]).replace(" and ", " ", 1)
