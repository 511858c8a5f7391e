"""The HTTP API: an API Gateway event in, its answer out; DynamoDB by moto."""

import gzip
import importlib
import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import h3
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lambda_fakes import RUN, VIN
from moto import mock_aws

from api import items, queries
from fleet_sim.contract import (
    BBox,
    FleetSummary,
    Problem,
    Segment,
    SpotDetail,
    SpotPage,
    StreetNetwork,
    VehiclePage,
    VehicleView,
    counters,
)
from fleet_sim.contract.registry import STREETS_KEY
from fleet_sim.contract.tables import Observation, SpotBelief, new_spot, text_attribute

VIEW = VehicleView(
    vin=VIN,
    run=RUN,
    seq=3,
    applied="1-3",
    ts=1,
    lat=37.8,
    lon=-122.27,
    speed_mps=1.0,
    heading_deg=2.0,
    soc=0.5,
    mode="driving",
    fw="1.0.0",
    arrival_ms=1.0,
    processed_ms=2.0,
    stored_ms=3.0,
)
WEST, SOUTH = -122.28, 37.80
SPOTS = {f"s{i:03}": (SOUTH + 0.0001 * i, WEST + 0.0002 * i) for i in range(100)}
"""A diagonal through some cells: 2 km to the east, 1 km to the north."""

Get = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def tables() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("VEHICLES_TABLE", "vehicles")
    patch.setenv("SPOTS_TABLE", "spots")
    patch.setenv("COUNTERS_TABLE", "counters")
    patch.setenv("DATA_BUCKET", "data")
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(
            TableName="vehicles",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "vin", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "vin", "KeyType": "HASH"}],
        )
        client.create_table(
            TableName="spots",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "id", "AttributeType": "S"},
                {"AttributeName": "cell", "AttributeType": "S"},
            ],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-cell",
                    "KeySchema": [
                        {"AttributeName": "cell", "KeyType": "HASH"},
                        {"AttributeName": "id", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        client.create_table(
            TableName="counters",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "kind", "AttributeType": "S"},
                {"AttributeName": "at", "AttributeType": "S"},
            ],
            KeySchema=[
                {"AttributeName": "kind", "KeyType": "HASH"},
                {"AttributeName": "at", "KeyType": "RANGE"},
            ],
        )
        boto3.client("s3").create_bucket(Bucket="data")
        yield client
    patch.undo()


@pytest.fixture(scope="module")
def get(tables: Any) -> Get:
    """Call the function as API Gateway does; `.body` is decoded."""
    for spot_id, (lat, lon) in SPOTS.items():
        item = new_spot(spot_id, h3.latlng_to_cell(lat, lon, 9), lat, lon, "1st Street")
        tables.put_item(TableName="spots", Item=item)
    # By the scenario's clock an hour from now: nothing has faded.
    ahead_ms = round(1_780_000_000_000 - 3_600_000 - time.time() * 1e3)
    seen = SpotBelief(RUN, "occupied", 0.9, 4, 1_780_000_000_000, ahead_ms)
    tables.update_item(
        TableName="spots",
        Key={"id": {"S": "s000"}},
        UpdateExpression="SET belief = :b, recent = :r",
        ExpressionAttributeValues={
            ":b": text_attribute(seen),
            ":r": text_attribute([Observation(1, VIN, 1, -0.5), Observation(2, VIN, 9, 2.5)]),
        },
    )
    tables.put_item(TableName="vehicles", Item={"vin": {"S": VIN}, "state": text_attribute(VIEW)})
    moves, now_ms = counters.Moves(), time.time() * 1e3
    for age_s, mode in ((1, "driving"), (100, "parked"), (90_100, "charging")):
        heard = msgspec.structs.replace(VIEW, mode=mode, processed_ms=now_ms - age_s * 1e3)
        moves.add({}, counters.vehicle_counts(heard))
    moves.add({}, counters.spot_counts(seen))
    for shard in ("a", "b"):
        updates = [
            {"Update": counters.update_of("counters", slot, shard, counts)}
            for slot, counts in moves.items(0)
        ]
        tables.transact_write_items(TransactItems=updates)
    tables.put_item(TableName="counters", Item=counters.spots_item(100))
    module = importlib.import_module("api.handler")
    module.store.dynamodb.cache_clear()
    module.store.s3.cache_clear()

    def call(
        path: str, method: str = "GET", if_none_match: str = "", **query: str
    ) -> SimpleNamespace:
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {"host": "x", "if-none-match": if_none_match},
            "queryStringParameters": query or None,
            "requestContext": {
                "http": {"method": method, "path": path, "sourceIp": "127.0.0.1"},
                "stage": "$default",
                "requestId": "r",
            },
            "isBase64Encoded": False,
        }
        answer = module.handler(event, SimpleNamespace(aws_request_id="r"))
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        return SimpleNamespace(
            status=answer["statusCode"], headers=headers, body=answer.get("body")
        )

    return call


def problem(answer: SimpleNamespace, status: int) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    document = msgspec.json.decode(answer.body, type=Problem)
    assert document.status == answer.status == status
    return document.detail


class TestSpots:
    def pages(self, get: Get, box: str, limit: int) -> list[list[str]]:
        found, query = [], {"bbox": box, "limit": str(limit)}
        while True:
            answer = get("/spots", **query)
            assert answer.status == 200
            page = msgspec.json.decode(answer.body, type=SpotPage)
            found.append([spot.id for spot in page.spots])
            if page.next is None:
                return found
            query["next"] = page.next

    @pytest.fixture
    def in_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Cells from memory: what is tested is the paging over them."""
        cells: dict[str, list[Any]] = {}
        for spot_id, (lat, lon) in SPOTS.items():
            cell = h3.latlng_to_cell(lat, lon, 9)
            cells.setdefault(cell, []).append(new_spot(spot_id, cell, lat, lon, "1st Street"))

        def query(cell: str, after: str, unlike: tuple[str, ...]) -> list[Any]:
            assert not unlike
            return [item for item in cells.get(cell, []) if item["id"]["S"] > after]

        monkeypatch.setattr("api.store.cell", query)

    def test_pages_from_the_table_hold_each_spot_once(self, get: Get) -> None:
        pages = self.pages(get, f"{WEST},{SOUTH},{WEST + 0.02},{SOUTH + 0.01}", 30)
        assert [len(page) for page in pages] == [30, 30, 30, 10]
        assert sorted(i for page in pages for i in page) == sorted(SPOTS)

    @pytest.mark.usefixtures("in_memory")
    @pytest.mark.parametrize("limit", [1, 7, 100, 1_000])
    def test_pages_hold_each_spot_once(self, get: Get, limit: int) -> None:
        pages = self.pages(get, f"{WEST},{SOUTH},{WEST + 0.1},{SOUTH + 0.1}", limit)
        assert sorted(i for page in pages for i in page) == sorted(SPOTS)
        assert all(len(page) <= limit for page in pages)

    @pytest.mark.usefixtures("in_memory")
    def test_only_spots_in_the_box(self, get: Get) -> None:
        lat, lon = SPOTS["s050"]
        pages = self.pages(get, f"{WEST},{lat},{lon},{SOUTH + 1e-3 * 99}", 1_000)
        assert [i for page in pages for i in page] == ["s050"]

    def test_a_box_without_extent(self, get: Get) -> None:
        lat, lon = SPOTS["s007"]
        assert self.pages(get, f"{lon},{lat},{lon},{lat}", 10) == [["s007"]]

    @pytest.mark.usefixtures("in_memory")
    def test_a_large_box_comes_in_bounded_pages(self, get: Get) -> None:
        box = f"{WEST - 0.2},{SOUTH - 0.1},{WEST + 0.2},{SOUTH + 0.1}"
        pages = self.pages(get, box, 1_000)
        assert len(pages) > 10  # 780 km² hold 7,600 cells
        assert sorted(i for page in pages for i in page) == sorted(SPOTS)

    def test_one_spot(self, get: Get) -> None:
        answer = get("/spots/s000")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        spot = msgspec.json.decode(answer.body, type=SpotDetail)
        assert [(look.ts, look.llr) for look in spot.recent] == [(2, 2.5), (1, -0.5)]
        assert (spot.state, spot.confidence, spot.observations) == ("occupied", 0.8, 4)
        assert spot.last_seen_ms == 1_780_000_000_000
        assert json.loads(get("/spots/s001").body)["last_seen_ms"] is None

    def test_what_was_seen_fades(self) -> None:
        item = new_spot("a", "c", 1.0, 2.0, "S")
        item["belief"] = text_attribute(SpotBelief(RUN, "occupied", 0.95, 4, 1_000_000, 0))
        fresh, old, older = (items.spot(item, 1_000_000 + m * 60_000) for m in (0, 45, 120))
        assert (fresh.state, fresh.p_occupied) == ("occupied", 0.95)
        assert (old.state, old.p_occupied) == ("occupied", round(0.65 + 0.3 / np.e, 4))
        assert older.state == "unknown"
        assert fresh.confidence > old.confidence > older.confidence
        assert older.last_seen_ms == 1_000_000

    def test_only_those_wanted(self, get: Get) -> None:
        box = f"{WEST},{SOUTH},{WEST + 0.02},{SOUTH + 0.01}"
        for query, count in (
            ({"state": "occupied"}, 1),
            ({"state": "unknown"}, 99),
            ({"min_confidence": "0.8"}, 1),
            ({"min_confidence": "0.81"}, 0),
            ({"state": "unknown", "min_confidence": "0.1"}, 0),
        ):
            answer = get("/spots", bbox=box, limit="1000", **query)
            assert len(msgspec.json.decode(answer.body, type=SpotPage).spots) == count, query

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ({}, "bbox: missing"),
            ({"lat": "37.8"}, "lon: missing"),
            ({"lon": "1"}, "lat: missing"),
            ({"radius": "5"}, "lat: missing"),
            ({"bbox": "0,0,0,0", "lat": "1"}, "lat: not together with bbox"),
            ({"lat": "90.5", "lon": "0"}, "lat: '90.5' (allowed: -90..90)"),
            ({"lat": "90", "lon": "0"}, "too near to a pole"),
            ({"lat": "0", "lon": "180"}, "antimeridian"),
            ({"lat": "nan", "lon": "0"}, "lat: 'nan'"),
            ({"lat": "1_0", "lon": "0"}, "lat: '1_0'"),
            ({"lat": "0", "lon": "0", "radius": "2001"}, "(allowed: 1..2000 m)"),
            ({"lat": "0", "lon": "0", "next": "x"}, "next: not with lat and lon"),
            ({"bbox": "0,0,0,0", "state": "taken"}, "state: 'taken' (allowed: free, occupied, unk"),
            ({"bbox": "0,0,0,0", "min_confidence": "1.1"}, "min_confidence: '1.1' (allowed: 0..1)"),
            ({"bbox": "0,0,0,0", "limit": "9" * 5_000}, "limit: '999"),
            ({"bbox": "1,2,3"}, "3 values"),
            ({"bbox": "0,0,1,91"}, "latitudes"),
            ({"bbox": "1,1,0,2"}, "is empty"),
            ({"bbox": "-180,-90,180,90"}, "too large"),
            ({"bbox": "nan,0,1,1"}, "bbox"),
            ({"bbox": "0,0,0,0", "limit": "0"}, "limit: '0' (allowed: 1..1000)"),
            ({"bbox": "0,0,0,0", "limit": "1001"}, "limit"),
            ({"bbox": "0,0,0,0", "limit": "²"}, "limit"),
            ({"bbox": "0,0,0,0", "next": "x"}, "next"),
            ({"bbox": "0,0,0,0", "next": "WyI4OTI4MzA4MjgwN2ZmZmYiLCIiXQ"}, "another bbox"),
            ({"bbox": "0,0,0,0", "colour": "red"}, "colour: unknown parameter"),
        ],
    )
    def test_a_bad_query_is_a_problem_that_names_it(
        self, get: Get, query: dict[str, str], says: str
    ) -> None:
        assert says in problem(get("/spots", **query), 400)

    @settings(deadline=None)
    @given(
        st.floats(-60, 60), st.floats(-179, 178), st.floats(0, 0.05), st.floats(0, 0.05), st.data()
    )
    def test_the_cells_cover_the_box(self, south, west, height, width, data) -> None:  # type: ignore[no-untyped-def]
        box = BBox(west, south, west + width, south + height)
        lat = data.draw(st.floats(box.south, box.north))
        lon = data.draw(st.floats(box.west, box.east))
        assert h3.latlng_to_cell(lat, lon, 9) in queries.covering_cells(box)


class TestNear:
    def near(self, get: Get, **query: str) -> SpotPage:
        answer = get("/spots", lat=repr(SOUTH), lon=repr(WEST), **query)
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body, type=SpotPage)

    def test_the_nearest_come_first(self, get: Get) -> None:
        page = self.near(get, radius="300", limit="5")
        assert [spot.id for spot in page.spots] == ["s000", "s001", "s002", "s003", "s004"]
        assert (page.walk, page.next) == ("straight", None)
        step_m = np.hypot(0.0001, 0.0002 * np.cos(np.radians(SOUTH))) * 111_195
        assert [spot.walk_m for spot in page.spots] == pytest.approx(
            [step_m * k for k in range(5)], abs=0.06
        )

    def test_all_within_the_radius_and_no_others(self, get: Get) -> None:
        step_m = np.hypot(0.0001, 0.0002 * np.cos(np.radians(SOUTH))) * 111_195
        page = self.near(get, radius="1000", limit="1000")
        assert len(page.spots) == int(1000 / step_m) + 1

    def test_along_the_streets_another_spot_is_nearer(self, get: Get) -> None:
        """A cul-de-sac passes the near spots; the way to them is round a block."""
        there = {"s010": SPOTS["s010"], "s020": SPOTS["s020"]}
        (lat1, lon1), (lat2, lon2) = there.values()
        nodes = [(SOUTH, WEST), (SOUTH, lon2), (lat2, lon2), (lat2, lon1), (lat1, lon1)]
        network = StreetNetwork("c", nodes, ["S"], [Segment(k, k + 1, 0) for k in range(4)])
        s3 = boto3.client("s3")
        body = gzip.compress(msgspec.json.encode(network))
        s3.put_object(Bucket="data", Key=STREETS_KEY, Body=body)
        city = importlib.import_module("api.store").city
        city._good_until = 0.0
        try:
            page = self.near(get, radius="500", limit="1000")
            drawn = json.loads(get("/streets").body)
        finally:
            s3.delete_object(Bucket="data", Key=STREETS_KEY)
            city._good_until = 0.0
        assert page.walk == "streets"
        walk_m = {spot.id: spot.walk_m for spot in page.spots}
        order = [spot.id for spot in page.spots if spot.id in there]
        assert order == ["s020", "s010"]
        corner_m = (lon2 - WEST) * np.cos(np.radians(SOUTH)) * 111_195
        assert walk_m["s020"] == pytest.approx(corner_m + (lat2 - SOUTH) * 111_195, rel=1e-3)
        back_m = (lon2 - lon1) * np.cos(np.radians(SOUTH)) * 111_195 + (lat2 - lat1) * 111_195
        assert walk_m["s010"] == pytest.approx(walk_m["s020"] + back_m, rel=1e-3)
        assert drawn["features"][0]["geometry"]["coordinates"] == [[WEST, SOUTH], [lon2, SOUTH]]
        assert problem(get("/streets"), 404) == "no street network is deployed"


class TestVehicles:
    def test_all_in_pages(self, get: Get, tables: Any) -> None:
        vins = [f"1FSMZ91C0T00001{k:02}" for k in range(7)]
        for vin in vins:
            held = text_attribute(msgspec.structs.replace(VIEW, vin=vin))
            tables.put_item(TableName="vehicles", Item={"vin": {"S": vin}, "state": held})
        found: list[str] = []
        query = {"limit": "3"}
        try:
            while True:
                page = msgspec.json.decode(get("/vehicles", **query).body, type=VehiclePage)
                assert len(page.vehicles) <= 3
                found += [view.vin for view in page.vehicles]
                if page.next is None:
                    break
                query["next"] = page.next
        finally:
            for vin in vins:
                tables.delete_item(TableName="vehicles", Key={"vin": {"S": vin}})
        assert sorted(found) == sorted([VIN, *vins])

    @pytest.mark.parametrize("token", ["x", "WyJhIiwiYiJd", "W10"])
    def test_a_token_that_is_none_is_a_problem(self, get: Get, token: str) -> None:
        assert "next: is not a token" in problem(get("/vehicles", next=token), 400)

    def test_one_vehicle(self, get: Get) -> None:
        answer = get(f"/vehicles/{VIN}")
        assert answer.status == 200
        assert msgspec.json.decode(answer.body, type=VehicleView) == VIEW

    def test_an_unknown_vehicle_is_a_problem(self, get: Get) -> None:
        assert "1FSMZ91C0T9999999" in problem(get("/vehicles/1FSMZ91C0T9999999"), 404)

    def test_the_summary_counts(self, get: Get) -> None:
        answer = get("/fleet/summary")
        summary = msgspec.json.decode(answer.body, type=FleetSummary)
        # Two shards' counts; who was not heard of for a day is not counted.
        assert (summary.vehicles, summary.driving, summary.parked) == (4, 2, 2)
        assert (summary.spots, summary.occupied, summary.unknown) == (100, 2, 98)
        assert (summary.mean_soc, summary.online, summary.charging) == (0.5, 2, 0)
        assert abs(summary.as_of_ms - time.time() * 1e3) < 60_000


class TestHttp:
    def test_answers_may_be_kept_a_second_and_problems_not(self, get: Get) -> None:
        assert get(f"/vehicles/{VIN}").headers["cache-control"] == "public, max-age=1"
        assert get("/nothing").headers["cache-control"] == "no-store"

    def test_what_has_not_changed_is_not_sent_again(self, get: Get) -> None:
        first = get("/spots/s000")
        etag = first.headers["etag"]
        for asked in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            again = get("/spots/s000", if_none_match=asked)
            assert (again.status, again.body) == (304, "")
            assert again.headers["etag"] == etag
            assert again.headers["cache-control"] == "public, max-age=1"
        assert get("/spots/s000", if_none_match='"x"').status == 200
        assert get("/spots/s001").headers["etag"] != etag

    def test_health_reads_thetables(self, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
        assert json.loads(get("/health").body) == {"status": "ok"}
        monkeypatch.setenv("SPOTS_TABLE", "gone")
        assert problem(get("/health"), 503) == "a table does not answer"

    @pytest.mark.parametrize("path", ["/health", "/fleet/summary", "/streets", "/spots/s000"])
    def test_an_unknown_parameter_is_a_problem(self, get: Get, path: str) -> None:
        assert "colour: unknown parameter (allowed: none)" in problem(get(path, colour="red"), 400)

    def test_an_unknown_path_is_a_problem(self, get: Get) -> None:
        assert problem(get("/nothing"), 404) == "there is nothing at /nothing"

    @pytest.mark.parametrize("path", ["/spots", f"/vehicles/{VIN}", "/fleet/summary"])
    def test_another_method_is_a_problem_that_names_the_allowed(self, get: Get, path: str) -> None:
        answer = get(path, method="POST")
        assert "POST" in problem(answer, 405)
        assert answer.headers["allow"] == "GET"

    def test_an_error_of_ours_is_a_problem_without_details(
        self, get: Get, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VEHICLES_TABLE", "secret-name")
        assert problem(get(f"/vehicles/{VIN}"), 500) == "the error was logged"
