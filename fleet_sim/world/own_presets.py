"""What the makers of own presets share: how they say what does not fit."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

Field: TypeAlias = tuple[str | int, ...]
"""Of a preset, as a user writes it: `("places", "weak", "area_share")`."""


class UnfitError(ValueError):
    """A preset whose fields do not fit together: `problems` are (field, one line) pairs."""

    def __init__(self, problems: Iterable[tuple[Field, str]]) -> None:
        self.problems = list(problems)
        lines = (f"{'.'.join(map(str, field))}: {message}" for field, message in self.problems)
        super().__init__("; ".join(lines))


def given(spec: msgspec.Struct) -> dict[str, Any]:
    """Attribute to value of what was written in a preset."""
    return {
        name: value for name, value in msgspec.structs.asdict(spec).items() if value is not None
    }


def written(spec: type[msgspec.Struct], attribute: str) -> str:
    """The name under which a user writes an attribute."""
    (found,) = (f for f in msgspec.structs.fields(spec) if f.name == attribute)
    return found.encode_name


def source_of(own: Any) -> str:
    """Where the figures of an own preset come from."""
    return own.source or ("a scenario's own" if own.base is None else f"based on {own.base}")


def require_given(spec: type[msgspec.Struct], have: Iterable[str], needed: Iterable[str]) -> None:
    """`UnfitError` naming each attribute of `needed` that is not in `have`."""
    have = set(have)
    missing = [name for name in needed if name not in have]
    if missing:
        raise UnfitError(
            ((written(spec, name),), "is missing (allowed: it must be given, or a base)")
            for name in missing
        )


def same(fields: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Model's field to value, for those of `values` (by attribute) that are taken as they are."""
    plain = {fields[name]: value for name, value in values.items() if name in fields}
    # Models compute with plain numbers.
    return {k: float(v) if isinstance(v, float) else v for k, v in plain.items()}


def described(
    spec: type[msgspec.Struct], fields: Mapping[str, str], model: object
) -> dict[str, Any]:
    """Attribute to value with its unit: the other way round."""
    info = inspect.type_info(spec)
    assert isinstance(info, inspect.StructType)
    units = {field.name: _unit(field.type) for field in info.fields}
    return {name: units[name](getattr(model, field)) for name, field in fields.items()}


def _unit(kind: inspect.Type) -> Callable[[Any], Any]:
    while True:
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            (kind,) = (t for t in kind.types if not isinstance(t, inspect.NoneType))
        else:
            break
    return kind.cls if isinstance(kind, inspect.CustomType) else lambda value: value
