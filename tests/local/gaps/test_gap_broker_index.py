"""The MQTT broker's fan-out."""

from __future__ import annotations

import asyncio

import aiomqtt
from gap_harness import GapAws, against_stock, unique
from hypothesis import given
from hypothesis import strategies as st

from fleet_sim.cloud.local.gaps._topics import TopicTree

LEVELS = st.sampled_from(["a", "b", "", "$aws", "events"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join)
PLAIN = st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4)
FILTERS = st.builds(
    lambda levels, more: "/".join([*levels, "#"] if more else levels), PLAIN, st.booleans()
)


def matches(topic_filter: str, topic: str) -> bool:
    """An independent oracle: AWS IoT's matching, one level after the other."""
    if topic.startswith("$aws/events/") and topic_filter[0:1] in ("+", "#"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        if len(levels) <= len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        one in ("+", other) for one, other in zip(wanted, levels, strict=True)
    )


@given(st.lists(FILTERS, max_size=8), st.lists(TOPICS, max_size=4), st.data())
def test_the_tree_matches_as_the_definition_does(
    filters: list[str], topics: list[str], data: st.DataObject
) -> None:
    tree: TopicTree[int] = TopicTree()
    for number, topic_filter in enumerate(filters):
        tree.add(topic_filter, number)
    gone = data.draw(st.sets(st.sampled_from(range(len(filters))))) if filters else set()
    for number in gone:
        tree.discard(filters[number], number)
    for topic in topics:
        expected = {
            number
            for number, topic_filter in enumerate(filters)
            if number not in gone and matches(topic_filter, topic)
        }
        assert sorted(tree.match(topic)) == sorted(expected)


def test_the_empty_tree_keeps_no_branches() -> None:
    tree: TopicTree[int] = TopicTree()
    tree.add("a/b/c", 1)
    tree.discard("a/b/c", 1)
    assert tree._root.children == {}


@against_stock
async def test_subscribing_again_replaces_the_subscription(aws: GapAws) -> None:
    topic = unique("topic")
    async with aws.mqtt() as client:
        await client.subscribe(topic, qos=1)
        await client.subscribe(topic, qos=1)
        await client.publish(topic, b"once", qos=1)
        await client.publish(topic, b"end", qos=1)
        received = [message.payload for message in await aws.received(client, 2)]
    assert received == [b"once", b"end"]


@against_stock
async def test_a_subscriber_that_does_not_read_stalls_no_publisher(aws: GapAws) -> None:
    await stuck(aws, qos=1)


async def test_neither_does_one_with_qos_0(aws: GapAws) -> None:
    await stuck(aws, qos=0)


async def stuck(aws: GapAws, qos: int) -> None:
    topic = unique("topic")
    reader, writer = await asyncio.open_connection(
        aws.endpoints.mqtt_host, aws.endpoints.mqtt_port, ssl=aws.tls(), limit=1024
    )
    name = topic.encode()
    connect = b"\x00\x04MQTT\x04\x02\x00\x3c" + _string(unique("stuck").encode())
    subscribe = b"\x00\x01" + _string(name) + bytes([qos])
    for kind, body in ((0x10, connect), (0x82, subscribe)):
        writer.write(bytes([kind, len(body)]) + body)
    await reader.readexactly(4 + 5)  # CONNACK and SUBACK; from here on, it does not read
    async with aws.mqtt() as publisher:
        for _ in range(100):
            await publisher.publish(topic, bytes(100_000), qos=1, timeout=aws.patience_s)
    writer.transport.abort()


async def test_a_session_that_is_away_gets_its_messages_when_it_is_back(aws: GapAws) -> None:
    topic, name = unique("topic"), unique("vehicle")
    kept = {
        "identifier": name,
        "protocol": aiomqtt.ProtocolVersion.V5,
        "properties": _expires_after(60),
        "clean_start": False,
    }
    async with aws.mqtt(**kept) as client:
        await client.subscribe(f"{topic}/#", qos=1)
    async with aws.mqtt() as publisher:
        await publisher.publish(f"{topic}/x", b"1", qos=1)
        await publisher.publish(f"{topic}/x", b"at most once", qos=0)
        await publisher.publish("elsewhere", b"no", qos=1)
        await publisher.publish(f"{topic}/x", b"2", qos=1)
    async with aws.mqtt(**kept) as client:
        received = await aws.received(client, 2)
        async with aws.mqtt() as publisher:
            await publisher.publish(f"{topic}/x", b"3", qos=1)
        received += await aws.received(client)
    assert [message.payload for message in received] == [b"1", b"2", b"3"]


async def test_a_retained_message_reaches_a_later_exact_subscription_only(aws: GapAws) -> None:
    topic = unique("topic")
    async with aws.mqtt() as client:
        await client.publish(topic, b"kept", qos=1, retain=True)
        await client.subscribe("+", qos=1)
        await client.subscribe(topic, qos=1)
        (message,) = await aws.received(client)
        assert (message.payload, message.retain) == (b"kept", True)
        await client.publish(topic, b"", qos=1, retain=True)
    assert aws.client("iot-data").list_retained_messages()["retainedTopics"] == []


async def test_shadow_and_lifecycle_topics_still_answer(aws: GapAws) -> None:
    thing = unique("thing")
    aws.client("iot").create_thing(thingName=thing)
    async with aws.mqtt(identifier=thing) as client:
        await client.subscribe(f"$aws/things/{thing}/shadow/update/accepted", qos=1)
        await client.subscribe("$aws/events/presence/connected/+", qos=1)
        await client.publish(
            f"$aws/things/{thing}/shadow/update", b'{"state":{"reported":{"a":1}}}', qos=1
        )
        (answer,) = await aws.received(client)
        assert str(answer.topic).endswith("/accepted")
        async with aws.mqtt(identifier="somebody"):
            (event,) = await aws.received(client)
        assert str(event.topic).endswith("/connected/somebody")


def _string(raw: bytes) -> bytes:
    return len(raw).to_bytes(2) + raw


def _expires_after(seconds: int) -> object:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = seconds
    return properties
