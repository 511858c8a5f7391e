"""The short way of messages, against a scripted broker: it shows only in what it costs."""

import asyncio
import itertools

import mqtt5
import pytest
from transport_bench import Bench, message, on_both_loops, until

from fleet_sim.transport import NativeTransport

PING = mqtt5.PingReqPacket


async def in_lane(bench: Bench, n: int = 1, **settings: object) -> NativeTransport:
    """A transport whose vehicles have all had a message acknowledged, and take the short way now:
    tokens from -1 downward."""
    transport = await bench.connected(n, **settings)
    for i in range(n):
        transport.publish(i, message(-1 - i))
    await until(lambda: all(transport.lane.lines))
    return transport


def tokens(bench: Bench) -> list[int]:
    """What the broker got after `in_lane`."""
    return [token for token in bench.broker.tokens() if token >= 0]


@on_both_loops
async def test_times_reasons_and_ids_are_those_of_the_long_way(bench: Bench) -> None:
    transport = await in_lane(bench, 3)
    for reason in (0x00, 0x10, 0x87):
        bench.broker.puback_reason = mqtt5.PubAckReasonCode(reason)
        transport.publish_many(range(3), [message(reason * 10 + i) for i in range(3)])
        await until(lambda: transport.backlog() == (0, 0))
        assert all(transport.lane.lines)
    sent = {token: t_ns for token, t_ns, again in bench.seen.sent if not again}
    told = {token: (t_ns, code) for token, t_ns, code in bench.seen.acknowledged if token >= 0}
    assert {token: code for token, (_, code) in told.items()} == {
        reason * 10 + i: reason for reason in (0x00, 0x10, 0x87) for i in range(3)
    }
    assert all(t_ns > sent[token] for token, (t_ns, _) in told.items())
    ids = [p.packet_id for p in bench.broker.publishes("v1")][1:]
    assert all(a != b for a, b in itertools.pairwise(ids))


@on_both_loops
async def test_qos_0_takes_it_too(bench: Bench) -> None:
    transport = await in_lane(bench)
    transport.publish_many([0, 0], [message(1, qos=0), message(2, qos=0)])
    await until(lambda: tokens(bench) == [1, 2])
    assert all(transport.lane.lines)
    assert transport.backlog() == (0, 0)
    assert [p.packet_id for p in bench.broker.publishes()[1:]] == [None, None]


@on_both_loops
async def test_the_next_message_while_one_flies_goes_behind_it(bench: Bench) -> None:
    transport = await in_lane(bench, window=2)
    bench.broker.acknowledge = False
    for token in range(4):
        transport.publish_many([0], [message(token)])
    await until(lambda: len(tokens(bench)) == 2)
    assert transport.backlog() == (2, 2)
    bench.broker.last("v0").release()
    await until(lambda: len(tokens(bench)) == 4)
    bench.broker.last("v0").release()
    await until(lambda: all(transport.lane.lines))
    assert tokens(bench) == [0, 1, 2, 3] == bench.seen.acked[1:]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "forgotten"])
@on_both_loops
async def test_what_flies_when_the_connection_ends_comes_again(bench: Bench, kept: bool) -> None:
    transport = await in_lane(bench)
    bench.broker.acknowledge = False
    bench.broker.keep_sessions = kept
    transport.publish_many([0], [message(1)])
    await until(lambda: len(tokens(bench)) == 1)
    assert transport.lane.lines[0] is not None
    bench.broker.acknowledge = True
    bench.broker.last("v0").cut()
    await until(lambda: bench.seen.acked[1:] == [1])
    first, again = bench.broker.publishes()[1:]
    assert (first.payload, again.duplicate) == (again.payload, kept)
    assert not kept or first.packet_id == again.packet_id


@on_both_loops
async def test_close_gives_back_what_flies(bench: Bench) -> None:
    transport = await in_lane(bench, 2)
    bench.broker.acknowledge = False
    transport.publish_many([0, 1], [message(1), message(2)])
    await until(lambda: len(tokens(bench)) == 2)
    assert transport.backlog() == (2, 0)
    assert [m.token for m in await transport.close(1.0)] == [1, 2]


@on_both_loops
async def test_a_full_socket_gets_the_rest_of_the_packet_first(bench: Bench) -> None:
    transport = await in_lane(bench, window=1_000, store_limit=10_000)
    connection = bench.broker.last("v0")
    connection.stop_reading()
    big = 8_000_000  # more than the buffers of both sides
    transport.publish_many([0], [message(0, padding=big)])
    assert transport.lane.lines[0] is None
    transport.publish_many([0], [message(1)])
    connection.start_reading()
    await until(lambda: bench.seen.acked[1:] == [0, 1])
    assert [len(p.payload) > big for p in bench.broker.publishes()[1:]] == [True, False]


@on_both_loops
async def test_a_puback_of_something_else_is_not_taken_for_it(bench: Bench) -> None:
    transport = await in_lane(bench)
    bench.broker.acknowledge = False
    transport.publish_many([0], [message(1)])
    await until(lambda: len(tokens(bench)) == 1)
    flying = bench.broker.publishes()[-1].packet_id
    bench.broker.last("v0").send(mqtt5.PubAckPacket(flying % 65_535 + 1))
    await until(lambda: transport.lane.lines[0] is None)
    assert transport.backlog() == (1, 0)
    assert bench.seen.acked == [-1]
    bench.broker.last("v0").release()
    await until(lambda: bench.seen.acked == [-1, 1])


@on_both_loops
async def test_another_topic_and_what_the_broker_does_not_take_go_the_long_way(
    bench: Bench,
) -> None:
    bench.broker.connack = {"max_packet_size": 200}
    transport = await in_lane(bench)
    other = message(1)
    other.topic = "elsewhere"
    transport.publish_many([0], [other])
    await until(lambda: bench.seen.acked[1:] == [1])
    transport.publish_many([0], [message(2, padding=300)])
    assert [token for token, _ in bench.seen.refused] == [2]
    assert [p.topic for p in bench.broker.publishes()] == ["t", "elsewhere"]


@on_both_loops
async def test_keepalive_knows_of_it(bench: Bench) -> None:
    """Who writes and hears on the short way needs no ping; who hears nothing there does."""
    transport = await in_lane(bench, keepalive_s=1)
    for token in range(30):
        transport.publish_many([0], [message(token)])
        await asyncio.sleep(0.04)
    assert bench.broker.packets(PING) == []
    bench.broker.acknowledge = False
    transport.publish_many([0], [message(99)])
    await until(lambda: bench.broker.packets(PING))
    assert transport.backlog() == (1, 0)


@on_both_loops
async def test_a_listener_that_raises_ends_its_connection_only(bench: Bench) -> None:
    transport = await in_lane(bench, 2)
    told = bench.seen.on_acknowledged

    def raising(token: int, t_ns: int, reason_code: int) -> None:
        if token == 1:
            raise LookupError("no such row")
        told(token, t_ns, reason_code)

    transport.lane._listener.on_acknowledged = raising  # type: ignore[method-assign]
    transport.publish_many([0, 1], [message(1), message(2)])
    await until(lambda: bench.seen.offline and 2 in bench.seen.acked)
    assert [i for i, _ in bench.seen.offline] == [0]
    with pytest.raises(LookupError, match="no such row"):
        await transport.close(1.0)
    bench.loop_errors.clear()


@on_both_loops
async def test_a_reset_is_met_by_the_next_message(bench: Bench) -> None:
    """The socket refuses it before the loop has told of the end: it is stored, and comes again."""
    transport = await in_lane(bench)
    bench.broker.last("v0").cut(reset=True)
    for token in range(20):
        transport.publish_many([0], [message(token)])
        await asyncio.sleep(0)
    await until(lambda: sorted(set(bench.seen.acked)) == list(range(-1, 20)))
