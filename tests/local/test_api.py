"""The HTTP API as deployed: what needs a gateway, a role and real services."""

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from fleet_sim.cloud import deploy, registry
from fleet_sim.cloud.local import Endpoints
from fleet_sim.cloud.target import Target, open_local
from fleet_sim.contract import SpotPage
from fleet_sim.contract.registry import CELLS_KEY, SpotCells
from fleet_sim.contract.tables import SPOTS_BY_CELL
from fleet_sim.scenario import loads
from fleet_sim.world.towns import build_cities, street_network
from fleet_sim.world.towns import registry as registry_of

CITY = build_cities(
    loads(
        "name: api\nseed: 3\ncity: {generate: {blocks: [4, 3]}}\n"
        "fleet: [{group: cars, count: 1}]\nphases: [{name: only, duration: 10s}]\n"
    )
)


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes


@pytest.fixture(scope="module")
def town(local_aws: Endpoints) -> Iterator[tuple[Target, deploy.StackOutputs]]:
    """A deployment of its own with a small city in it."""
    target = open_local(local_aws, "town")
    outputs = deploy.deploy(target)
    stalls = registry_of(CITY)
    registry.upload(target, outputs, stalls, street_network(CITY, stalls.city))
    yield target, outputs
    deploy.delete(target)


def ask(town: tuple[Target, deploy.StackOutputs], path: str, **headers: str) -> Answer:
    request = urllib.request.Request(
        town[1].api_url + path, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def test_spots_near_a_point_come_in_walking_order(town: Any) -> None:
    spot = CITY[0].to_registry().spots[0]
    answer = ask(town, f"/spots?lat={spot.lat}&lon={spot.lon}&radius=200&state=unknown")
    assert answer.status == 200, answer.body
    page = msgspec.json.decode(answer.body, type=SpotPage)
    assert page.walk == "streets"
    assert page.spots[0].id == spot.id
    assert len(page.spots) > 5
    walked = [float(s.walk_m) for s in page.spots if isinstance(s.walk_m, float)]
    assert walked == sorted(walked)
    assert len(walked) == len(page.spots)


def test_the_cells_are_those_that_have_stalls(town: Any) -> None:
    target, outputs = town
    body = target.client("s3").get_object(Bucket=outputs.data_bucket, Key=CELLS_KEY)["Body"].read()
    deployed = msgspec.json.decode(gzip.decompress(body), type=SpotCells)
    stalls = registry_of(CITY)
    assert deployed.city == stalls.city == json.loads(ask(town, "/streets").body)["city"]
    index = {"TableName": outputs.spots_table, "IndexName": SPOTS_BY_CELL, "Select": "COUNT"}
    counted = {
        cell: target.client("dynamodb").query(
            KeyConditionExpression="cell = :c",
            ExpressionAttributeValues={":c": {"S": cell}},
            **index,
        )["Count"]
        for cell in deployed.stalls
    }
    assert counted == deployed.stalls
    assert sum(counted.values()) == len(stalls.spots)


def test_the_streets_are_those_of_the_city(town: Any) -> None:
    answer = ask(town, "/streets")
    assert answer.headers["content-type"] == "application/geo+json"
    drawn = json.loads(answer.body)
    assert {f["properties"]["name"] for f in drawn["features"]} == set(CITY[0].roads.streets)
    assert drawn["city"] == CITY[0].to_registry().city


def test_what_has_not_changed_is_not_sent_again(town: Any) -> None:
    first = ask(town, "/streets")
    again = ask(town, "/streets", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_health_and_document(town: Any) -> None:
    assert json.loads(ask(town, "/health").body) == {"status": "ok"}
    assert json.loads(ask(town, "/openapi.json").body)["openapi"] == "3.1.0"


def test_a_browser_may_revalidate(town: Any) -> None:
    request = urllib.request.Request(
        town[1].api_url + "/spots",
        method="OPTIONS",
        headers={
            "Origin": "https://map.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "if-none-match",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert "if-none-match" in answer.headers["Access-Control-Allow-Headers"].lower()
    seen = ask(town, "/health", Origin="https://map.example")
    assert "etag" in seen.headers["Access-Control-Expose-Headers"].lower()
