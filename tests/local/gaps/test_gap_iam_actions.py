"""What a role must be allowed: as AWS asks for it, and no more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from gap_harness import GapAws, unique

from fleet_sim.cloud.local import LocalAws
from fleet_sim.cloud.local.gaps import SKIP_VARIABLE


@pytest.fixture(scope="module", params=["ours", "stock"])
def strict_aws(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GapAws]:
    """With IAM enforced; `stock` is without this one gap module, and expected to fail."""
    folder = tmp_path_factory.mktemp("iam")
    if request.param == "stock":
        os.environ[SKIP_VARIABLE] = "iam_actions"
    try:
        local = LocalAws(folder / "state", enforce_iam=True)
        endpoints = local.start()
    finally:
        os.environ.pop(SKIP_VARIABLE, None)
    yield GapAws(endpoints, folder, 5.0)
    local.stop()


@pytest.fixture(autouse=True)
def expected(request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["strict_aws"] == "stock":
        request.applymarker(pytest.mark.xfail(strict=True, raises=ClientError))


def user(aws: GapAws, *statements: dict[str, Any]) -> Any:
    """A function that makes clients of a new user who may do this."""
    name, iam = unique("user"), aws.client("iam")
    iam.create_user(UserName=name)
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", **s} for s in statements],
    }
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]

    def client(service: str) -> Any:
        return boto3.client(
            service, endpoint_url=aws.endpoints.gateway_url, region_name=aws.endpoints.region,
            aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
        )  # fmt: skip

    return client


def refused(call: Any, **arguments: Any) -> bool:
    with pytest.raises(ClientError) as info:
        call(**arguments)
    return info.value.response["Error"]["Code"].startswith("AccessDenied")


def test_a_statement_is_asked_for_on_its_table(strict_aws: GapAws) -> None:
    mine, other = unique("mine"), unique("other")
    for table in (mine, other):
        strict_aws.client("dynamodb").create_table(
            TableName=table, BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        )  # fmt: skip
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{mine}"
    clients = user(strict_aws, {"Action": "dynamodb:PartiQLInsert", "Resource": arn})
    call = clients("dynamodb").batch_execute_statement

    def insert(table: str) -> dict[str, str]:
        return {"Statement": f"INSERT INTO \"{table}\" VALUE {{'k': 'a'}}"}

    assert "Error" not in call(Statements=[insert(mine)])["Responses"][0]
    assert refused(call, Statements=[insert(other)])
    assert refused(call, Statements=[insert(mine), insert(other)])
    assert refused(call, Statements=[{"Statement": f"SELECT * FROM \"{mine}\" WHERE k = 'a'"}])
    update = f"UPDATE \"{mine}\" SET x = 1 WHERE k = 'a'"
    assert refused(clients("dynamodb").execute_statement, Statement=update)


def test_a_batch_is_asked_for_as_its_messages(strict_aws: GapAws) -> None:
    queue = strict_aws.queue()
    arn = f"arn:aws:sqs:us-east-1:000000000000:{queue.rpartition('/')[2]}"
    sqs = user(strict_aws, {"Action": "sqs:SendMessage", "Resource": arn})("sqs")
    entries = [{"Id": "1", "MessageBody": "b"}]
    assert sqs.send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]
    assert refused(sqs.send_message_batch, QueueUrl=strict_aws.queue(), Entries=entries)


def test_metrics_are_bounded_by_namespace(strict_aws: GapAws) -> None:
    bound = {"StringEquals": {"cloudwatch:namespace": "Mine"}}
    allowed = {"Action": "cloudwatch:PutMetricData", "Resource": "*", "Condition": bound}
    put = user(strict_aws, allowed)("cloudwatch").put_metric_data
    put(Namespace="Mine", MetricData=[{"MetricName": "m", "Value": 1}])
    assert refused(put, Namespace="Other", MetricData=[{"MetricName": "m", "Value": 1}])
