"""The deployed API against its own OpenAPI document: generated requests, valid and not, by
Schemathesis. What an answer must hold is the document's, not this file's."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_api import CITY

from api import openapi
from fleet_sim.cloud import deploy, registry
from fleet_sim.cloud.local import Endpoints
from fleet_sim.cloud.target import open_local
from fleet_sim.contract import VehicleView
from fleet_sim.contract.tables import text_attribute
from fleet_sim.contract.trends import ALL_STREETS, HourTrend, StreetTrend, TrendIndex, trend_item
from fleet_sim.world.towns import registry as registry_of
from fleet_sim.world.towns import street_network

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = 12
"""Of each operation and mode."""
VIN, STREET = "1FSMZ91C0T0000001", "1st Ave"
SPOT = CITY[0].to_registry().spots[0]
KNOWN = {
    "/spots/{spot_id}": {"spot_id": SPOT.id},
    "/vehicles/{vin}": {"vin": VIN},
}
"""What is there: generated ids are of nothing."""
ASKED: dict[str, list[dict[str, Any]]] = {
    "/spots": [
        {"lat": SPOT.lat, "lon": SPOT.lon, "radius": 300},
        {"bbox": f"{SPOT.lon - 0.01},{SPOT.lat - 0.01},{SPOT.lon + 0.01},{SPOT.lat + 0.01}"},
    ],
    "/trends/street": [{"name": STREET}],
}
"""Queries that find something."""


@pytest.fixture(scope="module")
def api(local_aws: Endpoints) -> Iterator[Any]:
    """A deployment with a city, a vehicle and a trend in it, as its document describes it."""
    target = open_local(local_aws, "contract")
    outputs = deploy.deploy(target)
    stalls = registry_of(CITY)
    registry.upload(target, outputs, stalls, street_network(CITY, stalls.city))
    view = VehicleView(
        vin=VIN, run="r", seq=1, applied="1", ts=1, lat=1.0, lon=2.0, speed_mps=3.0,
        heading_deg=4.0, soc=0.5, mode="driving", fw="1", arrival_ms=1.0, processed_ms=2.0,
        stored_ms=3.0,
    )  # fmt: skip
    hours = [HourTrend(0, None)] * 167 + [HourTrend(2, 0.5)]
    dynamodb = target.client("dynamodb")
    dynamodb.put_item(
        TableName=outputs.vehicles_table, Item={"vin": {"S": VIN}, "state": text_attribute(view)}
    )
    config = target.client("lambda").get_function_configuration(
        FunctionName=outputs.trends_function
    )
    table = config["Environment"]["Variables"]["TRENDS_TABLE"]
    # Ten minutes past the hour it would clear the table of a street that no archive speaks of.
    events = target.client("events")
    [hourly] = events.list_rule_names_by_target(TargetArn=config["FunctionArn"])["RuleNames"]
    events.disable_rule(Name=hourly)
    index = TrendIndex("c", "UTC", [STREET], 2, None, None, 1, hours)
    for key, document in (
        (ALL_STREETS, index),
        (STREET, StreetTrend(STREET, "UTC", hours)),
    ):
        dynamodb.put_item(TableName=table, Item=trend_item(key, document))
    schema = schemathesis.openapi.from_url(f"{outputs.api_url}/openapi.json")
    yield schema, outputs.api_url
    deploy.delete(target)


def call(api: Any, case: Any) -> requests.Response:
    answer: requests.Response = case.call_and_validate(base_url=api[1], checks=CHECKS, timeout=60)
    return answer


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        pytest.param(op.path, mode, id=f"{op.path} {mode.value}")
        for op in openapi.OPERATIONS
        for mode in GenerationMode
        # Where nothing can be asked, nothing wrong can be.
        if mode is GenerationMode.POSITIVE or op.query or op.in_path
    ],
)
def test_whatever_is_asked_the_answer_is_the_documents(
    api: Any, path: str, mode: GenerationMode
) -> None:
    operation = api[0][path]["GET"]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asks(case: Any) -> None:
        call(api, case)

    asks()


@pytest.mark.parametrize("path", [op.path for op in openapi.OPERATIONS])
def test_what_is_there_is_answered_as_documented(api: Any, path: str) -> None:
    operation = api[0][path]["GET"]
    for query in ASKED.get(path, [{}]):
        case = operation.Case(path_parameters=KNOWN.get(path, {}), query=query)
        answer = call(api, case)
        assert answer.status_code == 200, answer.text


def test_a_document_that_is_wrong_is_found(api: Any) -> None:
    """The checks see what they are there to see."""
    document = msgspec.to_builtins(openapi.document())
    document["components"]["schemas"]["Health"]["properties"]["status"] = {"const": "fine"}
    operation = schemathesis.openapi.from_dict(document)["/health"]["GET"]
    with pytest.raises(FailureGroup) as found:
        call(api, operation.Case())
    assert [type(failure).__name__ for failure in found.value.exceptions] == ["JsonSchemaError"]
