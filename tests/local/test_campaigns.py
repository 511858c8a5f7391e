"""Campaigns on the local AWS, IAM enforced: who may steer one, and what vehicles then get."""

import asyncio
import contextlib
import hashlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fleet_sim.cloud import deploy, identities
from fleet_sim.cloud.target import Target
from fleet_sim.contract.campaign_records import (
    AuditLog,
    CampaignList,
    CampaignView,
    TargetPage,
    parse_job_id,
)
from fleet_sim.contract.jobs import FirmwareJob, jobs_topic

VINS = [f"1FSMZ91C0T000010{i}" for i in range(6)]
IMAGE = b"an image" * 500
Deployed = tuple[Target, deploy.StackOutputs]


class Caller(NamedTuple):
    key: str
    secret: str


def call(
    outputs: deploy.StackOutputs,
    caller: Caller | None,
    method: str,
    path: str,
    body: object = None,
    region: str = "us-east-1",
) -> tuple[int, bytes]:
    """Status and body of a call, signed as `caller` would."""
    data = b"" if body is None else msgspec.json.encode(body)
    request = AWSRequest(method, outputs.campaigns_url + path, data=data)
    request.headers["Content-Type"] = "application/json"
    if caller is not None:
        SigV4Auth(Credentials(*caller), "execute-api", region).add_auth(request)
    sent = urllib.request.Request(
        request.url, data or None, dict(request.headers.items()), method=method
    )
    try:
        with urllib.request.urlopen(sent, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def new_caller(target: Target, name: str, policy_arn: str | None) -> Caller:
    iam = target.client("iam")
    iam.create_user(UserName=name)
    if policy_arn:
        iam.attach_user_policy(UserName=name, PolicyArn=policy_arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Caller(key["AccessKeyId"], key["SecretAccessKey"])


@pytest.fixture(scope="module")
def operator(deployed: Deployed) -> Caller:
    target, outputs = deployed
    return new_caller(target, "operator", outputs.operator_policy)


@pytest.fixture(scope="module")
def manifest(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> identities.Manifest:
    target, outputs = deployed
    folder: Path = tmp_path_factory.mktemp("identities")
    return identities.provision(target, VINS, folder, policy_name=outputs.vehicle_policy)


@pytest.fixture(scope="module")
def firmware(deployed: Deployed) -> dict[str, object]:
    target, outputs = deployed
    target.client("s3").put_object(Bucket=outputs.firmware_bucket, Key="a.img", Body=IMAGE)
    url = f"https://s3.{target.region}.amazonaws.com/{outputs.firmware_bucket}/a.img"
    image = {"target": "a.img", "image_url": url, "metadata_url": url}
    return {"version": "1.1.0", "images": {"": image}}


def campaign(firmware: dict[str, object], **fields: object) -> dict[str, object]:
    return {
        "firmware": firmware,
        "vehicles": [{"thing": vin, "version": "1.0.0"} for vin in VINS],
        **fields,
    }


class Device:
    """The least of a vehicle: takes its job, loads the image, says how it went."""

    def __init__(self, manifest: identities.Manifest, index: int, outcome: dict[str, Any]) -> None:
        self.thing = VINS[index]
        identity = manifest.identities[index]
        context = ssl.create_default_context(cafile=manifest.ca_file)
        context.load_cert_chain(identity.cert_file, identity.key_file)
        self.client = aiomqtt.Client(
            manifest.mqtt_host, manifest.mqtt_port, identifier=self.thing, tls_context=context
        )
        self.outcome = outcome
        self.jobs: list[str] = []
        self.loaded = b""
        self.reported = asyncio.Event()

    async def run(self) -> None:
        async with self.client as client:
            await client.subscribe(jobs_topic(self.thing, "notify-next"), 1)
            await client.subscribe(jobs_topic(self.thing, "start-next/accepted"), 1)
            await self._ask(client)
            async for message in client.messages:
                if message.topic.value.endswith("notify-next"):
                    await self._ask(client)
                    continue
                execution = json.loads(bytes(message.payload)).get("execution")
                if not execution or execution["jobId"] in self.jobs:
                    continue
                self.jobs.append(execution["jobId"])
                job = msgspec.convert(execution["jobDocument"], FirmwareJob)
                self.loaded = await asyncio.to_thread(_load, job.image_url)
                topic = jobs_topic(self.thing, f"{execution['jobId']}/update")
                await client.publish(topic, json.dumps(self.outcome), 1)
                self.reported.set()

    async def _ask(self, client: aiomqtt.Client) -> None:
        await client.publish(jobs_topic(self.thing, "start-next"), b"{}", 1)


def _load(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body


@contextlib.asynccontextmanager
async def driving(devices: list[Device]) -> Any:
    tasks = [asyncio.create_task(device.run()) for device in devices]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def may_send(queue_arn: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


GOOD = {"status": "SUCCEEDED", "statusDetails": {"reason": "installed"}}
BAD = {"status": "FAILED", "statusDetails": {"reason": "boot"}}


async def until(
    outputs: deploy.StackOutputs,
    operator: Caller,
    name: str,
    enough: Callable[[CampaignView], bool],
    timeout_s: float = 120,
) -> CampaignView:
    end = time.monotonic() + timeout_s
    while True:
        status, body = await asyncio.to_thread(call, outputs, operator, "GET", f"/campaigns/{name}")
        assert status == 200, body
        found = msgspec.json.decode(body, type=CampaignView)
        if enough(found) or time.monotonic() > end:
            return found
        await asyncio.sleep(0.2)


class TestWho:
    def test_without_a_signature_nobody_is_heard(self, deployed: Deployed) -> None:
        _, outputs = deployed
        for method, path in [
            ("GET", "/campaigns"),
            ("POST", "/campaigns"),
            ("POST", "/campaigns/x/abort"),
        ]:
            assert call(outputs, None, method, path)[0] == 403

    def test_a_wrong_signature_is_refused(self, deployed: Deployed, operator: Caller) -> None:
        _, outputs = deployed
        forged = operator._replace(secret=operator.secret[::-1])
        assert call(outputs, operator, "GET", "/campaigns")[0] == 200
        assert call(outputs, forged, "GET", "/campaigns")[0] == 403
        assert call(outputs, Caller("AKIAIOSFODNN7EXAMPLE", "x"), "GET", "/campaigns")[0] == 403

    def test_who_was_not_granted_it_is_refused(self, deployed: Deployed) -> None:
        target, outputs = deployed
        stranger = new_caller(target, "stranger", None)
        assert call(outputs, stranger, "GET", "/campaigns")[0] == 403

    def test_nothing_is_run_for_who_is_refused(
        self, deployed: Deployed, operator: Caller, firmware: dict[str, object]
    ) -> None:
        _, outputs = deployed
        assert call(outputs, None, "POST", "/campaigns", campaign(firmware, id="anon"))[0] == 403
        assert call(outputs, operator, "GET", "/campaigns/anon")[0] == 404


async def test_a_good_campaign_from_its_request_to_its_end(
    deployed: Deployed, operator: Caller, manifest: Any, firmware: dict[str, object]
) -> None:
    target, outputs = deployed
    sns, sqs = target.client("sns"), target.client("sqs")
    arn = f"arn:aws:sqs:{target.region}:{target.account_id}:operators"
    queue = sqs.create_queue(QueueName="operators", Attributes={"Policy": may_send(arn)})[
        "QueueUrl"
    ]
    sns.subscribe(TopicArn=outputs.operators_topic, Protocol="sqs", Endpoint=arn)
    devices = [Device(manifest, i, GOOD) for i in range(6)]
    asked = campaign(firmware, id="good", waves={"shares": [0.3, 1.0], "soak_s": 1})
    async with driving(devices):
        status, body = await asyncio.to_thread(call, outputs, operator, "POST", "/campaigns", asked)
        assert status == 201, body
        again, _ = await asyncio.to_thread(call, outputs, operator, "POST", "/campaigns", asked)
        assert again == 200
        seen = await until(outputs, operator, "good", lambda view: view.state == "completed")
    assert seen.state == "completed", seen
    assert [(w.size, w.statuses) for w in seen.waves] == [
        (2, {"succeeded": 2}),
        (4, {"succeeded": 4}),
    ]
    assert (seen.success_rate, seen.in_progress, seen.retries) == (1.0, 0, 0)
    assert all(len(device.jobs) == 1 for device in devices)
    assert all(hashlib.sha256(d.loaded).digest() == hashlib.sha256(IMAGE).digest() for d in devices)
    _, body = call(outputs, operator, "GET", "/campaigns/good/audit")
    entries = msgspec.json.decode(body, type=AuditLog).entries
    assert entries[0].who.endswith(":user/operator")
    assert [e.action for e in entries][-3:] == ["wave ended", "gate passed", "completed"]
    _, body = call(outputs, operator, "GET", "/campaigns")
    assert "good" in {c.id for c in msgspec.json.decode(body, type=CampaignList).campaigns}
    told = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2)
    actions = [json.loads(json.loads(m["Body"])["Message"])["action"] for m in told["Messages"]]
    assert "completed" in actions
    metrics = target.client("cloudwatch").list_metrics(Namespace="OTAUpdates")["Metrics"]
    assert {metric["MetricName"] for metric in metrics} == {"InProgress", "SuccessRate"}


async def test_a_bad_canary_stops_it_before_the_next_wave(
    deployed: Deployed, operator: Caller, manifest: Any, firmware: dict[str, object]
) -> None:
    _, outputs = deployed
    devices = [Device(manifest, i, BAD) for i in range(6)]
    asked = campaign(firmware, id="bad", waves={"shares": [0.1, 1.0], "soak_s": 0})
    async with driving(devices):
        assert call(outputs, operator, "POST", "/campaigns", asked)[0] == 201
        seen = await until(outputs, operator, "bad", lambda view: view.state == "aborted")
        await asyncio.sleep(3)  # longer than a turn: nothing starts any more
    assert (seen.state, seen.reason) == ("aborted", "wave 1: 1 of 1 completed have failed")
    assert sum(len(device.jobs) for device in devices) == 1
    _, body = call(outputs, operator, "GET", "/campaigns/bad/vehicles")
    vehicles = msgspec.json.decode(body, type=TargetPage).vehicles
    assert sorted(v.status for v in vehicles) == ["failed"] + ["waiting"] * 5
    assert [v.reason for v in vehicles if v.status == "failed"] == ["boot"]


async def test_a_pause_holds_a_resume_goes_on_and_a_transient_failure_is_tried_again(
    deployed: Deployed, operator: Caller, manifest: Any, firmware: dict[str, object]
) -> None:
    _, outputs = deployed
    devices = [Device(manifest, i, GOOD) for i in range(6)]
    flaky = devices[0]
    flaky.outcome = {"status": "FAILED", "statusDetails": {"reason": "download"}}
    asked = campaign(
        firmware, id="held", waves={"shares": [1.0], "soak_s": 0},
        retry={"backoff_s": 1, "budget": 1.0},
    )  # fmt: skip
    assert call(outputs, operator, "POST", "/campaigns", asked)[0] == 201
    queued = await until(outputs, operator, "held", lambda view: view.in_progress == 6)
    assert queued.in_progress == 6
    assert call(outputs, operator, "POST", "/campaigns/held/pause")[0] == 202
    held = await until(outputs, operator, "held", lambda view: view.in_progress == 0)
    assert (held.state, held.waves[0].statuses) == ("paused", {"waiting": 6})
    async with driving(devices):
        await asyncio.sleep(3)
        assert not any(device.jobs for device in devices)
        assert call(outputs, operator, "POST", "/campaigns/held/pause")[0] == 409
        assert call(outputs, operator, "POST", "/campaigns/held/resume")[0] == 202
        await until(outputs, operator, "held", lambda view: view.in_progress <= 1)
        await asyncio.wait_for(flaky.reported.wait(), 120)
        flaky.outcome = GOOD
        seen = await until(outputs, operator, "held", lambda view: view.state == "completed")
    assert (seen.state, seen.waves[0].statuses, seen.retries) == ("completed", {"succeeded": 6}, 1)
    assert len(flaky.jobs) == 2
    assert [parse_job_id(name) for name in flaky.jobs] == [("held", 0, 2), ("held", 0, 3)]
