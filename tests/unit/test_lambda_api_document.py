"""The OpenAPI document against the routes and the answers that are its subject."""

import json
import re
from typing import Any

import jsonschema
import msgspec
import pytest

from api import openapi
from api.handler import app
from api.queries import LIMIT, VIN
from fleet_sim.contract import Look, SpotDetail, SpotPage

DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(openapi.document()))


def schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def test_every_route_is_in_it_and_nothing_else() -> None:
    routes = [*app._static_routes, *app._dynamic_routes]
    paths = {re.sub(r"<(\w+)>", r"{\1}", route.path) for route in routes}
    assert len(paths) > 5
    assert paths == DOCUMENT["paths"].keys()
    assert {route.method for route in routes} == {"GET"}


def test_path_parameters_are_those_of_the_path() -> None:
    for path, item in DOCUMENT["paths"].items():
        declared = {p["name"] for p in item["get"].get("parameters", ()) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert "Spot" in found
    assert found <= DOCUMENT["components"]["schemas"].keys()


def test_operations_have_names_of_their_own() -> None:
    names = [item["get"]["operationId"] for item in DOCUMENT["paths"].values()]
    assert len(set(names)) == len(names)


def test_schemas_are_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_an_answer_fits_its_schema_and_a_wrong_one_does_not() -> None:
    spot = SpotDetail(
        id="a", lat=1.0, lon=2.0, street="S", state="free", p_occupied=0.1, confidence=0.8,
        observations=1, last_seen_ms=None, recent=[Look(1, "V", 0.5)],
    )  # fmt: skip
    good = msgspec.to_builtins(spot)
    jsonschema.validate(good, schema_of("SpotDetail"))
    jsonschema.validate(msgspec.to_builtins(SpotPage([])), schema_of("SpotPage"))
    for wrong in ({"state": "taken"}, {"lat": "x"}, {"colour": "red"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, schema_of("SpotDetail"))


def test_parameters_say_what_is_allowed() -> None:
    assert LIMIT.schema() == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200}
    assert VIN.schema()["pattern"].startswith("^[A-Za-z0-9")
