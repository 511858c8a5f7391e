"""Where a run goes: an AWS account and region, or the local AWS on loopback."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from fleet_sim.cloud.local import Endpoints

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

DEFAULT_STACK = "fleet-sim"
POOL = 16
"""HTTP connections a client keeps; as many threads may share one client without queueing."""


class TargetError(RuntimeError):
    """The target cannot be reached or does not accept us; the message is one line for a user."""


@dataclasses.dataclass(frozen=True)
class Target:
    """An AWS account and region, or the local AWS. Hashable; clients are cached and thread-safe."""

    region: str
    account_id: str
    stack: str
    """Prefix of all stack names: `fleet-sim` deploys `fleet-sim-pipeline` and `fleet-sim-api`."""
    mqtt_host: str
    mqtt_port: int
    ca_file: str | None
    """PEM file that verifies the broker; None is the system's trust store."""
    endpoint_url: str | None = None
    """Base URL of every AWS API; None is AWS itself."""

    @property
    def local(self) -> bool:
        return self.endpoint_url is not None

    def __str__(self) -> str:
        place = self.endpoint_url or f"AWS account {self.account_id}"
        return f"{self.stack} in {self.region} at {place}"

    @overload
    def client(self, service: Literal["cloudformation"]) -> CloudFormationClient: ...
    @overload
    def client(self, service: Literal["dynamodb"]) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["iot"]) -> IoTClient: ...
    @overload
    def client(self, service: Literal["kinesis"]) -> KinesisClient: ...
    @overload
    def client(self, service: Literal["lambda"]) -> LambdaClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    @overload
    def client(self, service: Literal["sts"]) -> STSClient: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """A boto3 client of this target, made once and shared by threads."""
        return _client(self.region, service, self.endpoint_url, self.account_id)


@functools.cache
def _client(
    region: str, service: str, endpoint_url: str | None = None, account_id: str = ""
) -> Any:
    """Making a client takes 10-50 ms and is not thread-safe on the shared session: cached."""
    config = Config(
        connect_timeout=5,
        # A change set or a Scan on the local AWS shares its one event loop with the run.
        read_timeout=60,
        max_pool_connections=POOL,
        retries={"total_max_attempts": 10, "mode": "adaptive" if service == "iot" else "standard"},
        s3={"addressing_style": "path"} if endpoint_url else None,
        user_agent_extra="fleet-sim",
    )
    session = boto3.Session(region_name=region)
    if endpoint_url is None:
        return session.client(service, config=config)  # type: ignore[call-overload]
    return session.client(  # type: ignore[call-overload]
        service,
        config=config,
        endpoint_url=endpoint_url,
        # Not the user's own: a mistake in an address must not send them anywhere. To the local AWS
        # an account's number is the key of its root user.
        aws_access_key_id=account_id,
        aws_secret_access_key="local",
    )


def open_local(endpoints: Endpoints, stack: str = DEFAULT_STACK) -> Target:
    """The target of a running local AWS. Touches no network."""
    return Target(
        region=endpoints.region,
        account_id=endpoints.account_id,
        stack=stack,
        mqtt_host=endpoints.mqtt_host,
        mqtt_port=endpoints.mqtt_port,
        ca_file=endpoints.ca_file,
        endpoint_url=endpoints.gateway_url,
    )


def open_aws(region: str | None = None, stack: str = DEFAULT_STACK) -> Target:
    """The target of the account that the usual AWS credentials name.

    Asks STS who we are and IoT for its endpoint. `TargetError` with one line when there are no
    credentials, no region, or AWS refuses them.
    """
    try:
        region = region or boto3.Session().region_name
        if not region:
            raise TargetError(
                "aws: no region (allowed: --region, AWS_REGION, or a region in ~/.aws/config)"
            )
        account_id = _client(region, "sts").get_caller_identity()["Account"]
        answer = _client(region, "iot").describe_endpoint(endpointType="iot:Data-ATS")
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise TargetError(
            f"aws: no usable credentials: {error} (allowed: AWS_PROFILE, AWS_ACCESS_KEY_ID with "
            "AWS_SECRET_ACCESS_KEY, or a role; try `aws sts get-caller-identity`)"
        ) from error
    except ClientError as error:
        detail = error.response.get("Error", {})
        raise TargetError(
            f"aws: {error.operation_name} in {region} was refused: "
            f"{detail.get('Code', 'unknown')}: {detail.get('Message', '')}"
        ) from error
    except BotoCoreError as error:
        raise TargetError(f"aws: {region or 'no region'} cannot be reached: {error}") from error
    return Target(
        region=region,
        account_id=account_id,
        stack=stack,
        mqtt_host=answer["endpointAddress"],
        mqtt_port=8883,
        ca_file=None,
    )
