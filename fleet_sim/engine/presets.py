"""What there is to choose from: the built-in presets with their figures, for people and tools."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.table import Table

from fleet_sim.scenario import Scenario, enc_hook, json_schema
from fleet_sim.scenario.presets import OWN_KINDS
from fleet_sim.scenario.quantity import Quantity
from fleet_sim.world.equipment import describe_presets

KINDS = tuple(OWN_KINDS)
_STRUCTS = {
    "vehicles": "OwnVehicle",
    "radios": "OwnRadio",
    "receivers": "OwnReceiver",
    "sensors": "OwnSensor",
}


def presets_json(kinds: Sequence[str], scenario: Scenario | None = None) -> dict[str, Any]:
    """By kind and name: all figures, as a scenario would give them, nothing rounded. With a
    scenario its own presets too."""
    found = describe_presets(scenario)
    plain = {kind: msgspec.to_builtins(found[kind], enc_hook=enc_hook) for kind in kinds}
    return {
        kind: {name: _set(figures) for name, figures in presets.items()}
        for kind, presets in plain.items()
    }


def presets_tables(kind: str, scenario: Scenario | None = None) -> tuple[Table, list[str]]:
    """A table with a column for each preset, and a line for each with its source."""
    presets = describe_presets(scenario)[kind]
    table = Table(title=kind, title_justify="left", header_style="bold")
    table.add_column("field", no_wrap=True)
    for name in presets:
        table.add_column(name)
    for row in _rows(presets):
        table.add_row(*row)
    return table, [f"{name}: {preset.source}" for name, preset in presets.items()]


def presets_markdown() -> str:
    """The tables of docs/presets.md: each field, what it may be, and the built-in figures."""
    lines: list[str] = []
    for kind, presets in describe_presets().items():
        lines += [
            f"## {kind.capitalize()}",
            "",
            "| field | what it is | allowed |",
            "|---|---|---|",
        ]
        lines += [f"| `{name}` | {text} | {allowed} |" for name, text, allowed in _fields(kind)]
        lines += ["", _row(["built in", *(f"`{name}`" for name in presets)])]
        lines.append("|---" * (len(presets) + 1) + "|")
        lines += [_row([f"`{name}`", *values]) for name, *values in _rows(presets)]
        lines.append("")
        lines += [f"- `{name}`: {preset.source}." for name, preset in presets.items()]
        lines.append("")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _set(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _set(v) for k, v in value.items() if v is not None}
    return value


def _rows(presets: dict[str, Any]) -> list[list[str]]:
    columns = [dict(_flat(msgspec.to_builtins(p, enc_hook=_rounded))) for p in presets.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return [[name, *(column.get(name, "–") for column in columns)] for name in names]


def _rounded(value: object) -> str:
    if isinstance(value, Quantity):
        value = type(value)(float(f"{value:.6g}"))
    return enc_hook(value)


def _flat(value: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if inner is None or name == "source":
            continue
        if isinstance(inner, dict):
            yield from _flat(inner, f"{above}{name}.")
        else:
            yield above + name, _text(inner)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _fields(kind: str) -> Iterator[tuple[str, str, str]]:
    defs = json_schema()["$defs"]

    def below(struct: str, above: str) -> Iterator[tuple[str, str, str]]:
        for name, schema in defs[struct]["properties"].items():
            options = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
            inner = options[0].get("$ref", "").rpartition("/")[2]
            path = f"{above}{name}"
            yield path, schema["description"], "" if inner else _allowed(name, options)
            if inner:
                yield from below(inner, f"{path}.")

    return below(_STRUCTS[kind], "")


def _allowed(name: str, options: list[dict[str, Any]]) -> str:
    schema = options[0]
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if name == "base":
        return "a preset's name"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "title" in schema:
        return f"{schema['title'].replace('..', ' to ')}"
    if schema["type"] in ("number", "integer"):
        return _range(schema)
    return {"boolean": "`true`, `false`", "array": "a list"}.get(schema["type"], "text")


def _range(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    first = f"{low:g}" if low is not None else f"above {above:g}"
    return f"{first} to {high:g}" if high is not None else f"{first} to below {below:g}"
