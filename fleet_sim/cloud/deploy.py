"""Deploy the templates in `infra/` by change set; the same path for AWS and the local AWS.

Stacks are deployed in the order of `STACKS`. A template's parameter takes, in this order: the
caller's value, the package or bucket it names, the output of the same name of an earlier stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from fleet_sim.cloud import buckets, identities, package, site, stacks
from fleet_sim.cloud.stacks import DeployError, OnEvent
from fleet_sim.cloud.target import Target
from fleet_sim.resources import data_dir

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

STACKS = ("pipeline", "trends", "api", "health", "ota", "site", "alarms")
"""Templates of `infra/`, in the order in which they need each other."""

LOCAL_PARAMETERS: Mapping[str, str] = {
    # The local AWS bills no invocations, so nothing is gained by waiting for a fuller batch.
    "BatchWindowSeconds": "0",
    "LogRetentionDays": "1",
    "RequestsPerSecond": "10000",
    "RequestBurst": "20000",
    # A compressed clock makes hours of a campaign minutes.
    "TickSeconds": "2",
    "EventWindowSeconds": "0",
    # It has no certificate.
    "ViewerProtocol": "allow-all",
    "RequireTls": "false",
}


class StackOutputs(msgspec.Struct, frozen=True):
    """Names of what was deployed."""

    stream: str
    rule: str
    processor: str
    mapping: str
    vehicle_policy: str
    vehicles_table: str
    spots_table: str
    counters_table: str
    data_bucket: str
    failure_queue_url: str
    trends_function: str
    api_function: str
    api_url: str
    """Base URL of the HTTP API, without a slash at the end."""
    site_bucket: str
    site_url: str
    """Where a browser finds the live map, with a slash at the end."""
    health_function: str
    presence_table: str
    flags_table: str
    """Vehicles that need an update: `contract.health.UpdateFlag` as JSON."""
    alarm_topic: str
    """ARN of the SNS topic that hears of every alarm's changes."""
    campaigns_url: str
    """Base URL of the operators' API of campaigns, without a slash at the end: calls are signed."""
    campaigns_table: str
    firmware_bucket: str
    campaign_driver: str
    job_queue_url: str
    operator_policy: str
    """ARN of the policy that lets who has it call that API."""
    operators_topic: str
    """ARN of the SNS topic that hears what becomes of campaigns."""


class StackStatus(msgspec.Struct, frozen=True):
    name: str
    status: str
    """CloudFormation's, or `NOT_DEPLOYED`."""
    reason: str = ""


def stack_name(target: Target, template: str) -> str:
    return f"{target.stack}-{template}"


def artifact_bucket(target: Target) -> str:
    """Bucket of the Lambda packages. It is not in a template: a template needs it to be there."""
    return f"{target.stack}-artifacts-{target.account_id}-{target.region}".lower()


def deploy(
    target: Target,
    *,
    parameters: Mapping[str, str] | None = None,
    on_event: OnEvent = lambda *_: None,
    runtime: package.Runtime | None = None,
    infra: Path | None = None,
) -> StackOutputs:
    """Create or update every stack, and answer what was deployed.

    `parameters` are template parameters by name; one that no template declares is an error. A stack
    without changes is left alone. Raises `DeployError`, `package.PackageError`.
    """
    runtime = runtime or (package.local_runtime() if target.local else package.aws_runtime())
    templates = _templates(infra or data_dir("infra"))
    given = {**(LOCAL_PARAMETERS if target.local else {}), **(parameters or {})}
    _refuse_unknown(given, templates)
    try:
        given = {**_upload_packages(target, runtime, on_event), **given}
        found: dict[str, str] = {}
        for name, (body, declared) in templates.items():
            known = {**found, **given}
            values = {key: known[key] for key in declared if key in known}
            stacks.apply(target, stack_name(target, name), body, values, on_event)
            found.update(stacks.outputs(target, stack_name(target, name)))
        deployed = _stack_outputs(target, found)
        # Without it the Jobs service says nothing; it is a setting of the account and region.
        target.client("iot").update_event_configurations(
            eventConfigurations={"JOB_EXECUTION": {"Enabled": True}}
        )
        if site.publish(target, deployed.site_bucket, _site_config(target, found)):
            on_event("site", "pages", "UPLOADED", deployed.site_url)
    except (ClientError, BotoCoreError) as error:
        raise DeployError(f"{target}: {error}") from error
    return deployed


def outputs(target: Target) -> StackOutputs:
    """What is deployed now. `DeployError` names a stack that is not there."""
    found: dict[str, str] = {}
    for name in STACKS:
        found.update(stacks.outputs(target, stack_name(target, name)))
    return _stack_outputs(target, found)


def status(target: Target) -> list[StackStatus]:
    """Each stack's state, in the order of deployment."""
    answer = []
    for template in STACKS:
        name = stack_name(target, template)
        stack = stacks.describe(target, name)
        if stack is None:
            answer.append(StackStatus(name, "NOT_DEPLOYED"))
        else:
            reason = stack.get("StackStatusReason", "")
            answer.append(StackStatus(name, stack["StackStatus"], reason))
    return answer


def delete(target: Target, *, on_event: OnEvent = lambda *_: None) -> None:
    """Delete the vehicles' identities, what the stacks' buckets hold, the stacks, the packages.

    What is not there is no error: a deletion that broke off is finished by another one. Tables and
    bucket stay if they were deployed with `DataDeletionPolicy: Retain`. Raises `DeployError`,
    `identities.IdentityError`.
    """
    try:
        for template in reversed(STACKS):
            name = stack_name(target, template)
            stack = stacks.describe(target, name)
            if stack is None:
                continue
            held = stacks.outputs(target, name)
            if policy := held.get("VehiclePolicy"):
                # CloudFormation does not delete a policy that certificates still hold.
                identities.remove_all(target, policy_name=policy)
            if (bucket := held.get("DataBucket")) and not _retains_data(stack):
                buckets.empty(target, bucket)
            if (bucket := held.get("FirmwareBucket")) and not _retains_data(stack):
                buckets.empty(target, bucket)
            if bucket := held.get("SiteBucket"):
                buckets.empty(target, bucket)
            stacks.delete(target, name, on_event)
        bucket = artifact_bucket(target)
        if buckets.exists(target, bucket):
            buckets.empty(target, bucket)
            target.client("s3").delete_bucket(Bucket=bucket)
    except (ClientError, BotoCoreError, buckets.BucketError) as error:
        raise DeployError(f"{target}: {error}") from error


def _retains_data(stack: StackTypeDef) -> bool:
    return any(
        item.get("ParameterKey") == "DataDeletionPolicy" and item.get("ParameterValue") == "Retain"
        for item in stack.get("Parameters", ())
    )


# --- templates and packages -----------------------------------------------------------------------


class _TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's YAML for its structure: `!Ref x` and the like become plain values."""


def _intrinsic(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_TemplateLoader.add_multi_constructor("!", _intrinsic)


def _templates(folder: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Template name → body and names of its parameters."""
    found = {}
    for name in STACKS:
        body = (folder / f"{name}.yaml").read_text()
        declared = yaml.load(body, _TemplateLoader).get("Parameters", {})
        found[name] = body, frozenset(declared)
    return found


def _refuse_unknown(
    given: Mapping[str, str], templates: Mapping[str, tuple[str, frozenset[str]]]
) -> None:
    allowed = frozenset().union(*(declared for _, declared in templates.values()))
    for key in given:
        if key not in allowed:
            raise DeployError(
                f"parameter {key!r} is in no template (allowed: {', '.join(sorted(allowed))})"
            )


def _upload_packages(target: Target, runtime: package.Runtime, on_event: OnEvent) -> dict[str, str]:
    """Upload what is not there yet; answers the parameters that name it."""
    bucket = artifact_bucket(target)
    buckets.ensure(target, bucket)
    values = {
        "ArtifactBucket": bucket,
        "Runtime": runtime.lambda_name,
        "Architecture": runtime.architecture,
    }
    s3 = target.client("s3")
    for function in package.FUNCTIONS:
        built = package.build(function, runtime)
        key = f"{function}/{built.sha256}.zip"
        held = s3.list_objects_v2(Bucket=bucket, Prefix=key).get("KeyCount", 0)
        if not held:
            s3.put_object(Bucket=bucket, Key=key, Body=built.file.read_bytes())
            on_event(function, "package", "UPLOADED", f"{built.file.stat().st_size:,} bytes")
        values["".join(part.title() for part in function.split("_")) + "Code"] = key
    return values


def _stack_outputs(target: Target, found: Mapping[str, str]) -> StackOutputs:
    try:
        return StackOutputs(
            stream=found["TelemetryStream"],
            rule=found["TelemetryRule"],
            processor=found["TelemetryProcessor"],
            mapping=found["TelemetryMapping"],
            vehicle_policy=found["VehiclePolicy"],
            vehicles_table=found["VehiclesTable"],
            spots_table=found["SpotsTable"],
            counters_table=found["CountersTable"],
            data_bucket=found["DataBucket"],
            failure_queue_url=found["FailureQueueUrl"],
            trends_function=found["TrendsFunction"],
            api_function=found["ApiFunction"],
            api_url=found["ApiUrl"].rstrip("/"),
            site_bucket=found["SiteBucket"],
            site_url=site.address(target, found["SiteDomain"], found["SiteDistribution"]),
            health_function=found["FleetHealth"],
            presence_table=found["PresenceTable"],
            flags_table=found["FlagsTable"],
            alarm_topic=found["AlarmTopic"],
            campaigns_url=found["CampaignsUrl"].rstrip("/"),
            campaigns_table=found["CampaignsTable"],
            firmware_bucket=found["FirmwareBucket"],
            campaign_driver=found["CampaignDriver"],
            job_queue_url=found["JobQueueUrl"],
            operator_policy=found["OperatorPolicy"],
            operators_topic=found["OperatorsTopic"],
        )
    except KeyError as error:
        raise DeployError(
            f"{target}: output {error} is missing; deploy again with this version"
        ) from None


def _site_config(target: Target, found: Mapping[str, str]) -> site.SiteConfig:
    return site.SiteConfig(
        api=found["ApiUrl"].rstrip("/"),
        version="",
        poll_s=float(found["SitePollSeconds"]),
        stale_s=float(found["SiteStaleSeconds"]),
        region=target.region,
        campaigns=found["CampaignsUrl"].rstrip("/"),
    )
