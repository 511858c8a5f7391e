"""How connections of the native transport begin, break, are severed and end."""

import asyncio
import ssl
import time

import mqtt5
import pytest
from broker import Broker, Connection
from mosquitto import held_port
from transport_bench import Bench, message, on_both_loops, until

from fleet_sim.transport import Tls
from fleet_sim.vehicle import Backoff, Message

CONNECT = mqtt5.ConnectPacket

# -- attempts that fail ---------------------------------------------------------------------------


@on_both_loops
async def test_a_refused_connect_is_counted_with_its_reason_and_tried_again(bench: Bench) -> None:
    bench.broker.refuse = mqtt5.ConnAckReasonCode.NOT_AUTHORIZED
    transport = bench.transport()
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    bench.broker.refuse = None
    await until(lambda: transport.online == 1)
    assert set(transport.failures) == {"refused by the broker: not authorized (0x87)"}
    assert bench.seen.offline == []
    await until(lambda: len(bench.broker.live) == 1)


@on_both_loops
async def test_without_connack_the_attempt_times_out_and_is_tried_again(bench: Bench) -> None:
    bench.broker.answer_connect = False
    transport = bench.transport(connect_timeout_s=0.2)
    transport.open(0)
    await until(lambda: transport.failures.total() >= 1)
    bench.broker.answer_connect = True
    await until(lambda: transport.online == 1)
    assert set(transport.failures) == {"no connection within 0.2 s"}
    await until(lambda: len(bench.broker.live) == 1)


@on_both_loops
async def test_a_broker_that_is_not_there_is_counted(bench: Bench) -> None:
    await bench.broker.stop()
    held, bench.broker.port = held_port()
    transport = bench.transport()
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert len(transport.failures) == 1
    assert "refused" in next(iter(transport.failures)) or "failed" in next(iter(transport.failures))
    port, bench.broker = bench.broker.port, Broker()
    await bench.broker.start(port=port)
    await until(lambda: transport.online == 1)
    held.close()


@on_both_loops
async def test_a_context_that_cannot_be_made_is_counted_and_raised_by_close(bench: Bench) -> None:
    class Broken(Tls):
        def context(self) -> ssl.SSLContext:
            raise ValueError("no key for vehicle 0")

    transport = bench.transport(tls=Broken())
    transport.open(0)
    await until(lambda: transport.failures.total() >= 2)
    assert set(transport.failures) == {"ValueError: no key for vehicle 0"}
    with pytest.raises(ValueError, match="no key for vehicle 0"):
        await transport.close(1.0)


# -- connections that break -----------------------------------------------------------------------

BROKEN = {
    "unknown type": (b"\x00\x00", "malformed packet"),
    "length that never ends": (b"\xff\xff\xff\xff\xff\xff", "malformed packet"),
    "property past the end": (b"\x40\x05\x00\x01\x00\x7f\x1f", "malformed packet"),
    "not UTF-8": (b"\x30\x05\x00\x02\xc3\x28\x00", "malformed packet"),
    "a second CONNACK": (mqtt5.ConnAckPacket().write(), "a second CONNACK"),
    "a client's packet": (mqtt5.PingReqPacket().write(), "unexpected PingReqPacket"),
    "QoS 2": (
        mqtt5.PublishPacket("t", b"x", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=1).write(),
        "QoS 2",
    ),
    "a goodbye": (
        mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN).write(),
        "disconnected by the broker: server shutting down (0x8b)",
    ),
}


# The codec's panic leaves a UnicodeDecodeError behind that nobody can catch.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", BROKEN)
@on_both_loops
async def test_what_breaks_the_protocol_ends_the_connection_with_a_reason(
    bench: Bench, what: str
) -> None:
    data, reason = BROKEN[what]
    transport = await bench.connected()
    bench.broker.last("v0").raw(data)
    await until(lambda: len(bench.seen.online) == 2)
    ((i, said),) = bench.seen.offline
    assert i == 0
    assert reason in said
    assert transport.failures == {said: 1}


@on_both_loops
async def test_packets_before_connack_are_refused(bench: Bench) -> None:
    """A PUBACK there must not acknowledge what an earlier connection sent."""
    bench.broker.acknowledge = False
    transport = await bench.connected()
    transport.publish(0, message(1))
    await until(lambda: bench.broker.publishes())
    early = True

    def misbehave(connection: Connection, packet: mqtt5.Packet) -> bool:
        nonlocal early
        if early and isinstance(packet, CONNECT):
            early = False
            connection.send(mqtt5.PubAckPacket(1))
            return True
        return False

    bench.broker.on_packet = misbehave
    bench.broker.last("v0").cut()
    await until(lambda: len(bench.seen.online) == 2)
    assert transport.failures["PubAckPacket from the broker before CONNACK"] == 1
    assert bench.seen.acknowledged == []
    assert transport.backlog() == (1, 0)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@on_both_loops
async def test_a_cut_connection_comes_back(bench: Bench, reset: bool) -> None:
    transport = await bench.connected()
    bench.broker.last("v0").cut(reset=reset)
    await until(lambda: len(bench.seen.online) == 2)
    expected = "Connection reset by peer" if reset else "closed by the broker"
    assert transport.failures == {expected: 1}


@on_both_loops
async def test_an_accepted_connection_that_ends_at_once_leaves_the_attempts_in_order(
    bench: Bench,
) -> None:
    """CONNACK and DISCONNECT in one read, and the loop late: the next attempt is due before the
    task of the first has ended."""

    def misbehave(connection: Connection, packet: mqtt5.Packet) -> bool:
        if isinstance(packet, CONNECT) and connection.number < 3:
            gone = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_BUSY)
            connection.raw(mqtt5.ConnAckPacket().write() + gone.write())
            return True
        return False

    def late(i: int, reason: str) -> None:
        time.sleep(0.12)  # the loop is to be late

    bench.broker.on_packet = misbehave
    bench.seen.on_offline = late  # type: ignore[method-assign]
    transport = bench.transport(backoff=Backoff(0.0, 0.0, 20.0))
    transport.open(0)
    await until(lambda: len(bench.seen.online) == 4)
    assert transport.failures == {"disconnected by the broker: server busy (0x89)": 3}


@on_both_loops
async def test_a_listener_that_raises_is_raised_by_close(bench: Bench) -> None:
    def broken(token: int, t_ns: int, reason_code: int) -> None:
        raise LookupError("no such row")

    transport = await bench.connected()
    bench.seen.on_acknowledged = broken  # type: ignore[method-assign]
    transport.publish(0, message(1))
    await until(lambda: bench.seen.offline)
    with pytest.raises(LookupError, match="no such row"):
        await transport.close(1.0)
    assert [str(error["exception"]) for error in bench.loop_errors] == ["no such row"]
    bench.loop_errors.clear()


# -- radio ----------------------------------------------------------------------------------------


@on_both_loops
async def test_while_severed_nothing_is_tried_and_messages_are_stored(bench: Bench) -> None:
    transport = await bench.connected()
    transport.sever(0, "no radio")
    assert bench.seen.offline == [(0, "no radio")]
    transport.publish(0, message(1))
    await asyncio.sleep(0.4)
    assert len(bench.broker.connections) == 1
    transport.restore(0)
    await until(lambda: bench.seen.acked == [1])
    assert len(bench.seen.online) == 2


@on_both_loops
async def test_severed_during_the_handshake(bench: Bench) -> None:
    bench.broker.answer_connect = False
    transport = bench.transport()
    transport.open(0)
    await until(lambda: bench.broker.packets(CONNECT))
    transport.sever(0, "no radio")
    await until(lambda: not bench.broker.live)
    assert transport.failures == {"no radio": 1}
    bench.broker.answer_connect = True
    await asyncio.sleep(0.3)
    assert len(bench.broker.connections) == 1
    transport.restore(0)
    await until(lambda: transport.online == 1)
    assert bench.seen.offline == []


@on_both_loops
async def test_severed_before_the_attempt_took_its_first_step(bench: Bench) -> None:
    transport = bench.transport()
    transport.open(0)
    transport._ticker.cancel()
    transport._tick()
    while not transport._attempts:
        await asyncio.sleep(0.01)
        transport._ticker.cancel()
        transport._tick()
    transport.sever(0, "no radio")  # the task exists and has not run
    await asyncio.sleep(0.1)
    transport.restore(0)
    await until(lambda: transport.online == 1)
    assert transport.failures == {"no radio": 1}


@on_both_loops
async def test_vehicles_of_a_cluster_take_its_brokers_in_turn_and_come_back_to_their_own(
    bench: Bench,
) -> None:
    other = Broker()
    await other.start()
    try:
        transport = await bench.connected(4, more=(("127.0.0.1", other.port),))
        bench.broker.last("v2").cut()
        other.last("v1").cut()
        await until(lambda: len(bench.seen.online) == 6)
        named = [
            sorted(packet.client_id for packet in broker.packets(CONNECT))
            for broker in (bench.broker, other)
        ]
        assert named == [["v0", "v2", "v2"], ["v1", "v1", "v3"]]
        await transport.close(0.5)
    finally:
        await other.stop()


@on_both_loops
async def test_one_attempt_begins_when_another_ends_not_at_the_next_tick(bench: Bench) -> None:
    """Else a shard with few handshakes at once connects as fast as the ticks, not the broker."""
    transport = bench.transport(20, connect_rate=1e6, connect_concurrency=1)
    for i in range(20):
        transport.open(i)
    transport._ticker.cancel()
    transport._tick()
    transport._ticker.cancel()
    await until(lambda: transport.online == 20)
    transport._tick()


@on_both_loops
async def test_severed_before_it_was_opened(bench: Bench) -> None:
    transport = bench.transport()
    transport.sever(0, "no radio")
    transport.open(0)
    await asyncio.sleep(0.2)
    assert bench.broker.connections == []
    transport.restore(0)
    await until(lambda: transport.online == 1)


@on_both_loops
async def test_severed_and_restored_in_every_turn_of_the_loop(bench: Bench) -> None:
    """Whatever instant the radio comes and goes at, each vehicle is online once in the end."""
    n = 30
    transport = bench.transport(n, backoff=Backoff(0.01, 0.02, 20.0))
    loop = asyncio.get_running_loop()
    turns = 0

    def flicker() -> None:
        nonlocal turns
        turns += 1
        for i in range(n):
            if (turns + i) % 5 == 0:
                transport.sever(i, "no radio")
            elif (turns + i) % 5 == 2:
                transport.restore(i)
        if turns < 600:
            loop.call_later(0.001 if turns % 3 else 0.0, flicker)

    for i in range(n):
        transport.open(i)
        transport.open(i)  # opened twice is opened once
    flicker()
    await until(lambda: turns >= 600)
    for i in range(n):
        transport.restore(i)
    await until(lambda: transport.online == n and len(bench.broker.live) == n)
    balance = [0] * n
    for i in bench.seen.online:
        balance[i] += 1
    for i, _ in bench.seen.offline:
        balance[i] -= 1
    assert balance == [1] * n


# -- limits ---------------------------------------------------------------------------------------


@on_both_loops
async def test_no_more_handshakes_at_once_than_allowed(bench: Bench) -> None:
    bench.broker.connack_delay_s = 0.02
    accepted: list[Connection] = []
    bench.broker.on_packet = lambda c, _: accepted.append(c) or False  # type: ignore[func-returns-value]
    await bench.connected(20, connect_concurrency=3)
    assert bench.broker.most_handshakes <= 3
    assert len(accepted) == 20


@on_both_loops
async def test_no_more_attempts_than_the_rate_allows(bench: Bench) -> None:
    """40 a second are 2 a tick of 50 ms, however much is waiting."""
    transport = bench.transport(30, connect_rate=40.0)
    for i in range(30):
        transport.open(i)
    for tick in range(1, 6):
        transport._ticker.cancel()
        transport._tick()
        assert len(transport._attempts) == 2 * tick
    await until(lambda: transport.online == 10)
    transport._ticker.cancel()


@on_both_loops
async def test_vehicles_that_come_back_do_so_when_their_backoff_says(bench: Bench) -> None:
    """All at once, as a storm is: the rate is for the first connection alone."""
    transport = await bench.connected(20, connect_rate=100.0, connect_concurrency=20)
    assert transport.attempts == 20
    transport._ticker.cancel()  # none may be back while others are still being cut
    for connection in bench.broker.live:
        connection.cut()
    await until(lambda: transport.online == 0)
    await asyncio.sleep(0.15)  # all are due
    transport._tick()
    assert len(transport._attempts) == 20
    assert transport.attempts == 40
    await until(lambda: transport.online == 20)


@on_both_loops
async def test_opened_again_while_waiting_or_online_changes_nothing(bench: Bench) -> None:
    bench.broker.refuse = mqtt5.ConnAckReasonCode.SERVER_BUSY
    transport = bench.transport()
    transport.open(0)
    await until(lambda: transport.failures)
    transport.open(0)
    bench.broker.refuse = None
    await until(lambda: transport.online == 1)
    transport.open(0)
    await asyncio.sleep(0.3)
    assert bench.seen.online == [0]
    assert len(bench.broker.live) == 1


# -- the end --------------------------------------------------------------------------------------


@on_both_loops
async def test_close_returns_what_was_not_acknowledged_in_order(bench: Bench) -> None:
    bench.broker.acknowledge = False
    transport = await bench.connected(2, window=2)
    for token in range(8):
        transport.publish(token % 2, message(token))
    left = await transport.close(1.0)
    assert [m.token for m in left] == [0, 2, 4, 6, 1, 3, 5, 7]
    await until(lambda: len(bench.broker.packets(mqtt5.DisconnectPacket)) == 2)
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@on_both_loops
async def test_close_in_the_turn_that_brought_a_vehicle_online_is_orderly_too(bench: Bench) -> None:
    """What it published goes out, and DISCONNECT, though its attempt's task has yet to end."""
    bench.broker.acknowledge = False
    ends: list[asyncio.Task[list[Message]]] = []

    def online(i: int) -> None:
        transport.publish(i, message(1))
        ends.append(asyncio.get_running_loop().create_task(transport.close(1.0)))

    bench.seen.on_online = online  # type: ignore[method-assign]
    transport = bench.transport()
    transport.open(0)
    await until(lambda: bench.broker.packets(mqtt5.DisconnectPacket))
    assert bench.broker.tokens() == [1]
    assert [m.token for m in await ends[0]] == [1]
    assert bench.seen.offline == []


@pytest.mark.parametrize("depth", ["not answering CONNECT", "deaf"])
@on_both_loops
async def test_close_with_attempts_under_way(bench: Bench, depth: str) -> None:
    bench.broker.answer_connect = False
    bench.broker.deaf = depth == "deaf"
    transport = bench.transport(3)
    for i in range(3):
        transport.open(i)
        transport.publish(i, message(i))
    await until(lambda: len(bench.broker.connections) == 3)
    left = await transport.close(1.0)
    assert [m.token for m in left] == [0, 1, 2]
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@on_both_loops
async def test_close_in_every_stage_of_an_attempt(bench: Bench) -> None:
    for turns in range(12):
        transport = bench.transport()
        transport.open(0)
        transport.publish(0, message(turns))
        while not transport._attempts:  # noqa: ASYNC110 - the very turn in which it begins
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        left = await transport.close(1.0)
        assert ([m.token for m in left] == [turns]) != (turns in bench.seen.acked)


@on_both_loops
async def test_close_does_not_wait_for_a_broker_that_stopped_reading(bench: Bench) -> None:
    transport = await bench.connected(window=1_000, store_limit=10_000)
    bench.broker.last("v0").stop_reading()
    total = 0
    while not transport.backlog()[1]:
        transport.publish(0, message(total, padding=60_000))
        total += 1
        await asyncio.sleep(0)
    left = await transport.close(0.2)
    assert [m.token for m in left] == list(range(total))
    assert transport.online == 0


@on_both_loops
async def test_close_of_what_was_never_opened_and_close_twice(bench: Bench) -> None:
    transport = bench.transport(2)
    transport.publish(0, message(1))
    assert [m.token for m in await transport.close(1.0)] == [1]
    assert await transport.close(1.0) == []
