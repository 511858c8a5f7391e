"""Fleet health: what the archive says, who is connected, who is flagged; AWS by moto."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lambda_fakes import VIN, incoming, record
from moto import mock_aws

from fleet_health import logic, presence
from fleet_health.pipeline import Health
from fleet_health.store import Claims, Flags, PresenceTable, StoreError
from fleet_sim.contract.health import FLEET_ITEM, LifecycleEvent, Presence, UpdateFlag
from telemetry_processor import logic as processor

OTHER = "1FSMZ91C0T0000002"
NOW_MS = 1_780_000_010_000
HOUR_MS = 3_600_000


def archive(*data: Any) -> bytes:
    """As the processor writes it, five seconds after the rule had the messages."""
    records = [incoming(item, at) for at, item in enumerate(data)]
    return processor.archive_body(records, 1_780_000_005_000.0)


class TestSummary:
    def test_counts_what_is_valid_and_the_vehicles_newest(self) -> None:
        spoof = msgspec.structs.replace(record(3, OTHER, soc=0.7), thing=VIN)
        summary = logic.Summary()
        summary.add(archive(record(2, soc=0.4, fw="1.0.0"), record(1, soc=0.9), b"garbage"))
        summary.add(archive(record(1, OTHER, soc=0.8), spoof))
        assert (summary.points, summary.invalid) == (3, 2)
        assert summary.vehicles[VIN] == (record(2).ts, 0.4, "1.0.0")
        assert summary.vehicles[OTHER].soc == 0.8
        metrics = {datum["MetricName"]: datum for _, datum in logic.archive_metrics(summary)}
        assert metrics["DataPoints"]["Value"] == 3
        assert metrics["InvalidRecords"]["Value"] == 2
        battery = metrics["BatteryAverage"]["StatisticValues"]
        assert battery == {"SampleCount": 2, "Sum": pytest.approx(120), "Minimum": 40,
                           "Maximum": 80}  # fmt: skip
        (value,), (count,) = metrics["Latency"]["Values"], metrics["Latency"]["Counts"]
        assert (value, count) == (pytest.approx(5_000, rel=0.05), 3)

    @given(st.floats(0, 3.6e6))
    def test_a_latency_is_told_to_five_percent(self, latency_ms: float) -> None:
        assert logic.latency_class(latency_ms) == pytest.approx(max(latency_ms, 1), rel=0.05)

    def test_classes_of_an_hour_fit_into_two_data(self) -> None:
        summary = logic.Summary()
        for latency_ms in range(1, 3_600_000, 97):
            summary.latencies_ms[logic.latency_class(latency_ms)] += 1
        data = [datum for _, datum in logic.archive_metrics(summary) if "Values" in datum]
        assert all(len(datum["Values"]) <= 150 for datum in data)
        assert sum(map(sum, (datum["Counts"] for datum in data))) == len(range(1, 3_600_000, 97))

    @pytest.mark.parametrize(
        "body",
        [b"no gzip", archive(record())[:-9], gzip.compress(b"{}")],
        ids=["no gzip", "cut off", "no telemetry"],
    )
    def test_another_object_is_refused_whole(self, body: bytes) -> None:
        summary = logic.Summary()
        with pytest.raises(logic.NotAnArchiveError):
            summary.add(body)
        assert summary.points == 0


@pytest.mark.parametrize(
    ("fw", "soc", "flagged"),
    [("1.9.0", 0.3, True), ("1.10.0", 0.9, False), ("2.0.0", 0.9, False), ("1.9.0", 0.29, False),
     ("", 0.9, False), ("unknown", 0.9, False)],
)  # fmt: skip
def test_an_old_firmware_and_enough_charge_are_flagged(fw: str, soc: float, flagged: bool) -> None:
    found = logic.flags([(VIN, logic.Seen(1, soc, fw))], "1.10.0", 0.3, NOW_MS)
    assert found == ([UpdateFlag(VIN, "1.10.0", fw, soc, NOW_MS)] if flagged else [])
    assert logic.flags([(VIN, logic.Seen(1, soc, fw))], "", 0.3, NOW_MS) == []


# --- presence -------------------------------------------------------------------------------------


def event(version: int, kind: str, at_ms: int = 0, vin: str = VIN, **more: Any) -> LifecycleEvent:
    return LifecycleEvent(vin, NOW_MS + at_ms, kind, version, **more)  # type: ignore[arg-type]


# Three connections; the second is taken over by the third, whose beginning comes first.
STORY = [
    event(0, "connected", 0),
    event(0, "disconnected", 1_000, disconnect_reason="CONNECTION_LOST"),
    event(1, "connected", 2_000),
    event(1, "disconnected", 3_100, disconnect_reason="DUPLICATE_CLIENTID"),
    event(2, "connected", 3_000),
]


class TestPresence:
    @given(st.permutations(STORY + STORY[:2]), st.integers(1, 7))
    def test_any_order_and_any_repetition_end_the_same(
        self, events: list[LifecycleEvent], size: int
    ) -> None:
        known: Presence | None = None
        online = lost = 0
        for start in range(0, len(events), size):
            for change in presence.fold({VIN: known}, events[start : start + size]).values():
                known = change.presence
                online += change.online
                lost += change.lost
                # The counts are those of the state, at every moment.
                assert (online, lost) == (known.state == "online", known.state == "lost")
        assert known == Presence("online", 2, NOW_MS + 3_000)

    def test_a_good_bye_is_no_loss(self) -> None:
        left = event(2, "disconnected", 9_000, client_initiated_disconnect=True,
                     disconnect_reason="CLIENT_INITIATED_DISCONNECT")  # fmt: skip
        change = presence.fold({VIN: Presence("online", 2, NOW_MS)}, [left])[VIN]
        assert (change.presence.state, change.online, change.lost) == ("left", -1, 0)

    def test_versions_begin_again_after_an_hour(self) -> None:
        lost = Presence("lost", 7, NOW_MS)
        assert presence.fold({VIN: lost}, [event(0, "connected", 60_000)]) == {}
        change = presence.fold({VIN: lost}, [event(0, "connected", HOUR_MS)])[VIN]
        assert (change.presence.version, change.online, change.lost) == (0, 1, -1)
        # And what is an hour older than what is known is old, whatever its version.
        assert presence.fold({VIN: lost}, [event(9, "connected", -HOUR_MS)]) == {}

    def test_only_vehicles_count(self) -> None:
        body = {"clientId": VIN, "timestamp": 1, "eventType": "connected", "versionNumber": 0,
                "ipAddress": "192.0.2.1", "sessionIdentifier": "s"}  # fmt: skip
        assert presence.decode(json.dumps(body)) == LifecycleEvent(VIN, 1, "connected", 0)
        assert presence.decode(json.dumps(body | {"clientId": "dashboard"})) is None
        with pytest.raises(msgspec.ValidationError):
            presence.decode(json.dumps(body | {"eventType": "connect_failed"}))


# --- with AWS -------------------------------------------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        for table, key in (("presence", "thing"), ("flags", "vin"), ("objects", "id")):
            boto3.client("dynamodb").create_table(
                TableName=table, BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            )  # fmt: skip
        yield


class Cloudwatch:
    """Keeps what is put; fails when told to."""

    def __init__(self) -> None:
        self.data: dict[str, list[float]] = {}
        self.fails = False

    def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:  # noqa: N803
        if self.fails:
            raise ConnectionError("no CloudWatch")
        for datum in MetricData:
            value = datum.get("Value", datum.get("StatisticValues", {}).get("Sum"))
            self.data.setdefault(f"{Namespace}/{datum['MetricName']}", []).append(value)


class Rig:
    def __init__(self, wanted: str = "") -> None:
        self.s3, self.cloudwatch = boto3.client("s3"), Cloudwatch()
        self.s3.create_bucket(Bucket="data")
        self._dynamodb = boto3.client("dynamodb")
        self.now_ms = NOW_MS
        self.presences = PresenceTable(self._dynamodb, "presence", lambda _: None)
        self.health = Health(
            s3=self.s3,
            cloudwatch=self.cloudwatch,
            claims=Claims(self._dynamodb, "objects"),
            presences=self.presences,
            flags=Flags(self._dynamodb, "flags"),
            wanted=wanted,
            min_soc=0.3,
            now_ms=lambda: self.now_ms,
        )

    def store(self, name: str, body: bytes) -> str:
        """Stores an object; answers the body of its event."""
        self.s3.put_object(Bucket="data", Key=f"telemetry/{name}", Body=body)
        detail = {"bucket": {"name": "data"}, "object": {"key": f"telemetry/{name}", "size": 1}}
        return json.dumps({"source": "aws.s3", "detail": detail})

    def flagged(self) -> list[UpdateFlag]:
        items = self._dynamodb.scan(TableName="flags")["Items"]
        return [msgspec.json.decode(item["flag"]["S"], type=UpdateFlag) for item in items]


@pytest.mark.usefixtures("aws")
class TestObjects:
    def test_are_counted_once_however_often_they_are_told_of(self) -> None:
        rig = Rig()
        one, two = rig.store("1", archive(record(1))), rig.store("2", archive(record(2)))
        assert rig.health.archived({"a": one, "b": one}, 1_000).log["repeated"] == 1
        again = rig.health.archived({"c": one, "d": two}, 1_000)
        assert (again.failed, again.log["objects"], again.log["repeated"]) == ({}, 1, 1)
        assert rig.cloudwatch.data["Telemetry/DataPoints"] == [1, 1]

    def test_are_counted_again_by_nobody_while_somebody_does(self) -> None:
        rig = Rig()
        one = rig.store("1", archive(record(1)))
        rig.cloudwatch.fails = True
        with pytest.raises(ConnectionError):
            rig.health.archived({"a": one}, 1_000)
        rig.cloudwatch.fails = False
        assert list(rig.health.archived({"a": one}, 1_000).failed) == ["a"]
        rig.now_ms += 1_001
        assert rig.health.archived({"a": one}, 1_000).failed == {}
        assert rig.cloudwatch.data["Telemetry/DataPoints"] == [1]

    def test_that_are_broken_or_gone_stop_no_others(self) -> None:
        rig = Rig()
        bad, good = rig.store("1", b"no gzip"), rig.store("2", archive(record(1)))
        gone = rig.store("3", b"")
        rig.s3.delete_object(Bucket="data", Key="telemetry/3")
        outcome = rig.health.archived({"a": bad, "b": good, "c": gone, "d": "{"}, 1_000)
        assert outcome.failed.keys() == {"a", "d"}
        assert (outcome.log["objects"], outcome.log["gone"]) == (2, 1)
        assert rig.cloudwatch.data["Telemetry/DataPoints"] == [1]


@pytest.mark.usefixtures("aws")
class TestFlags:
    def test_a_vehicle_is_flagged_once_and_its_flag_goes_with_the_update(self) -> None:
        rig = Rig("1.1.0")
        flag = UpdateFlag(VIN, "1.1.0", "1.0.0", 0.5, NOW_MS)
        for name, fw in (("1", "1.0.0"), ("2", "1.0.0")):
            outcome = rig.health.archived(
                {name: rig.store(name, archive(record(int(name), fw=fw)))}, 1_000
            )
            assert outcome.failed == {}
            rig.now_ms += 1
        assert rig.flagged() == [flag]
        # Another process, which knows of no flag: it reads it.
        again = Rig("1.1.0")
        again.now_ms += 2
        again.health.archived({"3": again.store("3", archive(record(3, fw="1.0.0")))}, 1_000)
        assert again.flagged() == [flag]
        again.health.archived({"0": again.store("0", archive(record(5, fw="")))}, 1_000)
        assert again.flagged() == [flag]
        again.health.archived({"4": again.store("4", archive(record(4, fw="1.1.0")))}, 1_000)
        assert again.flagged() == []


def lifecycle(version: int, kind: str, vin: str = VIN, **more: Any) -> str:
    body = {"clientId": vin, "timestamp": NOW_MS, "eventType": kind, "versionNumber": version}
    return json.dumps(body | more)


@pytest.mark.usefixtures("aws")
class TestPresenceTable:
    def test_counts_are_those_of_the_items(self) -> None:
        rig = Rig()
        vins = [f"1FSMZ91C0T{number:07}" for number in range(120)]
        came = {vin: lifecycle(0, "connected", vin) for vin in vins}
        assert rig.health.connected(came).log["changed"] == 120
        assert rig.health.connected(came).log["changed"] == 0
        went = {vin: lifecycle(0, "disconnected", vin) for vin in vins[:30]}
        went["left"] = lifecycle(0, "disconnected", vins[31], clientInitiatedDisconnect=True)
        went["bad"] = "{}"
        went["other"] = lifecycle(0, "connected", "dashboard")
        outcome = rig.health.connected(went)
        assert outcome.failed.keys() == {"bad"}
        assert outcome.log["others"] == 1
        assert rig.presences.counts() == (89, 30)
        assert rig.health.minute() == {"online": 89, "lost": 30}
        assert rig.cloudwatch.data["FleetHealth/VehiclesOnline"] == [89]
        assert rig.cloudwatch.data["FleetHealth/VehiclesLost"] == [30]

    def test_a_conflict_is_folded_again(self) -> None:
        rig = Rig()
        rivals = [event(1, "connected")]

        def fold(known: Any) -> Any:
            if rivals:  # another process writes between our reading and our writing
                rival = rivals.pop()
                Rig().presences.apply([VIN], lambda k: presence.fold(k, [rival]))
            return presence.fold(known, [event(0, "connected")])

        assert rig.presences.apply([VIN], fold) == 0
        assert rig.presences.counts() == (1, 0)

    def test_conflicts_without_end_are_an_error(self) -> None:
        rig = Rig()

        with pytest.raises(StoreError, match="conflicts"):
            rig.presences.apply([VIN], lambda _: _contended(rig))


def _contended(rig: Rig) -> Any:
    """Somebody writes the vehicle's item after every reading."""
    item = {"thing": {"S": VIN}, "presence": {"S": msgspec.json.encode(
        Presence("online", rig.now_ms, rig.now_ms)).decode()}}  # fmt: skip
    rig.now_ms += 1
    rig._dynamodb.put_item(TableName="presence", Item=item)
    return presence.fold({VIN: None}, [event(0, "connected")])


def test_no_vehicle_has_the_key_of_the_counts() -> None:
    assert presence.decode(lifecycle(0, "connected", FLEET_ITEM)) is None
