"""JSON Schema (2020-12) of a scenario, for editors and for other tools.

It says what a field may be. What spans several fields (a fault within the phases) and the range
of a quantity are beyond it: `load` checks those.
"""

import ast
import functools
import inspect as source
import sys
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from fleet_sim.scenario.catalog import Catalog
from fleet_sim.scenario.model import Scenario
from fleet_sim.scenario.physical import Temperature
from fleet_sim.scenario.presets import OWN_KINDS
from fleet_sim.scenario.structure import quantity_range
from fleet_sim.scenario.units import QUANTITIES, Fraction, enc_hook

Json: TypeAlias = dict[str, Any]


def json_schema(catalog: Catalog | None = None) -> Json:
    """The schema; `catalog` turns the names of presets into enumerations."""
    builder = _Builder(catalog or Catalog())
    top = builder.schema(inspect.type_info(Scenario), {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A fleet-sim scenario",
        **top,
        **_given(allOf=_without_own(catalog or Catalog()) or None),
        "$defs": dict(sorted(builder.defs.items())),
    }


def _without_own(catalog: Catalog) -> list[Json]:
    """A scenario without presets of its own of a kind may name the built-in ones only."""
    rules: list[Json] = []
    for kind, field in OWN_KINDS.items():
        if names := getattr(catalog, kind):
            own = {"properties": {"presets": {"required": [kind]}}, "required": ["presets"]}
            group = {"properties": {field: {"enum": list(names)}}}
            rules.append({"if": {"not": own}, "then": {"properties": {"fleet": {"items": group}}}})
    return rules


@functools.cache
def descriptions(module: str) -> dict[tuple[str, str], str]:
    """`(struct, attribute)` to the text below it in that module, on one line."""
    found: dict[tuple[str, str], str] = {}
    for cls in ast.parse(source.getsource(sys.modules[module])).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for statement, after in zip(cls.body, cls.body[1:], strict=False):
            match statement, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=attribute)),
                    ast.Expr(value=ast.Constant(value=str() as text)),
                ):
                    found[cls.name, attribute] = " ".join(text.split())
    return found


class _Builder:
    def __init__(self, catalog: Catalog) -> None:
        self.defs: Json = {}
        self._catalog = catalog

    def schema(self, kind: inspect.Type, extra: Json) -> Json:
        match kind:
            case inspect.Metadata():
                return self.schema(kind.type, {**extra, **(kind.extra or {})})
            case inspect.UnionType():
                return {"anyOf": [self.schema(t, extra) for t in kind.types]}
            case inspect.NoneType():
                return {"type": "null"}
            case inspect.StructType():
                return self._struct(kind)
            case inspect.CustomType() if kind.cls in QUANTITIES:
                return _quantity(kind.cls, extra)
            case inspect.IntType() | inspect.FloatType():
                return _number(kind)
            case inspect.StrType():
                return self._text(kind, extra)
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.LiteralType():
                return {"enum": list(kind.values)}
            case inspect.DateTimeType():
                return {"type": "string", "format": "date-time"}
            case inspect.TupleType():
                items = [self.schema(t, extra) for t in kind.item_types]
                bounds = {"minItems": len(items), "maxItems": len(items)}
                return {"type": "array", "prefixItems": items, "items": False, **bounds}
            case inspect.VarTupleType():
                bounds = _given(minItems=kind.min_length, maxItems=kind.max_length)
                return {"type": "array", "items": self.schema(kind.item_type, extra), **bounds}
            case inspect.DictType():
                values = self.schema(kind.value_type, extra)
                names = self.schema(kind.key_type, {})
                return {"type": "object", "additionalProperties": values, "propertyNames": names}
            case _:
                raise TypeError(f"no JSON Schema for {kind}")

    def _struct(self, kind: inspect.StructType) -> Json:
        name = kind.cls.__name__
        if name not in self.defs:
            self.defs[name] = {}  # holds the place while its own fields are built
            self.defs[name] = {
                "type": "object",
                "description": " ".join((kind.cls.__doc__ or "").split()),
                "properties": {f.encode_name: self._field(kind.cls, f) for f in kind.fields},
                "required": [f.encode_name for f in kind.fields if f.required],
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}

    def _field(self, struct: type, field: inspect.Field) -> Json:
        text = descriptions(struct.__module__)[struct.__name__, field.name]
        schema = {**self.schema(field.type, {}), "description": text}
        if field.default is not msgspec.NODEFAULT:
            schema["default"] = msgspec.to_builtins(field.default, enc_hook=enc_hook)
        return schema

    def _text(self, kind: inspect.StrType, extra: Json) -> Json:
        names = getattr(self._catalog, extra["catalog"]) if "catalog" in extra else ()
        limits = _given(pattern=kind.pattern, maxLength=kind.max_length, minLength=kind.min_length)
        text = {"type": "string", **limits}
        if names and extra["catalog"] in OWN_KINDS:
            return {"anyOf": [{"enum": list(names)}, text]}  # or one of the scenario's own
        if taken := getattr(self._catalog, extra.get("not_in", ""), ()):
            return {**text, "not": {"enum": list(taken)}}
        return {"enum": list(names)} if names else text


def _quantity(cls: Any, extra: Json) -> Json:
    low, high = quantity_range(cls, extra)
    # A pattern can say 'above 0': some digit is none.
    pattern = cls.PATTERN if low <= 0 else cls.PATTERN.replace("^", "^(?=.*[1-9])", 1)
    text = {
        "type": "string",
        "pattern": pattern,
        "examples": list(cls.EXAMPLES),
        "title": f"{low}..{high}",
    }
    if cls is Fraction:
        return {"anyOf": [text, {"type": "number", "minimum": 0, "maximum": 1}]}
    takes_zero = low <= 0 and cls is not Temperature  # a bare 0 is not one temperature
    return {"anyOf": [text, {"const": 0}]} if takes_zero else text


def _number(kind: inspect.IntType | inspect.FloatType) -> Json:
    bounds = _given(
        minimum=kind.ge, exclusiveMinimum=kind.gt, maximum=kind.le, exclusiveMaximum=kind.lt
    )
    return {"type": "integer" if isinstance(kind, inspect.IntType) else "number", **bounds}


def _given(**limits: Any) -> Json:
    return {name: value for name, value in limits.items() if value is not None}
