"""Properties of MQTT 5 on the wire: aliases, limits of the broker, expiry, wills, refusals."""

import mqtt5
import pytest
from broker import Connection
from transport_bench import Bench, message, on_both_loops, until

from fleet_sim.transport import Secret, Will
from fleet_sim.vehicle import Message


def said(bench: Bench) -> list[tuple[str, int | None, bytes]]:
    """Topic, alias and payload of each PUBLISH, as they came over the wire."""
    return [(p.topic, p.topic_alias, p.payload) for p in bench.broker.publishes()]


def to(topic: str, token: int, qos: int = 1) -> Message:
    return Message(token, topic, b"%d" % token, qos)


@on_both_loops
async def test_a_topic_is_said_once_a_connection(bench: Bench) -> None:
    bench.broker.connack = {"topic_alias_max": 2}
    transport = await bench.connected(topic_alias=True)
    for token, topic in enumerate(["a", "a", "b", "a", "c", "b", "c", "a"]):
        transport.publish(0, to(topic, token))
    await until(lambda: len(bench.seen.acked) == 8)
    assert said(bench) == [
        ("a", 1, b"0"),
        ("", 1, b"1"),
        ("b", 2, b"2"),
        ("", 1, b"3"),
        ("c", None, b"4"),  # the broker takes two
        ("", 2, b"5"),
        ("c", None, b"6"),
        ("", 1, b"7"),
    ]
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.online) == 2)
    transport.publish(0, to("b", 8))
    await until(lambda: len(bench.seen.acked) == 9)
    assert said(bench)[-1] == ("b", 1, b"8")  # a new connection knows no alias


@on_both_loops
async def test_no_alias_unless_both_want_it(bench: Bench) -> None:
    transport = await bench.connected(topic_alias=True)  # and the broker takes none
    transport.publish(0, to("a", 0))
    bench.broker.connack = {"topic_alias_max": 9}
    other = await bench.connected(topic_alias=False)
    other.publish(0, to("a", 1))
    await until(lambda: len(bench.seen.acked) == 2)
    assert [(topic, alias) for topic, alias, _ in said(bench)] == [("a", None)] * 2


@on_both_loops
async def test_what_is_sent_again_introduces_its_alias_again(bench: Bench) -> None:
    bench.broker.connack = {"topic_alias_max": 5}
    bench.broker.acknowledge = False
    transport = await bench.connected(topic_alias=True)
    for token in range(3):
        transport.publish(0, to("a", token))
    await until(lambda: len(bench.broker.publishes()) == 3)
    bench.broker.acknowledge = True
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.acked) == 3)
    assert said(bench)[3:] == [("a", 1, b"0"), ("", 1, b"1"), ("", 1, b"2")]


@on_both_loops
async def test_what_is_too_large_is_refused_here_and_the_rest_goes(bench: Bench) -> None:
    bench.broker.connack = {"max_packet_size": 200, "topic_alias_max": 5}
    transport = await bench.connected(topic_alias=True)
    transport.publish(0, message(0, padding=300))
    transport.publish(0, message(1))
    transport.publish(0, message(2, qos=0, padding=300))
    transport.publish(0, message(3))
    await until(lambda: bench.seen.acked == [1, 3])
    reason = "larger than the 200 bytes that the broker takes"
    assert bench.seen.refused == [(0, reason), (2, reason)]
    # The refused one would have introduced the alias: the next one does.
    assert said(bench) == [("t", 1, b"1"), ("", 1, b"3")]
    assert transport.backlog() == (0, 0)


@on_both_loops
async def test_a_packet_of_just_the_size_is_sent(bench: Bench) -> None:
    size = len(
        mqtt5.PublishPacket(
            "t", b"7 " + b"x" * 200, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1
        ).write()
    )
    bench.broker.connack = {"max_packet_size": size}
    transport = await bench.connected()
    transport.publish(0, message(8, padding=201))
    transport.publish(0, message(7, padding=200))
    await until(lambda: bench.seen.acked == [7])
    assert [token for token, _ in bench.seen.refused] == [8]


@on_both_loops
async def test_stored_messages_are_refused_when_they_are_forwarded(bench: Bench) -> None:
    transport = await bench.connected()
    transport.sever(0, "no radio")
    bench.broker.connack = {"max_packet_size": 100}
    for token in range(4):
        transport.publish(0, message(token, padding=300 * (token % 2)))
    transport.restore(0)
    await until(lambda: bench.seen.acked == [0, 2])
    assert [token for token, _ in bench.seen.refused] == [1, 3]
    assert await transport.close(1.0) == []


@on_both_loops
async def test_a_broker_of_qos_0_gets_no_other(bench: Bench) -> None:
    bench.broker.connack = {"max_qos": mqtt5.QoS.AT_MOST_ONCE}
    transport = await bench.connected()
    transport.publish(0, message(0, qos=1))
    transport.publish(0, message(1, qos=0))
    await until(lambda: len(bench.broker.publishes()) == 1)
    assert bench.seen.refused == [(0, "QoS 1, and the broker takes 0 at most")]
    assert bench.broker.tokens() == [1]


@on_both_loops
async def test_every_message_carries_expiry_and_user_properties(bench: Bench) -> None:
    transport = await bench.connected(
        2, message_expiry_s=30, user_properties=(("team", "blue"), ("vehicle", "{vin}"))
    )
    transport.publish(1, message(0))
    await until(lambda: bench.seen.acked == [0])
    (packet,) = bench.broker.publishes()
    assert packet.message_expiry_interval == 30
    assert packet.user_properties == [("team", "blue"), ("vehicle", "v1")]


@on_both_loops
async def test_connect_carries_who_it_is_and_its_will(bench: Bench) -> None:
    await bench.connected(
        2,
        username="fleet/{vin}",
        password=Secret("hunter2"),
        will=Will("w/{vin}", "{vin} is gone", 1, True, 5),
    )
    seen = {p.client_id: p for p in bench.broker.packets(mqtt5.ConnectPacket)}
    for vin, packet in seen.items():
        assert isinstance(packet, mqtt5.ConnectPacket)
        assert (packet.username, packet.password) == (f"fleet/{vin}", b"hunter2")
        assert packet.will is not None
        assert (packet.will.topic, packet.will.will_delay_interval) == (f"w/{vin}", 5)
    assert set(seen) == {"v0", "v1"}


REFUSALS = {
    "password": (
        mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
        {},
        "refused by the broker: bad user name or password (0x86)",
    ),
    "in its words": (
        mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
        {"reason_str": "v0 is\nunknown"},
        "refused by the broker: not authorized (0x87): {vin} is unknown",
    ),
    "elsewhere": (
        mqtt5.ConnAckReasonCode.USE_ANOTHER_SERVER,
        {"server_reference": "other.test:8883"},
        "refused by the broker: use another server (0x9c), go to other.test:8883",
    ),
    "no retained will": (
        mqtt5.ConnAckReasonCode.RETAIN_NOT_SUPPORTED,
        {},
        "refused by the broker: retain not supported (0x9a)",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
@on_both_loops
async def test_a_refusal_says_all_that_the_broker_said(bench: Bench, what: str) -> None:
    bench.broker.refuse, bench.broker.connack, reason = REFUSALS[what]
    transport = bench.transport()
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert set(transport.failures) == {reason}


@on_both_loops
async def test_a_goodbye_says_where_to(bench: Bench) -> None:
    def away(connection: Connection, packet: mqtt5.Packet) -> bool:
        if isinstance(packet, mqtt5.PublishPacket):
            connection.send(
                mqtt5.DisconnectPacket(
                    reason_code=mqtt5.DisconnectReasonCode.SERVER_MOVED,
                    server_reference="other.test",
                )
            )
        return isinstance(packet, mqtt5.PublishPacket)

    transport = await bench.connected()
    bench.broker.on_packet = away
    transport.publish(0, message(1))
    await until(lambda: bench.seen.offline)
    assert bench.seen.offline[0] == (
        0,
        "disconnected by the broker: server moved (0x9d), go to other.test",
    )
