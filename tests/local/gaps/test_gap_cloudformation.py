"""Template properties that must reach their service."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gap_harness import GapAws, against_stock, archive, unique

TEMPLATE = (Path(__file__).parent / "gap_stack.yaml").read_text()
ECHO = """
import json
def handler(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}
"""


def deploy(aws: GapAws, **parameters: str) -> dict[str, str]:
    """Deploys the stack by a change set; returns its outputs."""
    s3, formation, name = aws.client("s3"), aws.client("cloudformation"), unique("stack")
    name, bucket = name.replace("_", "-"), unique("artifacts").replace("_", "-")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="code.zip", Body=archive(ECHO))
    values = {"Artifacts": bucket} | parameters
    stack = {
        "StackName": name,
        "TemplateBody": TEMPLATE,
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    formation.create_change_set(ChangeSetName="first", ChangeSetType="CREATE", **stack)
    waiting = {"WaiterConfig": {"Delay": 1, "MaxAttempts": 30}}
    ready = formation.get_waiter("change_set_create_complete")
    ready.wait(StackName=name, ChangeSetName="first", **waiting)
    formation.execute_change_set(StackName=name, ChangeSetName="first")
    formation.get_waiter("stack_create_complete").wait(StackName=name, **waiting)
    (described,) = formation.describe_stacks(StackName=name)["Stacks"]
    outputs = {out["OutputKey"]: out["OutputValue"] for out in described["Outputs"]}
    return outputs | {"StackName": name, "Artifacts": bucket}


_stacks: dict[str, dict[str, str]] = {}


@pytest.fixture
def stack(aws: GapAws) -> dict[str, str]:
    """The outputs of the stack, deployed once to each local AWS."""
    url = aws.endpoints.gateway_url
    if url not in _stacks:
        _stacks[url] = deploy(aws)
    return _stacks[url]


def test_a_stack_of_everything_the_backend_needs_is_created(
    aws: GapAws, stack: dict[str, str]
) -> None:
    rule = aws.client("iot").get_topic_rule(ruleName=stack["Rule"])["rule"]
    assert rule["actions"][0]["kinesis"]["partitionKey"] == "${topic(2)}"
    assert rule["errorAction"]["sqs"]["queueUrl"] == stack["Errors"]
    mapping = aws.client("lambda").get_event_source_mapping(UUID=stack["Mapping"])
    assert mapping["MaximumRetryAttempts"] == 3
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    table = aws.client("dynamodb").describe_table(TableName=stack["Table"])["Table"]
    assert table["GlobalSecondaryIndexes"][0]["IndexName"] == "by_cell"
    assert aws.client("iot").get_policy(policyName=stack["Policy"])["policyDocument"]


PROBES: dict[str, tuple[Callable[[GapAws, dict[str, str]], Any], Any]] = {
    "time to live": (
        lambda aws, out: aws.client("dynamodb").describe_time_to_live(TableName=out["Table"])[
            "TimeToLiveDescription"
        ],
        {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"},
    ),
    "point-in-time recovery": (
        lambda aws, out: aws.client("dynamodb").describe_continuous_backups(TableName=out["Table"])[
            "ContinuousBackupsDescription"
        ]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "ENABLED",
    ),
    "table encryption": (
        lambda aws, out: aws.client("dynamodb").describe_table(TableName=out["Table"])["Table"][
            "SSEDescription"
        ]["Status"],
        "ENABLED",
    ),
    "stream encryption": (
        lambda aws, out: aws.client("kinesis").describe_stream_summary(StreamName=out["Stream"])[
            "StreamDescriptionSummary"
        ]["EncryptionType"],
        "KMS",
    ),
    "reserved concurrency": (
        lambda aws, out: (
            aws.client("lambda")
            .get_function_concurrency(FunctionName=out["Function"])
            .get("ReservedConcurrentExecutions")
        ),
        5,
    ),
    "dead-letter queue": (
        lambda aws, out: list(
            aws.client("lambda")
            .get_function_configuration(FunctionName=out["Function"])
            .get("DeadLetterConfig", {})
        ),
        ["TargetArn"],
    ),
    "lifecycle": (
        lambda aws, out: aws.client("s3").get_bucket_lifecycle_configuration(Bucket=out["Archive"])[
            "Rules"
        ][0]["Expiration"],
        {"Days": 30},
    ),
    "stage throttling": (
        lambda aws, out: aws.client("apigatewayv2").get_stage(
            ApiId=out["Api"], StageName="$default"
        )["DefaultRouteSettings"],
        {"ThrottlingBurstLimit": 50, "ThrottlingRateLimit": 100.0},
    ),
    "a disabled mapping": (
        lambda aws, out: [
            aws.client("lambda").get_event_source_mapping(UUID=out["Disabled"]).get(name)
            for name in ("State", "BatchSize")
        ],
        ["Disabled", 100],
    ),
    "its starting time": (
        lambda aws, out: (
            aws.client("lambda")
            .get_event_source_mapping(UUID=out["Disabled"])["StartingPositionTimestamp"]
            .timestamp()
        ),
        1_700_000_000,
    ),
}


@against_stock
@pytest.mark.parametrize("name", PROBES)
def test_a_property_reaches_its_service(aws: GapAws, stack: dict[str, str], name: str) -> None:
    probe, expected = PROBES[name]
    assert probe(aws, stack) == expected


def call(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(url, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, dict(answer.headers), answer.read().decode()


@against_stock
def test_the_http_api_is_reached_at_its_endpoint(aws: GapAws, stack: dict[str, str]) -> None:
    url = f"{stack['ApiEndpoint']}/spots/a%20b?lat=1.5&x=1&x=2"
    status, _, body = call(url)
    event = json.loads(body)
    assert status == 200
    assert event["version"] == "2.0"
    assert event["routeKey"] == "GET /spots/{spot_id}"
    assert event["rawPath"] == "/spots/a b"
    assert event["rawQueryString"] == "lat=1.5&x=1&x=2"
    assert event["pathParameters"] == {"spot_id": "a b"}
    assert event["queryStringParameters"] == {"lat": "1.5", "x": "1,2"}
    assert event["requestContext"]["stage"] == "$default"
    assert event["requestContext"]["http"]["method"] == "GET"
    assert json.loads(call(f"{stack['ApiEndpoint']}/else/where")[2])["routeKey"] == "$default"


@against_stock
def test_a_preflight_is_answered(aws: GapAws, stack: dict[str, str]) -> None:
    host = f"{aws.endpoints.gateway_url}/_aws/execute-api/{stack['Api']}/$default/spots"
    status, headers, _ = call(
        host,
        "OPTIONS",
        **{"Origin": "http://site", "Access-Control-Request-Method": "GET"},
    )
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Access-Control-Allow-Methods"] == "GET,POST"


def test_an_update_changes_and_removes_properties(aws: GapAws) -> None:
    formation, stack = aws.client("cloudformation"), deploy(aws)
    changed = TEMPLATE.replace("Days: 30", "Days: 60").replace("BatchSize: 200", "BatchSize: 300")
    for line in ("ReservedConcurrentExecutions: 5", "PointInTimeRecoveryEnabled: true"):
        changed = changed.replace(line, line.replace("true", "false") if "true" in line else "")
    name = stack["StackName"]
    formation.update_stack(
        StackName=name,
        TemplateBody=changed,
        Parameters=[{"ParameterKey": "Artifacts", "ParameterValue": stack["Artifacts"]}],
        Capabilities=["CAPABILITY_IAM"],
    )
    done = formation.get_waiter("stack_update_complete")
    done.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert PROBES["lifecycle"][0](aws, stack) == {"Days": 60}
    assert PROBES["reserved concurrency"][0](aws, stack) is None
    assert PROBES["point-in-time recovery"][0](aws, stack) == "DISABLED"
    assert PROBES["time to live"][0](aws, stack) == PROBES["time to live"][1]
    mapping = aws.client("lambda").get_event_source_mapping(UUID=stack["Mapping"])
    assert mapping["BatchSize"] == 300
    outputs = formation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    values = {output["OutputKey"]: output["OutputValue"] for output in outputs}
    assert values["ApiEndpoint"] == stack["ApiEndpoint"]
    formation.delete_stack(StackName=name)
    formation.get_waiter("stack_delete_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
