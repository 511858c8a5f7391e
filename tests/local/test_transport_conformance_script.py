"""Every transport against a broker that misbehaves as told: codes, windows, refusals, errors."""

import asyncio
import contextlib
import random
import time

import mqtt5
import pytest
from broker import Broker
from conformance import KINDS, MISSING, Rig, message, online, run, soon
from transport_bench import Recorder, once_each

from fleet_sim.transport import Kind, LinkSettings, MemoryTransport, TransportError, make_transport
from fleet_sim.vehicle import Message

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:paho.*")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    if MISSING[found]:
        pytest.skip(str(MISSING[found]))
    return found


@contextlib.asynccontextmanager
async def scripted():  # type: ignore[no-untyped-def]
    broker = Broker()
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


def test_the_reason_code_of_an_acknowledgement_is_told(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port)
            for code in (
                mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS,
                mqtt5.PubAckReasonCode.QUOTA_EXCEEDED,
            ):
                broker.puback_reason = code
                transport.publish(0, message(int(code)))
                await soon(lambda code=code: int(code) in seen.acked)
            assert [(token, code) for token, _, code in seen.acknowledged] == [
                (0x10, 0x10),
                (0x97, 0x97),
            ]
            await transport.close(1.0)
            assert broker.packets(mqtt5.DisconnectPacket)

    run(test)


def test_a_refused_connect_is_counted_with_its_reason_and_tried_again(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            broker.refuse = mqtt5.ConnAckReasonCode.NOT_AUTHORIZED
            transport, seen = rig.make(kind, "127.0.0.1", broker.port)
            transport.open(0)
            await soon(lambda: transport.failures.total() >= 2)
            broker.refuse = None
            await soon(lambda: online(seen) == 1)
            assert set(transport.failures) == {"refused by the broker: not authorized (0x87)"}
            assert seen.offline == []
            await soon(lambda: len(broker.live) == 1)
            await transport.close(1.0)

    run(test)


def test_without_an_answer_the_attempt_ends_in_time(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            broker.answer_connect = False
            transport, seen = rig.make(kind, "127.0.0.1", broker.port, connect_timeout_s=0.3)
            transport.open(0)
            await soon(lambda: transport.failures.total() >= 2)
            broker.answer_connect = True
            await soon(lambda: online(seen) == 1)
            assert set(transport.failures) == {"no connection within 0.3 s"}
            await soon(lambda: len(broker.live) == 1)
            await transport.close(1.0)

    run(test)


def test_the_oldest_in_a_full_store_gives_way_and_close_returns_the_rest(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            broker.acknowledge = False
            transport, seen = await rig.connected(
                kind, "127.0.0.1", broker.port, window=2, store_limit=3
            )
            for token in range(8):
                transport.publish(0, message(token))
            assert seen.evicted == [2, 3, 4]
            assert transport.backlog() == (2, 3)
            await soon(lambda: len(broker.publishes()) == 2)
            assert [m.token for m in await transport.close(1.0)] == [0, 1, 5, 6, 7]
            assert broker.tokens() == [0, 1]

    run(test)


def test_no_more_is_under_way_than_the_broker_takes(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            broker.receive_maximum = 3
            broker.acknowledge = False
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port)
            for token in range(10):
                transport.publish(0, message(token))
            assert transport.backlog() == (3, 7)
            await soon(lambda: len(broker.publishes()) == 3)
            while len(seen.acked) < 10:
                broker.last("v0").release()
                await asyncio.sleep(0.005)
            assert broker.most_unacknowledged == 3
            assert broker.tokens() == list(range(10))
            await transport.close(1.0)

    run(test)


def test_what_was_unacknowledged_at_a_cut_goes_out_again_before_the_rest(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            broker.acknowledge = False
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port)
            for token in (1, 2, 3):
                transport.publish(0, message(token))
            await soon(lambda: len(broker.publishes()) == 3)
            broker.acknowledge = True
            broker.last("v0").cut()
            await soon(lambda: seen.offline)
            assert seen.offline == [(0, next(iter(transport.failures)))]
            transport.publish(0, message(4))
            await soon(lambda: len(seen.acked) == 4)
            once_each(seen.acked)
            assert broker.tokens() == [1, 2, 3, 1, 2, 3, 4]
            connects = broker.packets(mqtt5.ConnectPacket)
            assert [p.clean_start for p in connects] == [True, False]  # type: ignore[attr-defined]
            # Libraries offer no way to set it.
            again = [p.duplicate for p in broker.publishes()[3:6]]
            assert again == [kind == "native"] * 3
            assert [d for _, _, d in seen.sent] == [False] * 3 + again + [False]
            await transport.close(1.0)

    run(test)


def test_a_severed_connection_is_cut_without_a_goodbye(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port, 2)
            transport.sever(0, "no radio")
            await soon(lambda: [c.client_id for c in broker.live] == ["v1"])
            assert not broker.packets(mqtt5.DisconnectPacket)
            transport.sever(0, "no radio")  # twice is once
            transport.restore(0)
            await soon(lambda: len(broker.live) == 2)
            await soon(lambda: len(seen.online) == 3)
            assert transport.failures == {"no radio": 1}
            await transport.close(1.0)
            assert len(broker.packets(mqtt5.DisconnectPacket)) == 2

    run(test)


def test_a_broker_that_says_goodbye_is_quoted(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port)
            reason = mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN
            broker.last("v0").send(mqtt5.DisconnectPacket(reason_code=reason))
            await soon(lambda: seen.offline)
            assert seen.offline[0] == (
                0,
                "disconnected by the broker: server shutting down (0x8b)",
            )
            await soon(lambda: online(seen) == 1)
            await transport.close(1.0)

    run(test)


def test_a_listener_that_raises_ends_its_connection_and_the_run(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port, 2)

            def raising(token: int, t_ns: int, reason_code: int) -> None:
                raise RuntimeError("a bug")

            seen.on_acknowledged = raising  # type: ignore[method-assign]
            transport.publish(0, message(1))
            await soon(lambda: seen.offline)
            assert seen.offline == [(0, "RuntimeError: a bug")]
            assert [str(e["exception"]) for e in rig.loop_errors] == ["a bug"]
            rig.loop_errors.clear()
            with pytest.raises(RuntimeError, match="a bug"):
                await transport.close(1.0)

    run(test)


def test_it_can_be_closed_at_any_moment(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:
            rng = random.Random(7)
            for turn in range(6):
                transport, _ = rig.make(kind, "127.0.0.1", broker.port, 3, prefix=f"c{turn}")
                for i in range(3):
                    transport.open(i)
                    transport.publish(i, message(i))
                await asyncio.sleep(0.05 + 0.004 * turn)
                transport.sever(rng.randrange(3), "no radio")
                left = await transport.close(1.0)
                assert {m.token for m in left} <= {0, 1, 2}
            await soon(lambda: not broker.live)

    run(test)


def test_a_refused_subscription_is_counted_with_its_reason(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:

            def refuse(connection, packet) -> bool:  # type: ignore[no-untyped-def]
                if isinstance(packet, mqtt5.SubscribePacket):
                    code = mqtt5.SubAckReasonCode.NOT_AUTHORIZED
                    connection.send(mqtt5.SubAckPacket(packet.packet_id, [code]))
                    return True
                return False

            broker.on_packet = refuse
            transport, seen = rig.make(
                kind, "127.0.0.1", broker.port, subscriptions=(("down/{vin}", 1),)
            )
            transport.open(0)
            await soon(lambda: transport.failures.total() >= 2)
            assert set(transport.failures) == {
                "subscription refused by the broker: not authorized (0x87)"
            }
            assert seen.online == []
            await transport.close(1.0)

    run(test)


def test_what_the_broker_says_it_does_not_take_is_not_sent(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        async with scripted() as broker:

            def limited(connection, packet) -> bool:  # type: ignore[no-untyped-def]
                if isinstance(packet, mqtt5.ConnectPacket):
                    connection.accepted = True
                    connection.send(mqtt5.ConnAckPacket(max_packet_size=100))
                    return True
                return False

            broker.on_packet = limited
            transport, seen = await rig.connected(kind, "127.0.0.1", broker.port)
            transport.publish(0, Message(1, "t", b"1" + b" " * 100, 1))
            transport.publish(0, message(2))
            await soon(lambda: seen.acked == [2])
            assert seen.refused == [(1, "larger than the 100 bytes that the broker takes")]
            assert broker.tokens() == [2]
            assert transport.backlog() == (0, 0)
            await transport.close(1.0)

    run(test)


# -- without a broker -----------------------------------------------------------------------------


def test_memory_keeps_the_contract_without_a_network() -> None:
    async def test(rig: Rig) -> None:
        seen = Recorder()
        arrived: list[int] = []
        transport = MemoryTransport(
            1,
            seen,
            now_ns=time.monotonic_ns,
            deliver=lambda i, m: arrived.append(m.token),
            store_limit=3,
        )
        transport.open(0)
        transport.publish(0, message(0))
        transport.publish(0, message(1, qos=0))
        transport.sever(0, "no radio")
        for token in range(2, 7):
            transport.publish(0, message(token))
        assert seen.evicted == [2, 3]
        assert transport.backlog() == (0, 3)
        transport.restore(0)
        assert arrived == [0, 1, 4, 5, 6]
        assert seen.acked == [0, 4, 5, 6]
        assert transport.failures == {"no radio": 1}
        transport.sever(0, "no radio")
        transport.publish(0, message(7))
        assert [m.token for m in await transport.close(1.0)] == [7]

    run(test)


@pytest.mark.parametrize("name", ["aiomqtt", "awscrt"])
def test_what_a_library_cannot_do_is_refused_before_the_run(name: Kind) -> None:
    settings = LinkSettings("127.0.0.1", 1, name, topic_alias=True)
    with pytest.raises(TransportError, match=f"--transport {name}: cannot do topic aliases"):
        make_transport(
            settings, ["v0"], Recorder(), now_ns=time.monotonic_ns, uniform=random.random
        )
