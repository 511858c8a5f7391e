"""Who may do what, enforced: a vehicle nothing as another, a function nothing beyond its work."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError

from fleet_sim.cloud import buckets, deploy, identities
from fleet_sim.cloud.local import Endpoints
from fleet_sim.cloud.target import Target, open_local
from fleet_sim.contract import Telemetry, telemetry_topic

Deployed = tuple[Target, deploy.StackOutputs]
A, B = "1FSSECA1C0T000001", "1FSSECA1C0T000002"
RUN = "20260601T170000Z-safe"


@pytest.fixture(scope="module")
def deployed(local_aws: Endpoints) -> Iterator[Deployed]:
    """One of its own: what intruders leave in tables and queues is in no other test's way."""
    target = open_local(local_aws, "security")
    yield target, deploy.deploy(target)
    deploy.delete(target)


@pytest.fixture(scope="module")
def manifest(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> identities.Manifest:
    folder = tmp_path_factory.mktemp("security-identities")
    return identities.provision(deployed[0], [A, B], folder, policy_name=deployed[1].vehicle_policy)


def tls(manifest: identities.Manifest, vin: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=manifest.ca_file)
    if vin is not None:
        (identity,) = (one for one in manifest.identities if one.vin == vin)
        context.load_cert_chain(identity.cert_file, identity.key_file)
    return context


def connect(manifest: identities.Manifest, vin: str | None, client_id: str) -> aiomqtt.Client:
    """With the certificate of `vin`, under the name `client_id`."""
    return aiomqtt.Client(
        manifest.mqtt_host, manifest.mqtt_port, identifier=client_id,
        tls_context=tls(manifest, vin), timeout=60, protocol=aiomqtt.ProtocolVersion.V5,
    )  # fmt: skip


async def let_in(manifest: identities.Manifest, vin: str | None, client_id: str) -> bool:
    """Whether the broker answers a CONNECT with an acceptance; False when it ends the connection.
    Not by a client: aiomqtt notices some of those ends by its timeout alone."""
    name = client_id.encode()
    # MQTT 3.1.1: level 4, clean session, keep-alive 60 s.
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2) + name
    try:
        reader, writer = await asyncio.open_connection(
            manifest.mqtt_host, manifest.mqtt_port, ssl=tls(manifest, vin)
        )
        writer.write(b"\x10" + bytes([len(body)]) + body)
        answer = await reader.read(4)
        writer.transport.abort()
    except (ssl.SSLError, ConnectionError):
        return False
    assert answer in (b"", b"\x20\x02\x00\x00"), answer
    return bool(answer)


def telemetry(vin: str, seq: int) -> bytes:
    return msgspec.json.encode(
        Telemetry(run=RUN, vin=vin, seq=seq, ts=int(time.time() * 1e3), lat=0, lon=0, speed_mps=0,
                  heading_deg=0, soc=0.5, mode="parked")
    )  # fmt: skip


async def hears(client: aiomqtt.Client, topic: str) -> bool:
    """False when it was refused, or the client cut off."""
    try:
        granted = await client.subscribe(topic, qos=1)
    except aiomqtt.MqttError:
        return False
    return not any(code.is_failure for code in granted)


class TestVehicles:
    @pytest.mark.parametrize(("certificate", "name"), [(A, B), (A, "dashboard"), (None, A)])
    async def test_connect_under_their_own_name_only(
        self, manifest: identities.Manifest, certificate: str | None, name: str
    ) -> None:
        assert not await let_in(manifest, certificate, name)
        assert await let_in(manifest, A, A)

    @pytest.mark.parametrize(
        "topic",
        [
            f"fleet/{B}/telemetry", "fleet/+/telemetry", "fleet/#", "#", f"fleet/{B}/commands/#",
            f"$aws/things/{B}/jobs/#", "$aws/things/+/jobs/#", f"$aws/things/{B}/shadow/#",
            f"$aws/things/{A}/shadow/update/accepted", "$aws/events/#",
            "$aws/events/presence/connected/+",
        ],
    )  # fmt: skip
    async def test_hear_nothing_of_others(self, manifest: identities.Manifest, topic: str) -> None:
        async with connect(manifest, A, A) as client:
            assert not await hears(client, topic)

    async def test_hear_what_is_theirs(self, manifest: identities.Manifest) -> None:
        async with connect(manifest, A, A) as client:
            for topic in (f"fleet/{A}/commands/#", f"$aws/things/{A}/jobs/notify-next"):
                assert await hears(client, topic), topic

    @pytest.mark.parametrize(
        "topic",
        [telemetry_topic(B), f"$aws/things/{B}/jobs/start-next", f"fleet/{A}/commands/stop",
         f"fleet/{B}/commands/stop", f"$aws/events/presence/connected/{B}",
         f"$aws/rules/anything/fleet/{B}/telemetry"],
    )  # fmt: skip
    async def test_say_nothing_as_others(
        self, deployed: Deployed, manifest: identities.Manifest, topic: str
    ) -> None:
        """What A says on another's topic reaches nobody: neither B nor the stream nor presence."""
        heard: list[str] = []

        async def listen(client: aiomqtt.Client) -> None:
            async for message in client.messages:
                heard.append(str(message.topic))

        async with connect(manifest, B, B) as other:
            await other.subscribe(f"fleet/{B}/commands/#", qos=1)
            await other.subscribe(f"$aws/things/{B}/jobs/#", qos=1)
            listening = asyncio.create_task(listen(other))
            before = len(records(deployed))
            try:
                async with connect(manifest, A, A) as client:
                    await client.publish(topic, telemetry(B, 1), qos=1)
                    await client.publish(topic, telemetry(B, 2), qos=0)
            except aiomqtt.MqttError:
                pass  # cut off, as AWS does
            await asyncio.sleep(0.3)
            listening.cancel()
        assert heard == []
        assert len(records(deployed)) == before

    async def test_a_revoked_certificate_connects_no_more(
        self, deployed: Deployed, tmp_path: Path
    ) -> None:
        target, outputs = deployed
        vin = "1FSSECA1C0T000003"
        made = identities.provision(target, [vin], tmp_path, policy_name=outputs.vehicle_policy)
        assert await let_in(made, vin, vin)
        target.client("iot").update_certificate(
            certificateId=made.identities[0].certificate_arn.rpartition("/")[2],
            newStatus="REVOKED",
        )
        assert not await let_in(made, vin, vin)


def records(deployed: Deployed) -> list[dict[str, Any]]:
    """Records of the stream that speak of B."""
    kinesis, found = deployed[0].client("kinesis"), []
    for shard in kinesis.list_shards(StreamName=deployed[1].stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=deployed[1].stream, ShardId=shard["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]  # fmt: skip
        found += kinesis.get_records(ShardIterator=iterator)["Records"]
    return [one for one in found if B.encode() in one["Data"]]


# --- functions ------------------------------------------------------------------------------------

PROBE = """
import boto3, json
from botocore.exceptions import ClientError
def handler(event, context):
    said = {}
    for name, (service, operation, arguments) in event.items():
        try:
            getattr(boto3.client(service), operation)(**arguments)
            said[name] = "done"
        except ClientError as error:
            said[name] = error.response["Error"]["Code"]
    return said
"""


def calls(target: Target, out: deploy.StackOutputs) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """What an intruder in a function might try."""
    data = out.data_bucket
    thing = f"arn:aws:iot:{target.region}:{target.account_id}:thing/none"
    found: dict[str, tuple[str, str, dict[str, Any]]] = {
        "archive": ("s3", "put_object", {"Bucket": data, "Key": "telemetry/probe"}),
        "change registry": ("s3", "put_object", {"Bucket": data, "Key": "registry/probe"}),
        "read registry": ("s3", "get_object", {"Bucket": data, "Key": "registry/none"}),
        "read archive": ("s3", "get_object", {"Bucket": data, "Key": "telemetry/none"}),
        "delete archive": ("s3", "delete_object", {"Bucket": data, "Key": "telemetry/probe"}),
        "list data": ("s3", "list_objects_v2", {"Bucket": data}),
        "open data": ("s3", "delete_public_access_block", {"Bucket": data}),
        "read packages": ("s3", "list_objects_v2", {"Bucket": deploy.artifact_bucket(target)}),
        "change pages": ("s3", "put_object", {"Bucket": out.site_bucket, "Key": "probe"}),
        "report failure": ("sqs", "send_message",
                           {"QueueUrl": out.failure_queue_url, "MessageBody": "probe"}),
        "read failures": ("sqs", "receive_message", {"QueueUrl": out.failure_queue_url}),
        "read stream": ("kinesis", "list_shards", {"StreamName": out.stream}),
        "write stream": ("kinesis", "put_record",
                         {"StreamName": out.stream, "Data": "probe", "PartitionKey": "p"}),
        "fleet metric": ("cloudwatch", "put_metric_data",
                         {"Namespace": "FleetHealth", "MetricData": []}),
        "other metric": ("cloudwatch", "put_metric_data",
                         {"Namespace": "OTAUpdates", "MetricData": []}),
        "silence alarms": ("cloudwatch", "delete_alarms", {"AlarmNames": ["none"]}),
        "tell alarm": ("sns", "publish", {"TopicArn": out.alarm_topic, "Message": "probe"}),
        "call function": ("lambda", "invoke", {"FunctionName": out.api_function}),
        "change function": ("lambda", "delete_function", {"FunctionName": "none"}),
        "read firmware": ("s3", "get_object", {"Bucket": out.firmware_bucket, "Key": "none"}),
        "change firmware": ("s3", "put_object", {"Bucket": out.firmware_bucket, "Key": "probe"}),
        "make job": ("iot", "create_job", {"jobId": "probe", "targets": [thing], "document": "{}"}),
        "tell operators": ("sns", "publish",
                           {"TopicArn": out.operators_topic, "Message": "probe"}),
        "queue job": ("sqs", "send_message",
                      {"QueueUrl": out.job_queue_url, "MessageBody": "probe"}),
        "list roles": ("iam", "list_roles", {}),
        "make certificate": ("iot", "create_keys_and_certificate", {}),
        "list things": ("iot", "list_things", {}),
        "read secrets": ("secretsmanager", "list_secrets", {}),
    }  # fmt: skip
    tables = {"vehicles": (out.vehicles_table, "vin"), "spots": (out.spots_table, "id"),
              "presence": (out.presence_table, "thing"), "flags": (out.flags_table, "vin"),
    }  # fmt: skip
    for name, (table, key) in tables.items():
        item, one = {key: {"S": "probe"}}, {"TableName": table}
        found |= {
            f"get {name}": ("dynamodb", "get_item", one | {"Key": item}),
            f"put {name}": ("dynamodb", "put_item", one | {"Item": item}),
            f"delete {name}": ("dynamodb", "delete_item", one | {"Key": item}),
            f"scan {name}": ("dynamodb", "scan", one | {"Limit": 1}),
            f"drop {name}": ("dynamodb", "delete_table", {"TableName": f"{table}-none"}),
            f"batch get {name}": ("dynamodb", "batch_get_item",
                                  {"RequestItems": {table: {"Keys": [item]}}}),
            f"batch write {name}": ("dynamodb", "batch_write_item",
                                    {"RequestItems": {table: [{"DeleteRequest": {"Key": item}}]}}),
            f"insert {name}": ("dynamodb", "batch_execute_statement", {"Statements": [
                {"Statement": f"INSERT INTO \"{table}\" VALUE {{'{key}': 'probe'}}"}]}),
            f"select {name}": ("dynamodb", "batch_execute_statement", {"Statements": [
                {"Statement": f"SELECT * FROM \"{table}\" WHERE {key} = 'probe'"}]}),
        }  # fmt: skip
    return found


ALLOWED = {
    "processor": {
        "archive", "read registry", "list data", "report failure", "read stream",
        "batch get vehicles", "insert vehicles", "batch get spots", "insert spots",
    },
    "health_function": {
        "read archive", "list data", "fleet metric",
        "get presence", "put presence", "batch get presence",
        "batch get flags", "batch write flags",
    },
    "trends_function": {"read registry", "read archive", "list data"},
    "campaign_driver": {
        "batch get vehicles", "scan vehicles", "batch get flags", "scan flags", "make job",
        "tell operators", "other metric",
    },
    "api_function": {
        "read registry", "list data", "get vehicles", "scan vehicles", "get spots",
    },
}  # fmt: skip


@pytest.mark.parametrize("function", ALLOWED)
def test_a_function_does_its_work_and_nothing_beyond(deployed: Deployed, function: str) -> None:
    """Another function with the same role tries everything."""
    target, outputs = deployed
    client = target.client("lambda")
    configuration = client.get_function_configuration(FunctionName=getattr(outputs, function))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("probe.py", PROBE)
    name = f"probe-{function}"
    client.create_function(
        FunctionName=name, Role=configuration["Role"], Runtime=configuration["Runtime"],
        Handler="probe.handler", Code={"ZipFile": packed.getvalue()}, Timeout=60,
    )  # fmt: skip
    try:
        answer = client.invoke(
            FunctionName=name, Payload=json.dumps(calls(target, outputs)).encode()
        )
        said = json.loads(answer["Payload"].read())
    finally:
        client.delete_function(FunctionName=name)
    assert "errorMessage" not in said, said
    denied = {call for call, result in said.items() if result in DENIALS}
    assert said.keys() - denied == ALLOWED[function]


DENIALS = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthorizationErrorException",
}


# --- buckets --------------------------------------------------------------------------------------


def test_buckets_are_private_and_encrypted(deployed: Deployed) -> None:
    target, outputs = deployed
    s3 = target.client("s3")
    for bucket in (outputs.data_bucket, outputs.site_bucket, deploy.artifact_bucket(target)):
        access = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert all(access.values()), bucket
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"][
            "Rules"
        ]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256", bucket


def test_plain_http_is_refused_where_tls_is_required(deployed: Deployed) -> None:
    """The policy that AWS gets, on a bucket of the local AWS, which speaks nothing else."""
    target = deployed[0]
    s3, iam, bucket = target.client("s3"), target.client("iam"), "tls-only"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="held")
    # Root is let through here, whatever a policy says.
    iam.create_user(UserName=bucket)
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    iam.put_user_policy(
        UserName=bucket, PolicyName="all",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allow}),
    )  # fmt: skip
    key = iam.create_access_key(UserName=bucket)["AccessKey"]
    reader = boto3.client(
        "s3", endpoint_url=target.endpoint_url, region_name=target.region,
        aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
    )  # fmt: skip
    reader.get_object(Bucket=bucket, Key="held")
    policy = json.dumps(buckets.tls_only(target.region, bucket))
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    with pytest.raises(ClientError) as info:
        reader.get_object(Bucket=bucket, Key="held")
    assert info.value.response["Error"]["Code"] == "AccessDenied"
