"""The trends function on an archive of survey drives, whose truth is known; S3 and DynamoDB by
moto."""

import datetime as dt
import gzip
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import msgspec
import numpy as np
import pytest
from lambda_fakes import record
from moto import mock_aws

from fleet_sim.contract import ArchivedRecord, RegistrySpot, RuleRecord, SonarBurst, SpotRegistry
from fleet_sim.contract.registry import REGISTRY_KEY
from fleet_sim.contract.trends import ALL_STREETS, HourlyOccupancy, StreetTrend, TrendIndex
from fleet_sim.engine import backfill
from fleet_sim.scenario import loads
from fleet_sim.world import build_cities
from telemetry_processor.spots import SpotIndex
from trends import handler as trends_handler
from trends import hours
from trends.looks import Replay

SCENARIO = loads(
    "name: trends\nseed: 3\ncity: {generate: {blocks: [4, 3]}}\n"
    "fleet: [{group: cars, count: 1}]\n"
    "phases: [{name: only, duration: 10s, parking: {occupancy: 60%}}]\n"
)
END = dt.datetime(2026, 6, 3, 12, 40, tzinfo=dt.UTC)
"""A Wednesday; two days before it are a Monday and a Tuesday, from noon on."""
CITY = build_cities(SCENARIO)[0]
REGISTRY = CITY.to_registry()
HOURS = list(backfill.hours(SCENARIO, 2, END))


class Cloud:
    """The data bucket, the table and the function."""

    def __init__(self) -> None:
        self.s3, self.table = boto3.client("s3"), boto3.client("dynamodb")
        self.s3.create_bucket(Bucket="data")
        self.table.create_table(
            TableName="trends",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "street", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "street", "KeyType": "HASH"}],
        )
        self.deploy(REGISTRY)

    def deploy(self, registry: SpotRegistry) -> None:
        self.put(REGISTRY_KEY, gzip.compress(msgspec.json.encode(registry)))

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket="data", Key=key, Body=body)

    def keys(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket="data", Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def call(self, left_ms: int = 900_000, **event: Any) -> dict[str, int]:
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: left_ms)
        answer: dict[str, int] = trends_handler.handler(event, context)
        return answer

    def items(self) -> dict[str, str]:
        found = self.table.scan(TableName="trends")["Items"]
        return {item["street"]["S"]: item["trend"]["S"] for item in found}

    def index(self) -> TrendIndex:
        return msgspec.json.decode(self.items()[ALL_STREETS], type=TrendIndex)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name, value in (
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("DATA_BUCKET", "data"),
        ("TRENDS_TABLE", "trends"),
        ("TIME_ZONE", "UTC"),
        ("SAMPLE_PERCENT", "100"),
    ):
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield Cloud()


def test_a_week_is_what_it_was(cloud: Cloud) -> None:
    for hour in HOURS:
        cloud.put(hour.key, hour.body)
    answer = cloud.call()
    assert answer["hours"] == 48
    assert answer["records"] == sum(hour.records for hour in HOURS)
    index = cloud.index()
    assert set(index.streets) <= {spot.street for spot in REGISTRY.spots}
    assert (index.city, index.first_ms) == (REGISTRY.city, 1_780_315_200_000)
    assert index.last_ms == 1_780_315_200_000 + 47 * 3_600_000
    taken = np.zeros(168)
    looks = np.zeros(168)
    for name in index.streets:
        trend = msgspec.json.decode(cloud.items()[name], type=StreetTrend)
        assert len(trend.hours) == 168
        for slot, hour in enumerate(trend.hours):
            looks[slot] += hour.looks
            taken[slot] += hour.looks * (hour.taken or 0.0)
    assert looks.sum() == index.looks > 1_000
    assert [hour.looks for hour in index.hours] == looks.tolist()
    for hour, whole in zip(index.hours, taken, strict=True):
        assert hour.taken == pytest.approx(whole / hour.looks, abs=1e-3) if hour.looks else True
    assert (looks[12:60] > 0).all()
    assert not looks[:12].any()
    assert not looks[60:].any()
    # By third of a day, against what each hour's cars were drawn from: some 300 looks each.
    truth = np.array([hour.usual.mean() for hour in HOURS])
    for third in range(6):
        at = slice(third * 8, third * 8 + 8)
        share = taken[12:60][at].sum() / looks[12:60][at].sum()
        assert share == pytest.approx(truth[at].mean(), abs=0.08)


def test_what_was_counted_is_not_counted_again(cloud: Cloud) -> None:
    for hour in HOURS[:4]:
        cloud.put(hour.key, hour.body)
    assert cloud.call()["hours"] == 4
    before, made = cloud.items(), cloud.keys("trends/")
    again = cloud.call()
    assert (again["hours"], again["records"]) == (0, 0)
    assert cloud.keys("trends/") == made
    after = cloud.items()
    assert {k: v for k, v in after.items() if k != ALL_STREETS} == {
        k: v for k, v in before.items() if k != ALL_STREETS
    }


def test_an_hour_that_grew_is_counted_anew_and_once(cloud: Cloud) -> None:
    for hour in HOURS[:3]:
        cloud.put(hour.key, hour.body)
    cloud.call()
    looks = cloud.index().looks
    # A retry of a part of the batch: the same records under another name.
    folder, _, name = HOURS[2].key.rpartition("/")
    first = name.split("-")[1]
    cloud.put(f"{folder}/backfill-{first}-{first}.jsonl.gz", HOURS[2].body)
    assert cloud.call()["hours"] == 1
    assert cloud.index().looks == looks
    assert len(cloud.keys("trends/")) == 3


def test_older_hours_are_looked_at_when_asked(cloud: Cloud) -> None:
    cloud.put(HOURS[40].key, HOURS[40].body)
    cloud.call()
    cloud.put(HOURS[0].key, HOURS[0].body)
    assert cloud.call()["hours"] == 0
    assert cloud.call(since="dt=2026-06-01/hour=00/")["hours"] == 1
    assert cloud.index().first_ms == 1_780_315_200_000


def test_an_invocation_ends_in_time_and_the_next_goes_on(cloud: Cloud) -> None:
    for hour in HOURS[:5]:
        cloud.put(hour.key, hour.body)
    assert cloud.call(left_ms=1_000)["left"] == 5
    seen = [cloud.call(most=2, since="") for _ in range(3)]
    assert [(answer["hours"], answer["left"]) for answer in seen] == [(2, 3), (2, 1), (1, 0)]
    assert len(cloud.index().streets) > 0


def test_another_city_forgets_the_streets_of_the_one_before(cloud: Cloud) -> None:
    for hour in (HOURS[0], HOURS[40]):
        cloud.put(hour.key, hour.body)
    cloud.call()
    assert len(cloud.items()) > 1
    cloud.deploy(SpotRegistry("other", []))
    told = cloud.call()
    assert (told["hours"], told["streets"]) == (1, 0)  # the older hour is as it was counted
    assert set(cloud.items()) == {ALL_STREETS}
    assert cloud.index().city == "other"


def test_without_a_city_there_is_nothing_to_count(cloud: Cloud) -> None:
    cloud.s3.delete_object(Bucket="data", Key=REGISTRY_KEY)
    assert cloud.call() == {"hours": 0, "records": 0, "streets": 0, "left": 0}


class TestReplay:
    SPOT = RegistrySpot("a", 37.8 - 3.5 / 111_195, -122.27, 90.0, 5.5, 3.5, "1st Street")

    def body(self, *records: RuleRecord) -> bytes:
        return b"\n".join(
            msgspec.json.encode(
                ArchivedRecord("s", str(k), 1.0, 2.0, msgspec.Raw(msgspec.json.encode(item)))
            )
            for k, item in enumerate(records)
        )

    def passing(self) -> list[RuleRecord]:
        """Two seconds before the spot to two after it, at 10 m/s."""
        heard = [[480] * 20 for _ in range(5)]
        heard[2][14:] = heard[3][:6] = [170] * 6
        return [
            record(seq, lon=-122.27 + 10 * (seq - 3) / 87_870, sonar=SonarBurst("right", 20, cm))
            for seq, cm in enumerate(heard, 1)
        ]

    def looks(self, *bodies: bytes, sample: int = 100) -> list[tuple[str, bool]]:
        replay = Replay(SpotIndex(SpotRegistry("c", [self.SPOT])), sample)
        found = [look for body in bodies for look in replay.take(body)]
        found += replay.end()
        return [(look.street, look.taken) for look in found]

    def test_a_pass_is_one_look(self) -> None:
        assert self.looks(self.body(*self.passing())) == [("1st Street", True)]

    def test_records_that_come_again_are_no_other_look(self) -> None:
        body = self.body(*self.passing())
        assert self.looks(body, body) == [("1st Street", True)]

    def test_what_the_processor_refused_is_left_out(self) -> None:
        spoof = [msgspec.structs.replace(item, thing="another") for item in self.passing()]
        assert self.looks(self.body(*spoof)) == []
        assert self.looks(b'"AAAA"\nnot json\n\xff') == []

    def test_a_sample_takes_whole_vehicles(self) -> None:
        assert self.looks(self.body(*self.passing()), sample=0) == []


class TestHours:
    def test_hours_of_the_week_are_local(self) -> None:
        weeks = hours.Weeks("c", "America/Los_Angeles")
        # The night in which summer time began: 09:00 UTC is 01:00, 10:00 UTC is 03:00.
        at = dt.datetime(2026, 3, 8, 9, tzinfo=dt.UTC).timestamp() * 1e3
        weeks.add(HourlyOccupancy("c", "S", int(at) + k * 3_600_000, 1, k) for k in range(2))
        [street] = weeks.streets()
        counted = {slot: hour.taken for slot, hour in enumerate(street.hours) if hour.looks}
        assert counted == {6 * 24 + 1: 0.0, 6 * 24 + 3: 1.0}

    def test_a_key_names_what_it_was_made_of(self) -> None:
        partition = "dt=2026-06-01/hour=07/"
        key = hours.hourly_key(partition, "c", ["b", "a"], 100)
        assert hours.partition_of(key) == partition
        assert key == hours.hourly_key(partition, "c", ["a", "b"], 100)
        others = [("d", ["a", "b"], 100), ("c", ["a"], 100), ("c", ["a", "b"], 50)]
        assert len({hours.hourly_key(partition, *other) for other in others} | {key}) == 4

    def test_objects_are_replayed_in_the_order_of_the_stream(self) -> None:
        keys = [f"telemetry/x/shardId-000000000000-{first}-99.jsonl.gz" for first in (9, 10, 100)]
        mixed = [keys[2], keys[0], keys[1]]
        assert sorted(mixed, key=hours.replay_order) == keys

    def test_the_partition_some_hours_before(self) -> None:
        assert hours.earlier("dt=2026-03-01/hour=01/", 2) == "dt=2026-02-28/hour=23/"


class TestBackfill:
    def test_the_same_days_are_the_same_objects(self) -> None:
        again = backfill.hours(SCENARIO, 2, END)
        for one, other in zip(HOURS, again, strict=True):
            assert (one.key, one.body) == (other.key, other.body)

    def test_hours_are_whole_and_each_record_is_filed_in_its_own(self) -> None:
        for hour in HOURS:
            lines = gzip.decompress(hour.body).splitlines()
            assert len(lines) == hour.records > 0
            decoded = [msgspec.json.decode(line, type=ArchivedRecord) for line in lines]
            assert {hours.partition_at(line.arrival_ms) for line in decoded} == {
                hours.partition_of(hour.key)
            }
        assert HOURS[0].key.startswith("telemetry/dt=2026-06-01/hour=12/")
        assert HOURS[-1].key.startswith("telemetry/dt=2026-06-03/hour=11/")

    def test_messages_have_names_of_their_own(self) -> None:
        names = [
            (told["vin"], told["seq"])
            for hour in HOURS
            for line in gzip.decompress(hour.body).splitlines()
            for told in [json.loads(line)["record"]]
        ]
        assert len(set(names)) == len(names)

    def test_a_day_swings_as_districts_do(self) -> None:
        monday = dt.datetime(2026, 6, 1, tzinfo=ZoneInfo("UTC"))
        day = [
            backfill.usual_occupancy(CITY, 0.6, monday + dt.timedelta(hours=h)).mean()
            for h in range(24)
        ]
        weekend = [
            backfill.usual_occupancy(CITY, 0.6, monday + dt.timedelta(days=5, hours=h)).mean()
            for h in range(24)
        ]
        assert np.ptp(day) > np.ptp(weekend) > 0.05
        assert 0.5 < np.mean(day) < 0.7
