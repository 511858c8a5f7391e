"""Spots near a point: cells are read until the rest cannot matter, and the answer is that of
reading them all."""

import gzip
import importlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import h3
import msgspec
import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from api import cells, items, queries
from api.queries import BoxQuery, Filter, NearQuery
from api.walking import Walks, straight_m
from fleet_sim.contract import Segment, Spot, SpotPage, StreetNetwork
from fleet_sim.contract.registry import CELLS_KEY, STREETS_KEY, SpotCells
from fleet_sim.contract.tables import (
    AttributeMap,
    Observation,
    SpotBelief,
    new_spot,
    text_attribute,
)
from fleet_sim.scenario import loads
from fleet_sim.world import build_cities
from telemetry_processor import spots

CITY = build_cities(
    loads(
        "name: near\nseed: 4\ncity: {generate: {blocks: [9, 7]}}\n"
        "fleet: [{group: cars, count: 1}]\nphases: [{name: only, duration: 10s}]\n"
    )
)[0]
STALLS = CITY.to_registry().spots
NETWORK = CITY.to_streets("c")
WALKS = Walks(NETWORK)
NOW_MS = 1_780_000_000_000.0
WHERE = np.array([(stall.lat, stall.lon) for stall in STALLS])
LOW, HIGH = WHERE.min(axis=0) - 0.006, WHERE.max(axis=0) + 0.006


def table(seed: int) -> dict[str, list[AttributeMap]]:
    """The spots by cell, by id: a third never seen, the others free, occupied or neither."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[AttributeMap]] = {}
    for stall in sorted(STALLS, key=lambda stall: stall.id):
        cell = h3.latlng_to_cell(stall.lat, stall.lon, 9)
        item = new_spot(stall.id, cell, stall.lat, stall.lon, stall.street)
        if rng.random() < 2 / 3:
            ts = int(NOW_MS - rng.uniform(0, 3_600_000))
            look = Observation(ts, "v", 1, float(rng.normal(0, 3)))
            item["belief"] = text_attribute(spots.belief(spots.SpotState("r", (look,))))
        found.setdefault(cell, []).append(item)
    return found


TABLES = [table(seed) for seed in range(3)]


class Reads:
    """In place of the table's index: its cells, filtered as DynamoDB does, and which are read."""

    def __init__(self, by_cell: dict[str, list[AttributeMap]]) -> None:
        self.by_cell = by_cell
        self.read: list[str] = []

    def cell(self, name: str, after: str, unlike: tuple[str, ...]) -> list[AttributeMap]:
        self.read.append(name)
        return [
            item
            for item in self.by_cell.get(name, ())
            if item["id"]["S"] > after and not any(t in item["belief"]["S"] for t in unlike)
        ]


@pytest.fixture(scope="module")
def handler() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setattr("time.time", lambda: NOW_MS / 1e3)
        yield importlib.import_module("api.handler")


def asked(handler: Any, query: Any, by_cell: Any, deployed: Any) -> tuple[SpotPage, list[str]]:
    """The page, and the cells that were read for it."""
    reads = Reads(by_cell)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.store.cell", reads.cell)
        patch.setattr("api.store.city.get", lambda: deployed)
        ask = handler._near if isinstance(query, NearQuery) else handler._box
        return ask(query), reads.read


def exhaustive(query: NearQuery, by_cell: Any, walks: Walks | None) -> list[Spot]:
    """Every spot of every cell, sorted by its walk."""
    found = []
    for cell in query.cells:
        for item in by_cell.get(cell, ()):
            spot = items.spot(item, NOW_MS)
            away_m = straight_m(query.lat, query.lon, spot.lat, spot.lon)
            if away_m <= query.radius_m and items.is_wanted(spot, query.wanted):
                found.append(spot)
    points = [(spot.lat, spot.lon) for spot in found]
    if walks is None:
        walked = [straight_m(query.lat, query.lon, *point) for point in points]
    else:
        walked = walks.distances_m(query.lat, query.lon, points)
    order = sorted(range(len(found)), key=lambda k: walked[k])[: query.limit]
    return [msgspec.structs.replace(found[k], walk_m=round(walked[k], 1)) for k in order]


def near(lat: float, lon: float, radius_m: float, limit: int, wanted: Filter) -> NearQuery:
    given = {"lat": repr(lat), "lon": repr(lon), "radius": repr(radius_m), "limit": str(limit)}
    found = queries.spot_query(given)
    assert isinstance(found, NearQuery)
    return found._replace(wanted=wanted)


FILTERS = st.builds(
    Filter,
    st.sampled_from(["", "free", "occupied", "unknown"]),
    st.sampled_from([0.0, 0.0, 0.2, 0.5, 0.9]),
)


@settings(deadline=None, max_examples=150)
@given(
    st.floats(LOW[0], HIGH[0]),
    st.floats(LOW[1], HIGH[1]),
    st.sampled_from([1.0, 80.0, 250.0, 400.0, 800.0, 1_600.0]),
    st.sampled_from([1, 3, 10, 200, 1_000]),
    FILTERS,
    st.sampled_from(TABLES),
    st.booleans(),
    st.booleans(),
)
def test_the_answer_is_that_of_reading_everything(
    handler: Any,
    lat: float,
    lon: float,
    radius_m: float,
    limit: int,
    wanted: Filter,
    by_cell: dict[str, list[AttributeMap]],
    streets: bool,
    known: bool,
) -> None:
    query = near(lat, lon, radius_m, limit, wanted)
    walks = WALKS if streets else None
    stalls = {cell: len(found) for cell, found in by_cell.items()} if known else None
    page, read = asked(handler, query, by_cell, handler.store.Deployed(walks, stalls))
    assert page.spots == exhaustive(query, by_cell, walks)
    assert page.walk == ("streets" if streets else "straight")
    assert len(read) == len(set(read))
    if known:
        assert set(read) <= set(by_cell)


@pytest.mark.parametrize("walks", [None, WALKS], ids=["straight", "streets"])
def test_it_stops_neither_early_nor_in_another_order(handler: Any, walks: Walks | None) -> None:
    """Many searches whose farthest spot is about where the first cells end."""
    rng = np.random.default_rng(5)
    short = 0
    for _ in range(40):
        lat, lon = (float(x) for x in rng.uniform(LOW, HIGH))
        query = near(lat, lon, 1_600.0, int(rng.integers(1, 150)), Filter("", 0.0))
        deployed = handler.store.Deployed(walks, dict.fromkeys(TABLES[2], 1))
        page, read = asked(handler, query, TABLES[2], deployed)
        assert page.spots == exhaustive(query, TABLES[2], walks)
        short += len(read) < len(TABLES[2])
    assert short > 10


def test_spots_at_the_same_place_come_by_cell_and_id() -> None:
    found = items.Nearest(near(37.8, -122.27, 400.0, 6, Filter()), NOW_MS, None)
    for cell in ("c", "a", "b"):
        found.add(cell, [new_spot(f"{k}-{cell}", cell, 37.8, -122.27, "S") for k in "12"])
    ids = [spot.id for spot in found.answer().spots]
    assert ids == ["1-a", "2-a", "1-b", "2-b", "1-c", "2-c"]
    assert not found.complete(0.0)  # one that comes may be as near


def test_a_search_ends_with_the_cells_that_matter(handler: Any) -> None:
    lat, lon = WHERE.mean(axis=0)
    query = near(float(lat), float(lon), 1_600.0, 10, Filter("free", 0.2))
    stalls = {cell: len(found) for cell, found in TABLES[0].items()}
    page, read = asked(handler, query, TABLES[0], handler.store.Deployed(WALKS, stalls))
    assert len(page.spots) == 10
    assert len(query.cells) > 60
    assert len(read) == cells.FIRST
    # Nothing is found: every cell that has stalls is read, and no other.
    query = query._replace(wanted=Filter("free", 1.0))
    _, read = asked(handler, query, TABLES[0], handler.store.Deployed(WALKS, stalls))
    assert sorted(read) == sorted(set(stalls) & set(query.cells))
    _, read = asked(handler, query, TABLES[0], handler.store.Deployed(WALKS, None))
    assert 0.6 * len(query.cells) < len(read) < len(query.cells)  # the box's corners are not


@settings(deadline=None)
@given(
    st.floats(-60, 60),
    st.floats(-179, 178),
    st.floats(-0.02, 0.02),
    st.floats(-0.02, 0.02),
)
def test_no_spot_of_a_cell_is_nearer_than_the_cell(
    lat: float, lon: float, north: float, east: float
) -> None:
    spot = lat + north, lon + east
    away_m = straight_m(lat, lon, *spot)
    assume(away_m <= 2_000)
    cell = h3.latlng_to_cell(*spot, 9)
    query = NearQuery(lat, lon, 2_000.0, 1, (cell,), Filter())
    [ring] = cells.by_distance(query, None)
    assert ring.least_m <= away_m
    assert ring.least_m > away_m - 500  # twice as far as a cell reaches
    assert cells.by_distance(query, {}) == []


def test_no_walk_is_shorter_than_the_least() -> None:
    """Also where the network's degree is narrower than the one here."""
    nodes = [(10.0, 10.0), (10.0, 10.01), (50.0, 10.0)]
    south = StreetNetwork("c", nodes, ["S"], [Segment(0, 1, 0)])
    [shorter] = Walks(south).distances_m(*nodes[0], nodes[1:2])
    assert shorter < 0.95 * straight_m(*nodes[0], *nodes[1])
    for walks in (WALKS, Walks(south)):
        for lat, lon in ((37.8, -122.27), (10.0, 10.0), (0.0, 0.0), (60.0, 10.0)):
            points = [(lat + 0.01 * math.sin(a), lon + 0.01 * math.cos(a)) for a in range(12)]
            points.append((lat, lon + 0.01))
            walked = walks.distances_m(lat, lon, points)
            for point, metres in zip(points, walked, strict=True):
                assert metres >= walks.least_m(lat, straight_m(lat, lon, *point)) - 1e-6


LOOKS = st.lists(
    st.builds(
        Observation, st.integers(1, 7_200_000), st.just("v"), st.integers(0, 9), st.floats(-6, 6)
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=300)
@given(LOOKS, st.integers(-600_000, 7_200_000), FILTERS)
def test_what_dynamodb_need_not_send_is_not_wanted(
    looks: list[Observation], age_ms: int, wanted: Filter
) -> None:
    belief = spots.belief(spots.SpotState("r", tuple(sorted(looks))))
    item = new_spot("s", "c", 1.0, 2.0, "S") | {"belief": text_attribute(belief)}
    shown = items.spot(item, belief.last_seen_ms + age_ms)
    if any(text in item["belief"]["S"] for text in items.unlike(wanted)):
        assert not items.is_wanted(shown, wanted)


def test_unseen_spots_are_told_by_their_text() -> None:
    assert items.unlike(Filter("free"))[0] in text_attribute(SpotBelief())["S"]
    seen = text_attribute(SpotBelief("r", "occupied", 0.9, 1, 1_780_000_000_000))["S"]
    assert [text in seen for text in items.unlike(Filter("free"))] == [False, True]
    assert [text in seen for text in items.unlike(Filter("occupied"))] == [False, False]
    assert items.unlike(Filter()) == items.unlike(Filter("unknown")) == ()


def test_a_page_reads_the_cells_it_needs(handler: Any) -> None:
    by_cell = TABLES[0]
    stalls = {cell: len(found) for cell, found in by_cell.items()}
    box = queries.BBox(LOW[1], LOW[0], HIGH[1], HIGH[0])
    covering = tuple(queries.covering_cells(box))
    query = BoxQuery(box, 200, covering, "", Filter())
    page, read = asked(handler, query, by_cell, handler.store.Deployed(WALKS, stalls))
    first = sorted(stalls)
    at = next(k for k in range(len(first)) if sum(stalls[c] for c in first[: k + 1]) > 200)
    assert read == first[: at + 1]
    assert len(page.spots) == 200
    # All pages together: as without knowing where stalls are.
    for known in (stalls, None):
        found, next_query = [], query
        while True:
            page, _ = asked(handler, next_query, by_cell, handler.store.Deployed(WALKS, known))
            found += [spot.id for spot in page.spots]
            if page.next is None:
                break
            cursor = queries.read_token(page.next, queries.Cursor)
            rest = tuple(cell for cell in covering if cell >= cursor.cell)
            next_query = query._replace(cells=rest, after=cursor.after)
        assert sorted(found) == sorted(stall.id for stall in STALLS)


class TestStore:
    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("SPOTS_TABLE", "spots")
        monkeypatch.setenv("DATA_BUCKET", "data")
        store = importlib.import_module("api.store")
        with mock_aws():
            boto3.client("s3").create_bucket(Bucket="data")
            store.dynamodb.cache_clear()
            store.s3.cache_clear()
            yield store
        store.dynamodb.cache_clear()
        store.s3.cache_clear()

    def test_items_are_as_boto3_reads_them(self, store: Any) -> None:
        client = boto3.client("dynamodb")
        client.create_table(
            TableName="spots",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": n, "AttributeType": "S"} for n in ("id", "cell")
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
        cell, (first, *others) = max(TABLES[1].items(), key=lambda pair: len(pair[1]))
        for item in (first, *others):
            client.put_item(TableName="spots", Item=item)
        assert store.cell(cell) == [first, *others]
        assert store.cell(cell, first["id"]["S"]) == others
        assert store.item("SPOTS_TABLE", "id", first["id"]["S"]) == first
        assert store.item("SPOTS_TABLE", "id", "-") is None
        unlike = items.unlike(Filter("free"))
        reads = Reads(TABLES[1])
        free = store.cell(cell, "", unlike)
        assert free == reads.cell(cell, "", unlike)
        assert 0 < len(free) < len(others)
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            store.dynamodb().get_item(TableName="none", Key={"id": {"S": "-"}})

    def test_cells_are_those_of_the_deployed_streets(self, store: Any) -> None:
        s3 = boto3.client("s3")

        def put(key: str, document: Any) -> None:
            body = gzip.compress(msgspec.json.encode(document), mtime=0)
            s3.put_object(Bucket="data", Key=key, Body=body)

        city = store.City()

        def look() -> Any:
            city._good_until = 0.0
            return city.get()

        assert look() == (None, None)
        put(CELLS_KEY, SpotCells("c", {"a": 3}))
        assert look() == (None, None)  # whose they are cannot be told
        put(STREETS_KEY, NETWORK)
        found = look()
        assert found.walks.network == NETWORK
        assert found.stalls == {"a": 3}
        assert look() is found
        # Uploaded by somebody who knows of no cells.
        put(STREETS_KEY, StreetNetwork("d", [], [], []))
        assert look().stalls is None
        put(CELLS_KEY, SpotCells("e", {"b": 1}))
        put(STREETS_KEY, StreetNetwork("e", [], [], []))
        assert look().stalls == {"b": 1}
        s3.delete_object(Bucket="data", Key=CELLS_KEY)
        put(STREETS_KEY, NETWORK)
        assert look().stalls is None
        s3.delete_object(Bucket="data", Key=STREETS_KEY)
        assert look() == (None, None)


def test_rounds_read_each_cell_once() -> None:
    every = [cells.Near(float(k), str(k)) for k in range(100)]
    sizes = [len(found) for found in cells.rounds(every)]
    assert sizes[:4] == [4, 8, 16, 16]
    assert [near for found in cells.rounds(every) for near in found] == every
    assert Counter(cells.enough(["a", "b"], {"a": 3, "b": 9}, n) for n in (1, 3, 4, 12)) == {
        1: 2,
        2: 2,
    }
    assert cells.enough(["a"] * 40, {"a": 1}, 30) == cells.AT_ONCE
    assert cells.enough(["a"], None, 1) == cells.AT_ONCE
