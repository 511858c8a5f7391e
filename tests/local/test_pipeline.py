"""The deployed whole on the local AWS: a message goes in by MQTT and is found everywhere."""

import math
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
import msgspec
import pytest

from fleet_sim.cloud import collect, deploy, identities, registry
from fleet_sim.cloud.local import Endpoints
from fleet_sim.cloud.target import Target, open_local
from fleet_sim.contract import (
    FleetSummary,
    RegistrySpot,
    SonarBurst,
    SpotRegistry,
    Telemetry,
    VehiclePage,
    VehicleView,
    telemetry_topic,
)
from fleet_sim.resources import data_dir

VINS = ["1FSMZ91C0T0000001", "1FSMZ91C0T0000002", "1FSMZ91C0T0000003"]
RUN = "20260601T170000Z-test"
LAT, LON = 37.8044, -122.2712
M_LON = 1 / (111_195 * math.cos(math.radians(LAT)))

T = TypeVar("T")
Deployed = tuple[Target, deploy.StackOutputs]


def until(look: Callable[[], T], enough: Callable[[T], bool], timeout_s: float = 120) -> T:
    """Look until it is enough; the last look when time is up, for the assertion to show."""
    end = time.monotonic() + timeout_s
    while not enough(found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def telemetry(vin: str, seq: int, **fields: Any) -> Telemetry:
    values: dict[str, Any] = {
        "ts": 1_780_000_000_000 + seq * 1_000,
        "lat": LAT,
        "lon": LON + 10 * seq * M_LON,
        "speed_mps": 10.0,
        "heading_deg": 90.0,
        "soc": 0.5,
        "mode": "driving",
        "odo_km": 12.0 + 0.01 * seq,
        "fw": "1.0.0",
    }
    return Telemetry(run=RUN, vin=vin, seq=seq, **(values | fields))


@pytest.fixture(scope="module")
def manifest(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> identities.Manifest:
    target, outputs = deployed
    folder = tmp_path_factory.mktemp("identities")
    return identities.provision(target, VINS, folder, policy_name=outputs.vehicle_policy)


REFUSED_S = 5.0
"""aiomqtt notices by its timeout alone that a broker has closed the connection on it."""


def connect(
    manifest: identities.Manifest, vehicle: int, client_id: str = "", timeout_s: float = 60
) -> aiomqtt.Client:
    identity = manifest.identities[vehicle]
    context = ssl.create_default_context(cafile=manifest.ca_file)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    return aiomqtt.Client(
        manifest.mqtt_host,
        manifest.mqtt_port,
        identifier=client_id or identity.vin,
        tls_context=context,
        timeout=timeout_s,
    )


async def publish(
    manifest: identities.Manifest, vehicle: int, *payloads: bytes | Telemetry
) -> None:
    vin = manifest.identities[vehicle].vin
    async with connect(manifest, vehicle) as client:
        for payload in payloads:
            raw = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
            await client.publish(telemetry_topic(vin), raw, qos=1)


def get(outputs: deploy.StackOutputs, path: str) -> bytes:
    with urllib.request.urlopen(outputs.api_url + path, timeout=60) as answer:
        body: bytes = answer.read()
        return body


# A stall that vehicle 0 passes before its second message, and one that nobody passes.
STALLS = [
    RegistrySpot(name, LAT - 3.5 / 111_195, LON + east * M_LON, 90.0, 5.5, 3.5, "1st Street")
    for name, east in (("passed", 15.0), ("unseen", 500.0))
]


@pytest.fixture(scope="module")
async def published(deployed: Deployed, manifest: identities.Manifest) -> None:
    """Three vehicles with four messages each; vehicle 0 passes a parked car.

    All turn off before their last message: a street is judged when it is left.
    """
    registry.upload(*deployed, SpotRegistry("test", STALLS))
    car = SonarBurst("right", 20, [480] * 4 + [170] * 12 + [480] * 4)
    for vehicle, vin in enumerate(VINS):
        sonar = car if vehicle == 0 else None
        await publish(
            manifest,
            vehicle,
            *(telemetry(vin, seq, sonar=sonar) for seq in (1, 2, 4)),
            telemetry(vin, 5, heading_deg=180.0),
        )


@pytest.mark.usefixtures("published")
class TestAMessage:
    def test_is_applied_to_its_vehicle(self, deployed: Deployed) -> None:
        count = until(lambda: collect.applied_count(*deployed, RUN), lambda n: n >= 12)
        assert count == 12
        views = collect.vehicles(*deployed, RUN)
        assert {vin: view.applied for vin, view in views.items()} == dict.fromkeys(VINS, "1-2,4-5")
        view = views[VINS[0]]
        assert view.lon == telemetry(VINS[0], 5).lon
        now_ms = time.time() * 1e3
        assert now_ms - 60_000 < view.arrival_ms <= view.processed_ms + 1
        assert view.processed_ms <= view.stored_ms <= now_ms

    def test_is_in_the_archive_once(self, deployed: Deployed) -> None:
        problems: list[str] = []
        rows = until(
            lambda: list(collect.archive(*deployed, RUN, problems)), lambda r: len(r) >= 12
        )
        assert sorted((row.vin, row.seq) for row in rows) == sorted(
            (vin, seq) for vin in VINS for seq in (1, 2, 4, 5)
        )
        assert len({(row.shard, row.sequence) for row in rows}) == 12
        assert all(row.arrival_ms <= row.processed_ms + 1 for row in rows)
        late = list(collect.archive(*deployed, RUN, since_ms=time.time() * 1e3 + 7_200_000))
        assert late == []

    def test_is_at_the_api(self, deployed: Deployed) -> None:
        outputs = deployed[1]
        answer = until(
            lambda: msgspec.json.decode(get(outputs, f"/vehicles/{VINS[2]}"), type=VehicleView),
            lambda view: view.seq == 5,
        )
        assert answer == collect.vehicles(*deployed, RUN)[VINS[2]]

    def test_counts_in_the_summary(self, deployed: Deployed) -> None:
        outputs = deployed[1]
        # The cloud is other tests', too, whose vehicles count for a day.
        page = msgspec.json.decode(get(outputs, "/vehicles?limit=1000"), type=VehiclePage)
        driving = sum(view.mode == "driving" for view in page.vehicles)
        summary = until(
            lambda: msgspec.json.decode(get(outputs, "/fleet/summary"), type=FleetSummary),
            lambda told: told.driving == driving and told.occupied == 1,
        )
        assert driving >= 3
        assert (summary.vehicles, summary.driving) == (len(page.vehicles), driving)
        age_s = [(summary.as_of_ms - view.processed_ms) / 1e3 for view in page.vehicles]
        fewest, most = (sum(age < limit for age in age_s) for limit in (60, 70))
        assert 3 <= fewest <= summary.online <= most
        assert (summary.spots, summary.occupied, summary.unknown) == (2, 1, 1)

    def test_tells_of_the_stalls_it_passed(self, deployed: Deployed) -> None:
        spots = until(
            lambda: {spot.id: spot for spot in collect.spots(*deployed)},
            lambda found: found["passed"].state != "unknown",
        )
        assert spots.keys() == {"passed", "unseen"}
        assert (spots["passed"].state, spots["unseen"].state) == ("occupied", "unknown")
        assert spots["passed"].last_seen_ms == telemetry(VINS[0], 2).ts
        assert spots["unseen"].last_seen_ms is None

    async def test_that_comes_late_fills_its_gap(
        self, deployed: Deployed, manifest: identities.Manifest
    ) -> None:
        before = until(lambda: collect.vehicles(*deployed, RUN), lambda v: v[VINS[1]].seq == 5)
        late = telemetry(VINS[1], 3)
        await publish(manifest, 1, late, late)
        after = until(
            lambda: collect.vehicles(*deployed, RUN)[VINS[1]], lambda v: v.applied == "1-5"
        )
        assert after == msgspec.structs.replace(before[VINS[1]], applied="1-5")


async def test_poison_is_reported_with_its_reason_and_blocks_nothing(
    deployed: Deployed, manifest: identities.Manifest
) -> None:
    run = RUN + "-poison"
    good = [msgspec.structs.replace(telemetry(VINS[0], seq), run=run) for seq in (1, 2)]
    bad = msgspec.to_builtins(good[0]) | {"soc": 7}
    spoof = msgspec.structs.replace(telemetry(VINS[1], 9), run=run)
    await publish(manifest, 0, good[0], msgspec.json.encode(bad), spoof, good[1])
    view = until(
        lambda: collect.vehicles(*deployed, run).get(VINS[0]), lambda v: bool(v and v.seq == 2)
    )
    assert view is not None
    assert view.applied == "1-2"
    reports = until(lambda: collect.failures(*deployed), lambda found: len(found) >= 2)
    reasons = sorted(report.reason for report in reports)
    assert "$.soc" in reasons[0]
    assert "published by thing" in reasons[1]
    assert {report.source for report in reports} == {"processor"}
    assert b'"soc":7' in b"".join(report.record for report in reports)
    # Reading leaves them there.
    assert len(collect.failures(*deployed)) == len(reports) == 2
    problems: list[str] = []
    assert len(list(collect.archive(*deployed, run, problems))) == 3  # the bad charge has a name
    assert len(problems) == 1
    assert "published by" in problems[0]


class TestAccess:
    async def test_a_vehicle_speaks_only_for_itself(
        self, deployed: Deployed, manifest: identities.Manifest
    ) -> None:
        run = RUN + "-spoof"
        message = msgspec.structs.replace(telemetry(VINS[1], 1), run=run)
        async with connect(manifest, 0, timeout_s=REFUSED_S) as client:
            # AWS acknowledges nothing that the policy denies, and closes the connection.
            with pytest.raises(aiomqtt.MqttError):
                await client.publish(telemetry_topic(VINS[1]), msgspec.json.encode(message), qos=1)
        assert VINS[1] not in collect.vehicles(*deployed, run)

    async def test_a_vehicle_connects_only_under_its_name(
        self, manifest: identities.Manifest
    ) -> None:
        with pytest.raises(aiomqtt.MqttError):
            async with connect(manifest, 0, client_id=VINS[1], timeout_s=REFUSED_S):
                pass


class TestIdentities:
    def test_are_reused_while_the_target_knows_them(
        self, deployed: Deployed, manifest: identities.Manifest
    ) -> None:
        target, outputs = deployed
        folder = Path(manifest.identities[0].key_file).parent
        seen: list[tuple[int, int]] = []
        again = identities.provision(
            target,
            [*VINS, "1FSMZ91C0T0000004"],
            folder,
            policy_name=outputs.vehicle_policy,
            on_progress=lambda done, total: seen.append((done, total)),
        )
        assert again.identities[:3] == manifest.identities
        assert seen == [(3, 4), (4, 4)]
        assert set(identities.Manifest.load(folder).identities) == set(again.identities)
        key = Path(again.identities[3].key_file)
        assert key.stat().st_mode & 0o777 == 0o600
        assert "PRIVATE" not in (folder / identities.MANIFEST).read_text()

    def test_that_the_target_has_forgotten_are_made_anew(
        self, deployed: Deployed, tmp_path: Path
    ) -> None:
        target, outputs = deployed
        vin = "1FSMZ91C0T0000005"
        first = identities.provision(target, [vin], tmp_path, policy_name=outputs.vehicle_policy)
        arn = first.identities[0].certificate_arn
        target.client("iot").detach_policy(policyName=outputs.vehicle_policy, target=arn)
        second = identities.provision(target, [vin], tmp_path, policy_name=outputs.vehicle_policy)
        assert second.identities[0].certificate_arn != arn


class TestRegistry:
    def test_uploading_another_leaves_only_its_spots(self, local_aws: Endpoints) -> None:
        target = open_local(local_aws, "registry")
        outputs = deploy.deploy(target)
        many = [msgspec.structs.replace(STALLS[0], id=f"s{i:02}") for i in range(60)]
        seen: list[tuple[int, int]] = []
        registry.upload(
            target,
            outputs,
            SpotRegistry("a", many),
            on_progress=lambda done, total: seen.append((done, total)),
        )
        assert seen == [(25, 60), (50, 60), (60, 60)]
        assert len(collect.spots(target, outputs)) == 60
        registry.upload(target, outputs, SpotRegistry("b", STALLS))
        assert sorted(spot.id for spot in collect.spots(target, outputs)) == ["passed", "unseen"]
        deploy.delete(target)

    def test_vehicles_of_former_runs_can_be_forgotten(self, local_aws: Endpoints) -> None:
        target = open_local(local_aws, "forgetting")
        outputs = deploy.deploy(target)
        for vin in VINS:
            target.client("dynamodb").put_item(
                TableName=outputs.vehicles_table, Item={"vin": {"S": vin}, "state": {"S": "{}"}}
            )
        assert registry.purge_vehicles(target, outputs) == 3
        assert registry.purge_vehicles(target, outputs) == 0
        deploy.delete(target)


class TestDeploying:
    def test_again_changes_nothing(self, deployed: Deployed) -> None:
        target, outputs = deployed
        events: list[tuple[str, str, str, str]] = []
        again = deploy.deploy(target, on_event=lambda *event: events.append(event))
        assert again == outputs == deploy.outputs(target)
        assert [(name, state) for name, _, state, _ in events] == [
            (f"fleet-sim-{name}", "UNCHANGED") for name in deploy.STACKS
        ]
        assert [stack.status for stack in deploy.status(target)] == ["CREATE_COMPLETE"] * len(
            deploy.STACKS
        )

    def test_a_changed_parameter_is_applied(self, local_aws: Endpoints) -> None:
        target = open_local(local_aws, "changing")
        deploy.deploy(target, parameters={"BatchSize": "100"})
        events: list[tuple[str, str]] = []
        outputs = deploy.deploy(
            target,
            parameters={"BatchSize": "200"},
            on_event=lambda name, _, state, __: events.append((name, state)),
        )
        assert ("TelemetryMapping", "UPDATE_COMPLETE") in events
        mapping = target.client("lambda").get_event_source_mapping(UUID=outputs.mapping)
        assert mapping["BatchSize"] == 200
        deploy.delete(target)

    def test_a_broken_template_names_the_resource_and_why(
        self, local_aws: Endpoints, tmp_path: Path
    ) -> None:
        target = open_local(local_aws, "broken")
        for name in deploy.STACKS:
            text = (data_dir("infra") / f"{name}.yaml").read_text()
            (tmp_path / f"{name}.yaml").write_text(text.replace("Sql: SELECT *", "Sql: SELEKT *"))
        with pytest.raises(deploy.DeployError, match=r"broken-pipeline: .*TelemetryRule .*SELECT"):
            deploy.deploy(target, infra=tmp_path)
        # Repaired, it goes through: what had failed is cleared away first.
        deploy.deploy(target)
        assert [s.status for s in deploy.status(target)] == ["CREATE_COMPLETE"] * len(deploy.STACKS)
        deploy.delete(target)

    def test_an_unknown_parameter_is_refused(self, local_aws: Endpoints) -> None:
        target = open_local(local_aws, "unknown")
        with pytest.raises(deploy.DeployError, match=r"'BatchSise' is in no template .*BatchSize"):
            deploy.deploy(target, parameters={"BatchSise": "1"})
        assert [s.status for s in deploy.status(target)] == ["NOT_DEPLOYED"] * len(deploy.STACKS)

    def test_deleting_leaves_nothing(self, local_aws: Endpoints, tmp_path: Path) -> None:
        target = open_local(local_aws, "passing")
        before = everything(target)
        outputs = deploy.deploy(target)
        registry.upload(target, outputs, SpotRegistry("test", STALLS))
        identities.provision(
            target, ["1FSMZ91C0T0000009"], tmp_path, policy_name=outputs.vehicle_policy
        )
        assert everything(target) != before
        deploy.delete(target)
        assert everything(target) == before
        with pytest.raises(deploy.DeployError, match="passing-pipeline is not deployed"):
            deploy.outputs(target)
        deploy.delete(target)  # once more is no error


def everything(target: Target) -> dict[str, list[str]]:
    """Names of all that a deployment can leave behind."""
    return {
        "tables": sorted(target.client("dynamodb").list_tables()["TableNames"]),
        "streams": sorted(target.client("kinesis").list_streams()["StreamNames"]),
        "buckets": sorted(item["Name"] for item in target.client("s3").list_buckets()["Buckets"]),
        "queues": sorted(target.client("sqs").list_queues().get("QueueUrls", [])),
        "functions": sorted(
            item["FunctionName"] for item in target.client("lambda").list_functions()["Functions"]
        ),
        "mappings": sorted(
            item["UUID"]
            for item in target.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        ),
        "roles": sorted(item["RoleName"] for item in target.client("iam").list_roles()["Roles"]),
        "rules": sorted(
            item["ruleName"] for item in target.client("iot").list_topic_rules()["rules"]
        ),
        "policies": sorted(
            item["policyName"] for item in target.client("iot").list_policies()["policies"]
        ),
        "things": sorted(
            item["thingName"] for item in target.client("iot").list_things()["things"]
        ),
        "certificates": sorted(
            item["certificateId"]
            for item in target.client("iot").list_certificates()["certificates"]
        ),
        "apis": sorted(item["ApiId"] for item in target.client("apigatewayv2").get_apis()["Items"]),
        "logs": sorted(
            item["logGroupName"]
            for item in target.client("logs").describe_log_groups()["logGroups"]
        ),
    }


def test_the_api_answers_problems(deployed: Deployed) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(deployed[1], "/spots?bbox=1")
    assert caught.value.code == 400
    assert caught.value.headers["content-type"] == "application/problem+json"


def test_a_browser_may_ask_first(deployed: Deployed) -> None:
    request = urllib.request.Request(
        deployed[1].api_url + "/spots",
        method="OPTIONS",
        headers={"Origin": "https://map.example", "Access-Control-Request-Method": "GET"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
