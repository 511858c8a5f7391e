"""Targets: one line for a user when AWS cannot be used, and no way from loopback to it."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from fleet_sim.cloud import target
from fleet_sim.cloud.local import Endpoints
from fleet_sim.cloud.target import TargetError, open_aws, open_local

ENDPOINTS = Endpoints(
    gateway_url="http://127.0.0.1:9",
    mqtt_host="127.0.0.1",
    mqtt_port=8883,
    ca_file="/ca.pem",
    region="us-east-1",
    account_id="000000000000",
    pid=1,
)


def sts(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    class Client:
        def get_caller_identity(self) -> dict[str, str]:
            if error:
                raise error
            return {"Account": "123456789012"}

        def describe_endpoint(self, endpointType: str) -> dict[str, str]:  # noqa: N803
            assert endpointType == "iot:Data-ATS"
            return {"endpointAddress": "x-ats.iot.eu-west-1.amazonaws.com"}

    monkeypatch.setattr(target, "_client", lambda *_: Client())


def refused() -> Exception:
    detail: Any = {"Error": {"Code": "ExpiredToken", "Message": "The token has expired"}}
    return ClientError(detail, "GetCallerIdentity")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NoCredentialsError(), "no usable credentials"),
        (refused(), "GetCallerIdentity in eu-west-1 was refused: ExpiredToken: The token has"),
        (EndpointConnectionError(endpoint_url="https://sts"), "eu-west-1 cannot be reached"),
    ],
)
def test_aws_that_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    sts(monkeypatch, error)
    with pytest.raises(TargetError) as caught:
        open_aws("eu-west-1")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_region_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(TargetError, match="no region"):
        open_aws()


def test_an_account_is_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    sts(monkeypatch, None)
    opened = open_aws("eu-west-1", "mine")
    assert (opened.account_id, opened.stack, opened.local) == ("123456789012", "mine", False)
    assert (opened.mqtt_host, opened.mqtt_port) == ("x-ats.iot.eu-west-1.amazonaws.com", 8883)
    assert opened.ca_file is None


def test_the_users_credentials_do_not_go_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the user's")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's")
    client = open_local(ENDPOINTS).client("sqs")
    credentials = client._request_signer._credentials
    assert credentials.access_key == "000000000000"
    assert "user" not in credentials.secret_key
    assert client.meta.endpoint_url == "http://127.0.0.1:9"


def test_clients_are_shared() -> None:
    assert open_local(ENDPOINTS).client("sqs") is open_local(ENDPOINTS, "other").client("sqs")
