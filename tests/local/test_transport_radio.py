"""The native transport over a radio, on real sockets: delays, stalls and outages."""

import asyncio
import random

import mqtt5
import pytest
from transport_bench import Bench, message, on_both_loops, once_each, until

from fleet_sim.transport import NativeTransport


async def over_the_air(
    bench: Bench, n: int = 1, rtt_s: float = 0.02, bps: float = 1e8, **settings: object
) -> NativeTransport:
    """A transport whose `n` vehicles are all online, over radios alike."""
    transport = bench.transport(n, **settings)
    transport.shape(range(n), [rtt_s] * n, [bps] * n, [bps] * n)
    for i in range(n):
        transport.open(i)
    await until(lambda: transport.online == n)
    return transport


@on_both_loops
async def test_a_round_trip_takes_as_long_as_the_radio_says(bench: Bench) -> None:
    transport = await over_the_air(bench, rtt_s=0.2)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    transport.publish(0, message(1))
    assert bench.seen.sent, "it was handed to the radio"
    await until(lambda: bench.broker.publishes())
    assert loop.time() - begin >= 0.1
    await until(lambda: bench.seen.acked == [1])
    assert loop.time() - begin >= 0.2


@on_both_loops
async def test_what_takes_the_short_way_crosses_the_radio_too(bench: Bench) -> None:
    transport = await over_the_air(bench, rtt_s=0.2)
    transport.publish(0, message(1))
    await until(lambda: all(transport.lane.lines))
    loop = asyncio.get_running_loop()
    begin = loop.time()
    transport.publish_many([0], [message(2)])
    await until(lambda: bench.seen.acked == [1, 2])
    assert loop.time() - begin >= 0.2
    assert all(transport.lane.lines)
    bench.broker.acknowledge = False
    transport.publish_many([0], [message(3)])
    await until(lambda: bench.broker.tokens() == [1, 2, 3])
    transport.stall(0)
    bench.broker.last("v0").release()
    transport.publish_many([0], [message(4)])
    assert transport.backlog() == (1, 1)
    transport.restore(0)
    await until(lambda: bench.broker.tokens() == [1, 2, 3, 4])
    bench.broker.last("v0").release()
    await until(lambda: bench.seen.acked == [1, 2, 3, 4])
    assert not any(packet.duplicate for packet in bench.broker.publishes())


@on_both_loops
async def test_a_stall_keeps_the_connection_and_loses_nothing(bench: Bench) -> None:
    transport = await over_the_air(bench)
    transport.publish(0, message(1))
    transport.stall(0)
    transport.publish(0, message(2))
    await asyncio.sleep(0.15)
    assert bench.broker.publishes() == []
    assert transport.backlog() == (1, 1)
    transport.restore(0)
    transport.publish(0, message(3))
    await until(lambda: bench.seen.acked == [1, 2, 3])
    assert bench.broker.tokens() == [1, 2, 3]
    assert bench.seen.offline == []
    assert len(bench.broker.connections) == 1
    assert not any(packet.duplicate for packet in bench.broker.publishes())


@on_both_loops
async def test_a_stall_that_outlives_keepalive_ends_the_connection(bench: Bench) -> None:
    transport = await over_the_air(bench, keepalive_s=1)
    transport.publish(0, message(1))
    transport.stall(0)
    await until(lambda: bench.seen.offline == [(0, "no PINGRESP in time")])
    transport.publish(0, message(2))
    await asyncio.sleep(0.3)
    assert transport.online == 0, "there is no radio to come back with"
    transport.restore(0)
    await until(lambda: bench.seen.acked == [1, 2])
    first = [p.duplicate for p in bench.broker.publishes() if p.payload.split()[0] == b"1"]
    assert first == [True], "the first attempt never left the radio; the second says DUP"


@on_both_loops
async def test_an_outage_after_a_stall_cuts(bench: Bench) -> None:
    transport = await over_the_air(bench)
    transport.stall(0)
    transport.publish(0, message(1))
    transport.sever(0, "no radio")
    assert bench.seen.offline == [(0, "no radio")]
    transport.restore(0)
    await until(lambda: bench.seen.acked == [1])


@on_both_loops
async def test_a_connection_that_begins_in_a_stall_waits_for_the_radio(bench: Bench) -> None:
    transport = bench.transport()
    transport.shape([0], [0.6], [1e6], [1e6])
    transport.open(0)
    await until(lambda: bench.broker.connections)
    transport.stall(0)
    await asyncio.sleep(0.6)  # without the stall, it would have arrived after 0.3
    assert bench.broker.packets(mqtt5.ConnectPacket) == []
    transport.restore(0)
    await until(lambda: transport.online == 1)


@on_both_loops
async def test_what_is_stored_leaves_in_order_at_the_speed_of_the_radio(bench: Bench) -> None:
    transport = await over_the_air(bench, bps=80_000)
    loop = asyncio.get_running_loop()
    transport.stall(0)
    for token in range(40):
        transport.publish(0, message(token, padding=100))
    transport.restore(0)
    begin = loop.time()
    await until(lambda: len(bench.seen.acked) == 40)
    assert bench.broker.tokens() == list(range(40))
    assert loop.time() - begin >= 40 * 110 / 10_000


@on_both_loops
async def test_the_store_is_bounded_in_a_stall_as_in_an_outage(bench: Bench) -> None:
    transport = await over_the_air(bench, store_limit=3)
    transport.stall(0)
    for token in range(5):
        transport.publish(0, message(token))
    assert bench.seen.evicted == [0, 1]
    transport.restore(0)
    await until(lambda: bench.seen.acked == [2, 3, 4])


@on_both_loops
async def test_a_goodbye_of_the_broker_is_heard_with_its_reason(bench: Bench) -> None:
    transport = await over_the_air(bench)
    connection = bench.broker.live[0]
    connection.send(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_BUSY))
    connection.finish()
    await until(lambda: bench.seen.offline)
    assert bench.seen.offline == [(0, "disconnected by the broker: server busy (0x89)")]
    await until(lambda: transport.online == 1)


@on_both_loops
async def test_a_reset_in_a_stall_is_found_out_when_the_radio_is_back(bench: Bench) -> None:
    transport = await over_the_air(bench)
    transport.stall(0)
    bench.broker.live[0].cut(reset=True)
    await asyncio.sleep(0.1)
    assert bench.seen.offline == []
    transport.restore(0)
    await until(lambda: bench.seen.offline)
    await until(lambda: transport.online == 1)


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "many at once"])
@on_both_loops
async def test_radios_that_come_and_go_lose_nothing_and_keep_the_order(
    bench: Bench, many: bool
) -> None:
    n, rounds = 8, 40
    short = 0
    dice = random.Random(5)
    transport = await over_the_air(bench, n, rtt_s=0.01)
    token = 0
    for _ in range(rounds):
        i = dice.randrange(n)
        act = dice.choice([transport.stall, transport.restore, lambda i: transport.sever(i, "x")])
        act(i)
        if many:
            short += sum(line is not None for line in transport.lane.lines)
            transport.publish_many(range(n), [message(token + i) for i in range(n)])
            token += n
            await asyncio.sleep(dice.choice([0.005, 0.04]))
            continue
        for vehicle in range(n):
            transport.publish(vehicle, message(token))
            token += 1
        await asyncio.sleep(0.005)
    for i in range(n):
        transport.restore(i)
    await until(lambda: len(bench.seen.acked) == token)
    once_each(bench.seen.acked)
    for i in range(n):
        expected = list(range(i, token, n))
        assert bool(short) == many
        assert bench.broker.first_tokens_by_client()[f"v{i}"] == expected


@on_both_loops
async def test_closing_says_goodbye_over_the_radio(bench: Bench) -> None:
    transport = await over_the_air(bench, rtt_s=0.1)
    transport.publish(0, message(1))
    await transport.close(30.0)
    assert bench.broker.tokens() == [1]
    assert len(bench.broker.packets(mqtt5.DisconnectPacket)) == 1


@on_both_loops
async def test_a_vehicle_that_never_hears_of_the_radio_is_closed_in_time(bench: Bench) -> None:
    transport = await over_the_air(bench)
    transport.publish(0, message(1))
    transport.stall(0)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    left = await transport.close(0.2)
    assert [m.token for m in left] == [1]
    assert loop.time() - begin < 15.0, "not for as long as the broker keeps it alive"
