"""JSON Schema (2020-12) of `summary.json`, for those who read it with other tools."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from fleet_sim.measure.summary import VERSION, Summary
from fleet_sim.scenario.schema import descriptions


def summary_schema() -> dict[str, Any]:
    """Of the version that this fleet-sim writes; every field with what it means."""
    (top,), defs = msgspec.json.schema_components([Summary], ref_template="#/$defs/{name}")
    for struct in {kind.cls for kind in _structs(inspect.type_info(Summary), set())}:
        texts: dict[tuple[str, str], str] = {}
        for base in reversed(struct.__mro__[:-1]):
            if base.__module__.startswith("fleet_sim."):
                texts |= {
                    (struct.__name__, name): text
                    for (owner, name), text in descriptions(base.__module__).items()
                    if owner == base.__name__
                }
        for name, schema in defs[struct.__name__]["properties"].items():
            if text := texts.get((struct.__name__, name)):
                schema["description"] = text
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"summary.json of a fleet-sim run, version {VERSION}",
        **top,
        "$defs": dict(sorted(defs.items())),
    }


def _structs(kind: inspect.Type, seen: set[type]) -> Iterator[inspect.StructType]:
    if isinstance(kind, inspect.StructType):
        if kind.cls in seen:
            return
        seen.add(kind.cls)
        yield kind
        below = [field.type for field in kind.fields]
    else:
        below = [
            part
            for name in kind.__struct_fields__
            for value in [getattr(kind, name)]
            for part in (value if isinstance(value, tuple) else (value,))
            if isinstance(part, inspect.Type)
        ]
    for part in below:
        yield from _structs(part, seen)
