"""The OpenAPI 3.1 document: paths from this table, parameters and schemas from the code. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from api.parameters import Parameter
from api.queries import SPOT_ID, SPOTS, STREET, STREET_TREND, VEHICLES, VIN
from fleet_sim.contract import (
    FleetSummary,
    Health,
    Problem,
    SpotDetail,
    SpotPage,
    VehiclePage,
    VehicleView,
)
from fleet_sim.contract.trends import StreetTrend, TrendIndex

VERSION = "1.0.0"
"""Of the API: the first number changes when a client may break."""
PROBLEM_TYPE = "application/problem+json"
GEOJSON = {
    "type": "object",
    "required": ["type", "city", "attribution", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "city": {"type": "string"},
        "attribution": {"type": "string"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "properties", "geometry"],
                "properties": {
                    "type": {"const": "Feature"},
                    "properties": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}},
                    },
                    "geometry": {
                        "type": "object",
                        "required": ["type", "coordinates"],
                        "properties": {
                            "type": {"const": "LineString"},
                            "coordinates": {
                                "type": "array",
                                "items": {"type": "array", "items": {"type": "number"}},
                            },
                        },
                    },
                },
            },
        },
    },
}


class Operation(NamedTuple):
    """One `GET`."""

    path: str
    summary: str
    answer: type[msgspec.Struct] | dict[str, Any]
    """A struct of the contract, or a schema."""
    query: tuple[Parameter, ...] = ()
    in_path: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = (400,)
    content_type: str = "application/json"
    description: str = ""


OPERATIONS = (
    Operation(
        "/spots",
        "Spots in a box, or near a point in walking order",
        SpotPage,
        query=SPOTS,
        description=(
            "Give `bbox`, or `lat` and `lon`. A box comes in pages (`next`), by cell. A point is "
            "answered at once: spots within `radius`, nearest on foot first, with `walk_m`."
        ),
    ),
    Operation(
        "/spots/{spot_id}",
        "One spot and the observations behind it",
        SpotDetail,
        in_path=(SPOT_ID,),
        problems=(400, 404),
    ),
    Operation(
        "/streets",
        "The street network",
        GEOJSON,
        problems=(400, 404),
        content_type="application/geo+json",
    ),
    Operation("/vehicles", "All vehicles, in pages", VehiclePage, query=VEHICLES),
    Operation(
        "/vehicles/{vin}",
        "The newest state of one vehicle",
        VehicleView,
        in_path=(VIN,),
        problems=(400, 404),
    ),
    Operation("/fleet/summary", "Counts of vehicles and spots", FleetSummary),
    Operation("/trends", "Which streets have a trend", TrendIndex, problems=(400, 404)),
    Operation(
        "/trends/street",
        "How full a street usually is, by hour of week",
        StreetTrend,
        query=STREET_TREND,
        problems=(400, 404),
    ),
    Operation("/health", "Whether the API reads its tables", Health, problems=(400, 503)),
    Operation("/openapi.json", "This document", {"type": "object"}),
)

_PROBLEMS = {
    400: "A parameter is unknown, missing or wrong; `detail` names it and what is allowed",
    404: "There is none",
    503: "A table does not answer",
}


def document() -> dict[str, Any]:
    """The document, with the server's address relative to where it was read."""
    structs = [op.answer for op in OPERATIONS if isinstance(op.answer, type)]
    _, components = msgspec.json.schema_components(
        [*structs, Problem], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fleet-sim",
            "version": VERSION,
            "description": (
                "Parking map and fleet, public and read-only. Answers have an `ETag`; "
                "`If-None-Match` with it gives 304 when nothing has changed. Errors are problem "
                "documents (RFC 9457). Above the stage's throttle the gateway answers 429."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],
        "paths": {op.path: {"get": _operation(op)} for op in OPERATIONS},
        "components": {"schemas": components},
    }


def _operation(op: Operation) -> dict[str, Any]:
    schema = op.answer
    if isinstance(schema, type):
        schema = {"$ref": f"#/components/schemas/{schema.__name__}"}
    parameters = [_parameter(p, "query") for p in op.query]
    parameters += [_parameter(p, "path") for p in op.in_path]
    responses: dict[str, Any] = {
        "200": {
            "description": "Answer",
            "headers": {
                "ETag": {"schema": {"type": "string"}},
                "Cache-Control": {"schema": {"type": "string"}},
            },
            "content": {op.content_type: {"schema": schema}},
        },
        "304": {"description": "As it was when it had the `ETag` that `If-None-Match` names"},
    }
    for status in op.problems:
        responses[str(status)] = {
            "description": _PROBLEMS[status],
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    found: dict[str, Any] = {
        "operationId": op.path.strip("/").translate(str.maketrans("/.", "__", "{}")),
        "summary": op.summary,
        "responses": responses,
    }
    if op.description:
        found["description"] = op.description
    if parameters:
        found["parameters"] = parameters
    return found


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "required": place == "path" or parameter is STREET,
        "description": parameter.about,
        "schema": parameter.schema(),
    }
