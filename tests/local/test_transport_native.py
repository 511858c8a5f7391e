"""The native transport against a scripted broker: messages, sessions, windows, keepalive."""

import asyncio
import random
import time

import mqtt5
import pytest
from broker import Connection
from transport_bench import Bench, message, on_both_loops, once_each, until

from fleet_sim.vehicle import Backoff, InvalidTransitionError

CONNECT, PING = mqtt5.ConnectPacket, mqtt5.PingReqPacket


@on_both_loops
async def test_a_message_is_told_sent_and_acknowledged_with_times_and_reason(bench: Bench) -> None:
    bench.broker.puback_reason = mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
    transport = await bench.connected()
    for token in (7, 8, 9):
        transport.publish(0, message(token))
    await until(lambda: len(bench.seen.acknowledged) == 3)
    assert [(token, again) for token, _, again in bench.seen.sent] == [
        (7, False),
        (8, False),
        (9, False),
    ]
    assert [(token, code) for token, _, code in bench.seen.acknowledged] == [
        (t, 0x10) for t in (7, 8, 9)
    ]
    sent = {token: t_ns for token, t_ns, _ in bench.seen.sent}
    assert all(t_ns > sent[token] for token, t_ns, _ in bench.seen.acknowledged)
    assert bench.broker.tokens() == [7, 8, 9]
    assert await transport.close(1.0) == []
    assert bench.broker.packets(mqtt5.DisconnectPacket)


@on_both_loops
async def test_qos_0_is_sent_and_never_awaited(bench: Bench) -> None:
    transport = await bench.connected()
    transport.publish(0, message(1, qos=0))
    await until(lambda: bench.broker.tokens() == [1])
    assert [token for token, _, _ in bench.seen.sent] == [1]
    assert transport.backlog() == (0, 0)
    assert bench.seen.acknowledged == []


@on_both_loops
async def test_only_the_first_connect_starts_clean(bench: Bench) -> None:
    """A session that an earlier run left at the broker is not ours (MQTT 5, 3.2.2.1.1); one of this
    run is."""
    bench.broker.sessions.add("v0")
    await bench.connected()
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.online) == 2)
    connects = bench.broker.packets(CONNECT)
    assert [packet.clean_start for packet in connects] == [True, False]


@on_both_loops
async def test_a_kept_session_gets_duplicates_with_their_ids_then_what_was_stored(
    bench: Bench,
) -> None:
    bench.broker.acknowledge = False
    transport = await bench.connected()
    for token in (1, 2, 3):
        transport.publish(0, message(token))
    await until(lambda: len(bench.broker.publishes()) == 3)
    bench.broker.acknowledge = True
    bench.broker.last("v0").cut()
    await until(lambda: bench.seen.offline)
    transport.publish(0, message(4))
    await until(lambda: len(bench.seen.acknowledged) == 4)
    first, again = bench.broker.publishes()[:3], bench.broker.publishes()[3:]
    assert [p.packet_id for p in again[:3]] == [p.packet_id for p in first]
    assert [p.duplicate for p in first + again] == [False] * 3 + [True] * 3 + [False]
    assert bench.broker.tokens() == [1, 2, 3, 1, 2, 3, 4]
    assert bench.seen.acked == [1, 2, 3, 4]


@on_both_loops
async def test_a_forgotten_session_gets_the_same_messages_as_new_ones_in_order(
    bench: Bench,
) -> None:
    bench.broker.acknowledge = False
    bench.broker.keep_sessions = False
    transport = await bench.connected()
    for token in (1, 2, 3):
        transport.publish(0, message(token))
    await until(lambda: len(bench.broker.publishes()) == 3)
    bench.broker.acknowledge = True
    bench.broker.last("v0").cut()
    await until(lambda: bench.seen.offline)
    transport.publish(0, message(4))
    await until(lambda: len(bench.seen.acknowledged) == 4)
    assert bench.broker.tokens() == [1, 2, 3, 1, 2, 3, 4]
    assert not any(packet.duplicate for packet in bench.broker.publishes())
    assert bench.seen.acked == [1, 2, 3, 4]


@on_both_loops
async def test_what_a_listener_publishes_on_coming_online_does_not_overtake(bench: Bench) -> None:
    bench.broker.acknowledge = False
    transport = await bench.connected()
    transport.publish(0, message(1))
    await until(lambda: len(bench.broker.publishes()) == 1)
    bench.seen.on_online = lambda i: transport.publish(i, message(2))  # type: ignore[method-assign]
    bench.broker.acknowledge = True
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.acknowledged) == 2)
    assert bench.broker.tokens() == [1, 1, 2]


@on_both_loops
async def test_the_receive_maximum_bounds_what_is_unacknowledged(bench: Bench) -> None:
    bench.broker.receive_maximum = 3
    bench.broker.acknowledge = False
    transport = await bench.connected()
    for token in range(10):
        transport.publish(0, message(token))
    await until(lambda: len(bench.broker.publishes()) == 3)
    assert transport.backlog() == (3, 7)
    while len(bench.seen.acknowledged) < 10:
        bench.broker.last("v0").release()
        await asyncio.sleep(0.005)
    assert bench.broker.most_unacknowledged == 3
    assert bench.broker.tokens() == list(range(10))


@on_both_loops
async def test_a_receive_maximum_that_shrank_holds_for_what_is_resent_too(bench: Bench) -> None:
    """It is set anew by each CONNACK (MQTT 5, 4.9), and duplicates count."""
    bench.broker.acknowledge = False
    transport = await bench.connected()
    for token in range(10):
        transport.publish(0, message(token))
    await until(lambda: len(bench.broker.publishes()) == 10)
    bench.broker.receive_maximum = 4
    bench.broker.most_unacknowledged = 0
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.online) == 2)
    transport.publish(0, message(10))
    await until(lambda: len(bench.broker.publishes()) >= 14)
    while len(bench.seen.acknowledged) < 11:
        bench.broker.last("v0").release()
        await asyncio.sleep(0.005)
    assert bench.broker.most_unacknowledged == 4
    assert bench.broker.tokens()[10:] == list(range(11))
    assert bench.seen.acked == list(range(11))


@on_both_loops
async def test_the_store_is_bounded_and_each_eviction_is_told(bench: Bench) -> None:
    bench.broker.acknowledge = False
    transport = await bench.connected(window=2, store_limit=3)
    for token in range(8):
        transport.publish(0, message(token))
    assert bench.seen.evicted == [2, 3, 4]
    assert transport.backlog() == (2, 3)
    await until(lambda: len(bench.broker.publishes()) == 2)
    left = await transport.close(1.0)
    assert [m.token for m in left] == [0, 1, 5, 6, 7]


@on_both_loops
async def test_a_full_socket_stores_and_later_flushes_in_order(bench: Bench) -> None:
    transport = await bench.connected(window=1_000, store_limit=10_000)
    connection = bench.broker.last("v0")
    connection.stop_reading()
    total = 0
    while not transport.backlog()[1]:
        for _ in range(20):
            transport.publish(0, message(total, padding=60_000))
            total += 1
        assert total < 1_000, "the socket never filled"
        await asyncio.sleep(0)
    stored = transport.backlog()[1]
    assert len(bench.seen.sent) == total - stored
    connection.start_reading()
    await until(lambda: len(bench.seen.acknowledged) == total)
    assert bench.broker.tokens() == list(range(total))
    assert bench.seen.acked == list(range(total))


@on_both_loops
async def test_a_full_socket_does_not_hide_that_the_broker_has_gone(bench: Bench) -> None:
    """FIN while bytes wait: nobody will read them, so it is no reason to linger."""
    transport = await bench.connected(window=1_000, store_limit=10_000)
    connection = bench.broker.last("v0")
    connection.stop_reading()
    while not transport.backlog()[1]:
        transport.publish(0, message(len(bench.seen.sent), padding=60_000))
        await asyncio.sleep(0)
    connection.finish()
    await until(lambda: bench.seen.offline)
    assert bench.seen.offline == [(0, "closed by the broker")]


@on_both_loops
async def test_split_packets_are_put_together(bench: Bench) -> None:
    bench.broker.byte_by_byte = True
    transport = await bench.connected()
    for token in range(3):
        transport.publish(0, message(token))
    await until(lambda: len(bench.seen.acknowledged) == 3)
    bench.broker.last("v0").send(mqtt5.PublishPacket("down", b"x" * 20))
    await until(lambda: bench.seen.messages)
    assert bench.seen.messages[0][1].payload == b"x" * 20
    assert transport.failures == {}


@on_both_loops
async def test_an_inbound_message_is_delivered_and_acknowledged(bench: Bench) -> None:
    await bench.connected(2)
    bench.broker.last("v1").send(
        mqtt5.PublishPacket("down/v1", b"hello", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=77)
    )
    bench.broker.last("v1").send(mqtt5.PublishPacket("down/v1", b"bye"))
    await until(lambda: len(bench.seen.messages) == 2)
    assert [(i, p.topic, p.payload) for i, p in bench.seen.messages] == [
        (1, "down/v1", b"hello"),
        (1, "down/v1", b"bye"),
    ]
    await until(lambda: bench.broker.packets(mqtt5.PubAckPacket))
    assert [p.packet_id for p in bench.broker.packets(mqtt5.PubAckPacket)] == [77]


# -- keepalive ------------------------------------------------------------------------------------


@on_both_loops
async def test_an_idle_connection_is_kept_alive_by_pings(bench: Bench) -> None:
    transport = await bench.connected(keepalive_s=1)
    await until(lambda: len(bench.broker.packets(PING)) == 3)
    assert transport.failures == {}
    assert bench.broker.packets(CONNECT)[0].keep_alive == 1


@on_both_loops
async def test_a_missing_answer_to_a_ping_ends_the_connection(bench: Bench) -> None:
    bench.broker.answer_pings = False
    transport = await bench.connected(keepalive_s=1)
    await until(lambda: len(bench.seen.online) == 2)
    assert transport.failures == {"no PINGRESP in time": 1}
    assert len(bench.broker.packets(PING)) == 1


@on_both_loops
async def test_an_answer_that_waits_in_the_socket_is_read_before_the_broker_is_blamed(
    bench: Bench,
) -> None:
    """The process is held up for longer than half the keepalive, with the answer on its way."""

    def hold_up(connection: Connection, packet: mqtt5.Packet) -> bool:
        if isinstance(packet, PING):
            connection.send(mqtt5.PingRespPacket())
            time.sleep(0.8)
            return True
        return False

    bench.broker.on_packet = hold_up
    transport = await bench.connected(keepalive_s=1)
    await until(lambda: len(bench.broker.packets(PING)) == 3)
    assert transport.failures == {}


@on_both_loops
async def test_a_dead_broker_is_noticed_while_qos_0_still_goes_out(bench: Bench) -> None:
    """Writing proves nothing: a peer that vanished takes bytes until the kernel gives up."""
    bench.broker.answer_pings = False
    transport = await bench.connected(keepalive_s=1)
    token = 0
    while not bench.seen.offline and token < 300:
        transport.publish(0, message(token, qos=0))
        token += 1
        await asyncio.sleep(0.02)
    assert bench.seen.offline == [(0, "no PINGRESP in time")]


@on_both_loops
async def test_the_brokers_keepalive_overrides_ours(bench: Bench) -> None:
    bench.broker.server_keep_alive = 1
    await bench.connected(keepalive_s=60)
    await until(lambda: len(bench.broker.packets(PING)) >= 2)


@on_both_loops
async def test_a_keepalive_of_zero_turns_pings_off(bench: Bench) -> None:
    bench.broker.server_keep_alive = 0
    transport = await bench.connected(keepalive_s=1)
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.online) == 2)
    await asyncio.sleep(0.7)
    assert bench.broker.packets(PING) == []
    assert transport.online == 1


# -- everything at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "many at once"])
@pytest.mark.parametrize("drain", [True, False], ids=["drained", "closed at once"])
@on_both_loops
async def test_no_message_is_lost_or_doubled_however_connections_are_cut(
    bench: Bench, drain: bool, many: bool
) -> None:
    rng = random.Random(20_260_601)
    broker, seen = bench.broker, bench.seen
    cuts = 0
    calm = False

    def misbehave(connection: Connection, packet: mqtt5.Packet) -> bool:
        nonlocal cuts
        draw = 1.0 if calm else rng.random()
        if draw > 0.05:
            return False
        cuts += 1
        if draw < 0.01:
            broker.sessions.discard(connection.client_id)
        if draw < 0.02:
            connection.cut(reset=True)
        elif draw < 0.03:  # acknowledged, then gone
            connection.release()
            connection.finish()
        elif draw < 0.04:  # half an acknowledgement
            connection.raw(b"\x40\x02\x00")
            connection.finish()
        else:
            connection.cut()
        return True

    broker.on_packet = misbehave
    n, total = 20, 2_000
    transport = await bench.connected(
        n, window=8, store_limit=total, backoff=Backoff(0.02, 0.2, 20.0)
    )
    short = 0
    for token in range(total):
        if not many:
            transport.publish(token % n, message(token))
        elif token % n == 0:
            short += sum(line is not None for line in transport.lane.lines)
            transport.publish_many(range(n), [message(token + i) for i in range(n)])
            await asyncio.sleep(0.005)
        if token % 50 == 49:
            i = rng.randrange(n)
            transport.sever(i, "no radio")
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            transport.restore(i)
    calm = True
    if drain:
        await until(lambda: transport.backlog() == (0, 0))
    left = [m.token for m in await transport.close(2.0)]
    acked = seen.acked
    once_each(acked + left)
    assert sorted(acked + left) == list(range(total))
    assert not (drain and left)
    assert set(acked) <= set(broker.tokens())
    assert seen.evicted == []
    assert cuts > 20
    assert bool(short) == many
    for tokens in broker.first_tokens_by_client().values():
        assert tokens == sorted(tokens)


@on_both_loops
async def test_nothing_can_be_published_after_close(bench: Bench) -> None:
    transport = await bench.connected()
    await transport.close(1.0)
    with pytest.raises(InvalidTransitionError, match="closed"):
        transport.publish(0, message(1))
