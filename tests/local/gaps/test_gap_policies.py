"""What `enforce_iam` enforces on a device: the fast path of the listener asks the policies too."""

from __future__ import annotations

import json
from collections.abc import Iterator

import aiomqtt
import pytest
from gap_harness import ROLE, GapAws, unique

from fleet_sim.cloud.local import LocalAws

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}",
        },
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:Receive"],
            "Resource": "arn:aws:iot:*:*:topic/fleet/${iot:Connection.Thing.ThingName}/*",
        },
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": "arn:aws:iot:*:*:topicfilter/fleet/${iot:Connection.Thing.ThingName}/*",
        },
    ],
}


@pytest.fixture(scope="module")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GapAws]:
    folder = tmp_path_factory.mktemp("strict")
    with LocalAws(folder / "state", enforce_iam=True) as local:
        yield GapAws(local.endpoints, folder, 5.0)


async def test_a_device_does_what_its_policy_allows_and_no_more(strict_aws: GapAws) -> None:
    iot, thing, policy = strict_aws.client("iot"), unique("thing"), unique("policy")
    certificate = strict_aws.new_certificate()
    iot.create_thing(thingName=thing)
    iot.create_policy(policyName=policy, policyDocument=json.dumps(POLICY))
    described = iot.describe_certificate(certificateId=certificate[0])
    arn = described["certificateDescription"]["certificateArn"]
    iot.attach_thing_principal(thingName=thing, principal=arn)
    strict_aws.use(certificate)
    version = {"protocol": aiomqtt.ProtocolVersion.V5}
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        async with strict_aws.mqtt(identifier=thing, **version):
            pass
    iot.attach_policy(policyName=policy, target=arn)
    stream = strict_aws.stream()
    action = {"kinesis": {"streamName": stream, "roleArn": ROLE, "partitionKey": "${topic()}"}}
    rule = {"sql": "SELECT * FROM 'fleet/+/a'", "actions": [action]}
    strict_aws.client("iam").create_role(RoleName="test", AssumeRolePolicyDocument="{}")
    iot.create_topic_rule(ruleName=unique("rule"), topicRulePayload=rule)
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        async with strict_aws.mqtt(identifier="somebody-else", **version):
            pass
    async with strict_aws.mqtt(identifier=thing, **version) as client:
        await client.subscribe(f"fleet/{thing}/a", qos=1)
        await client.publish(f"fleet/{thing}/a", b"mine", qos=1)
        await client.publish("fleet/other/a", b"not mine", qos=1)
        await client.publish(f"fleet/{thing}/a", b"mine again", qos=1)
        received = await strict_aws.received(client, 2)
    assert [message.payload for message in received] == [b"mine", b"mine again"]
    assert [one["Data"] for one in strict_aws.records(stream)] == [b"mine", b"mine again"]
