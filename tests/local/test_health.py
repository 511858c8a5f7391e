"""Fleet health on the local AWS: metrics, presence, flags; the four alarms fire and clear."""

from __future__ import annotations

import gzip
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
import msgspec
import pytest

from fleet_sim.cloud import deploy, identities
from fleet_sim.cloud.local import LocalAws
from fleet_sim.cloud.target import Target, open_local
from fleet_sim.contract import ArchivedRecord, RuleRecord, Telemetry, telemetry_topic
from fleet_sim.contract.health import (
    DATA_POINTS,
    UPDATE_SUCCESS_RATE,
    VEHICLES_ONLINE,
    Metric,
    Presence,
    UpdateFlag,
)

T = TypeVar("T")
Deployed = tuple[Target, deploy.StackOutputs]
VINS = [f"1FSHEA91C0T{number:06}" for number in range(4)]
RUN = "20260601T170000Z-hlth"
WANTED = "1.1.0"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """An account of its own: how many vehicles are connected is a matter of the whole account."""
    folder = tmp_path_factory.mktemp("health-aws")
    before = dict(os.environ)
    os.environ["FLEET_SIM_LOCAL_METRIC_MINUTE_S"] = "2"
    local = LocalAws(Path(folder), enforce_iam=True)
    try:
        target = open_local(local.start())
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        quick = {"HealthWindowSeconds": "1", "CurrentFirmware": WANTED}
        yield target, deploy.deploy(target, parameters=quick)
    finally:
        local.stop()


@pytest.fixture(scope="module")
def manifest(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> identities.Manifest:
    folder = tmp_path_factory.mktemp("health-identities")
    return identities.provision(deployed[0], VINS, folder, policy_name=deployed[1].vehicle_policy)


def until(look: Callable[[], T], good: Callable[[T], bool], timeout_s: float = 120) -> T:
    end = time.monotonic() + timeout_s
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def client(
    manifest: identities.Manifest, vehicle: int, name: str | None = None, timeout_s: float = 60
) -> aiomqtt.Client:
    identity = manifest.identities[vehicle]
    context = ssl.create_default_context(cafile=manifest.ca_file)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    return aiomqtt.Client(
        manifest.mqtt_host, manifest.mqtt_port, identifier=name or identity.vin,
        tls_context=context, timeout=timeout_s,
    )  # fmt: skip


def connection(manifest: identities.Manifest, vehicle: int) -> ssl.SSLSocket:
    """A vehicle's connection without a client: closing it says no good-bye."""
    identity = manifest.identities[vehicle]
    context = ssl.create_default_context(cafile=manifest.ca_file)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    plain = socket.create_connection((manifest.mqtt_host, manifest.mqtt_port), timeout=60)
    made = context.wrap_socket(plain, server_hostname=manifest.mqtt_host)
    name = identity.vin.encode()
    # MQTT 3.1.1: level 4, clean session, keep-alive 60 s.
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2) + name
    made.sendall(b"\x10" + bytes([len(body)]) + body)
    assert made.recv(4) == b"\x20\x02\x00\x00"
    return made


def sum_of(deployed: Deployed, metric: Metric, stat: str = "Sum") -> float:
    now = datetime.now(UTC)
    points = deployed[0].client("cloudwatch").get_metric_statistics(
        Namespace=metric.namespace, MetricName=metric.name, Period=3600, Statistics=[stat],
        StartTime=now - timedelta(hours=2), EndTime=now + timedelta(hours=2),
    )["Datapoints"]  # fmt: skip
    return float(sum(point[stat] for point in points))


def presence(deployed: Deployed, vin: str) -> Presence | None:
    item = deployed[0].client("dynamodb").get_item(
        TableName=deployed[1].presence_table, Key={"thing": {"S": vin}}
    ).get("Item")  # fmt: skip
    return msgspec.json.decode(item["presence"]["S"], type=Presence) if item else None


def invoke(deployed: Deployed, function: str, event: Any) -> dict[str, Any]:
    answer: dict[str, Any] = deployed[0].client("lambda").invoke(
        FunctionName=function, Payload=json.dumps(event)
    )  # fmt: skip
    return answer


def archive(deployed: Deployed, name: str, latency_ms: int) -> None:
    """An object of the archive with one message that took so long."""
    now_ms = int(time.time() * 1e3)
    record = RuleRecord(run=RUN, vin=VINS[0], seq=1, ts=now_ms, lat=0, lon=0, speed_mps=0,
                        heading_deg=0, soc=0.5, mode="parked", thing=VINS[0],
                        iot_ms=now_ms - latency_ms)  # fmt: skip
    line = ArchivedRecord("s", "1", now_ms, now_ms, msgspec.Raw(msgspec.json.encode(record)))
    deployed[0].client("s3").put_object(
        Bucket=deployed[1].data_bucket,
        Key=f"telemetry/dt=2026-06-01/hour=17/{name}.jsonl.gz",
        Body=gzip.compress(msgspec.json.encode(line)),
    )


async def test_telemetry_becomes_metrics_once_and_an_old_firmware_is_flagged(
    deployed: Deployed, manifest: identities.Manifest
) -> None:
    target, outputs = deployed
    for vehicle, fw in ((0, "1.0.0"), (1, WANTED)):
        async with client(manifest, vehicle) as vehicle_client:
            for seq in (1, 2):
                message = Telemetry(
                    run=RUN, vin=VINS[vehicle], seq=seq, ts=int(time.time() * 1e3), lat=0, lon=0,
                    speed_mps=0, heading_deg=0, soc=0.5, mode="parked", fw=fw,
                )  # fmt: skip
                topic = telemetry_topic(VINS[vehicle])
                await vehicle_client.publish(topic, msgspec.json.encode(message), qos=1)
    assert until(lambda: sum_of(deployed, DATA_POINTS), lambda total: total >= 4) == 4
    # S3 tells of an object again when it is written again: by a repeated batch, for example.
    s3 = target.client("s3")
    held = s3.list_objects_v2(Bucket=outputs.data_bucket, Prefix="telemetry/")["Contents"]
    for item in held:
        body = s3.get_object(Bucket=outputs.data_bucket, Key=item["Key"])["Body"].read()
        s3.put_object(Bucket=outputs.data_bucket, Key=item["Key"], Body=body)
    archive(deployed, "after", 10)
    assert until(lambda: sum_of(deployed, DATA_POINTS), lambda total: total >= 5) == 5
    (item,) = target.client("dynamodb").scan(TableName=outputs.flags_table)["Items"]
    flag = msgspec.json.decode(item["flag"]["S"], type=UpdateFlag)
    assert (flag.vin, flag.fw, flag.wanted) == (VINS[0], "1.0.0", WANTED)


async def test_presence_follows_connections(
    deployed: Deployed, manifest: identities.Manifest
) -> None:
    # One that is refused is none, and no failure either (see below).
    with pytest.raises(aiomqtt.MqttError):
        async with client(manifest, 2, "somebody-else", timeout_s=5):
            pass
    async with client(manifest, 2):
        until(lambda: presence(deployed, VINS[2]), lambda p: p is not None and p.state == "online")
        invoke(deployed, deployed[1].health_function, {"source": "aws.events"})
        until(lambda: sum_of(deployed, VEHICLES_ONLINE, "Maximum"), lambda most: most >= 1)
    left = until(lambda: presence(deployed, VINS[2]), lambda p: p is not None and p.state == "left")
    assert left is not None
    assert left.reason == "CLIENT_INITIATED_DISCONNECT"
    held = deployed[0].client("sqs").list_queues()["QueueUrls"]
    (queue,) = (url for url in held if "-PresenceQueue-" in url)
    waiting = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    until(
        lambda: deployed[0].client("sqs").get_queue_attributes(
            QueueUrl=queue, AttributeNames=["All"]
        )["Attributes"],
        lambda known: [known[name] for name in waiting] == ["0", "0"],
    )  # fmt: skip


class Told:
    """What the alarms' topic says, by alarm."""

    def __init__(self, deployed: Deployed) -> None:
        target, topic = deployed[0], deployed[1].alarm_topic
        self._sqs = target.client("sqs")
        self._queue = self._sqs.create_queue(QueueName="alarms-told")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        self._sqs.set_queue_attributes(QueueUrl=self._queue, Attributes={"Policy": policy})
        target.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self._states: dict[str, list[str]] = {}

    def states(self) -> dict[str, list[str]]:
        answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
        for message in answer.get("Messages", ()):
            said = json.loads(json.loads(message["Body"])["Message"])
            # STACK-LogicalId-SUFFIX
            name = said["AlarmName"].split("-")[3]
            self._states.setdefault(name, []).append(said["NewStateValue"])
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return self._states


ALARMS = {
    "TelemetryLatencyAlarm", "ConnectivityAlarm", "UpdateFailuresAlarm", "LambdaErrorsAlarm"
}  # fmt: skip


def test_four_alarms_fire_when_it_breaks_and_clear_when_it_is_mended(
    deployed: Deployed, manifest: identities.Manifest
) -> None:
    target, outputs = deployed
    told = Told(deployed)
    number = 0

    def disturb(latency_ms: int, success: float, event: Any) -> dict[str, list[str]]:
        """One round of a world that is broken, or of one that is not."""
        nonlocal number
        number += 1
        archive(deployed, f"late-{number}", latency_ms)
        target.client("cloudwatch").put_metric_data(
            Namespace=UPDATE_SUCCESS_RATE.namespace,
            MetricData=[{"MetricName": UPDATE_SUCCESS_RATE.name, "Value": success}],
        )
        invoke(deployed, outputs.processor, event)
        invoke(deployed, outputs.health_function, {"source": "aws.events"})
        time.sleep(0.5)
        return told.states()

    def all_last(state: str) -> Callable[[dict[str, list[str]]], bool]:
        def good(states: dict[str, list[str]]) -> bool:
            return {name for name, seen in states.items() if seen[-1] == state} == ALARMS

        return good

    # They are connected, and then they are gone without a word.
    connections = [connection(manifest, vehicle) for vehicle in range(len(VINS))]
    for vin in VINS:
        until(lambda vin=vin: presence(deployed, vin), lambda p: p is not None)
    for one in connections:
        one.close()
    until(lambda: [presence(deployed, vin) for vin in VINS],
          lambda seen: all(p is not None and p.state == "lost" for p in seen))  # fmt: skip
    fired = until(lambda: disturb(9_000, 80.0, {"Records": [{}]}), all_last("ALARM"))
    assert fired.keys() == ALARMS

    connections = [connection(manifest, vehicle) for vehicle in range(len(VINS))]
    until(lambda: [presence(deployed, vin) for vin in VINS],
          lambda seen: all(p is not None and p.state == "online" for p in seen))  # fmt: skip
    cleared = until(lambda: disturb(100, 100.0, {"Records": []}), all_last("OK"))
    assert all(seen[-2:] == ["ALARM", "OK"] for seen in cleared.values())
    for one in connections:
        one.close()


def test_the_dashboard_is_there(deployed: Deployed) -> None:
    cloudwatch = deployed[0].client("cloudwatch")
    (entry,) = cloudwatch.list_dashboards()["DashboardEntries"]
    body = json.loads(
        cloudwatch.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
    )
    assert len(body["widgets"]) == 10
