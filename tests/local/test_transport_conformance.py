"""Every transport against every broker: one contract, whoever speaks MQTT below it."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from conformance import (
    KINDS,
    MISSING,
    Rig,
    first_heard,
    heard,
    message,
    online,
    run,
    soon,
)
from places import MISSING as NO_BROKER
from places import Place, running
from transport_bench import once_each

from fleet_sim.transport import Kind

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:paho.*"),
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    if MISSING[found]:
        pytest.skip(str(MISSING[found]))
    return found


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[Place]:
    with running("local-aws") as place:
        yield place


@pytest.fixture(params=["mosquitto", "rumqttd", "local-aws"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if NO_BROKER[request.param]:
        pytest.skip(str(NO_BROKER[request.param]))
    if request.param == "local-aws":
        yield request.getfixturevalue("shared_aws")
    else:
        with running(request.param) as started:
            yield started


@pytest.fixture(params=["mosquitto", "rumqttd"])
def own_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One that the test may stop."""
    if NO_BROKER[request.param]:
        pytest.skip(str(NO_BROKER[request.param]))
    with running(request.param) as started:
        yield started


def test_both_qualities_of_service_arrive_in_order(kind: Kind, place: Place) -> None:
    async def test(rig: Rig) -> None:
        at = (place.host, place.port)
        _, ear = await rig.connected(
            "native", *at, prefix="ear", tls=place.tls, subscriptions=(("order/t", 1),)
        )
        transport, seen = await rig.connected(kind, *at, 2, prefix="order", tls=place.tls)
        total = 60
        for token in range(total):
            transport.publish(token % 2, message(token, qos=token // (total // 2), topic="order/t"))
        await soon(lambda: len(seen.acknowledged) == total // 2 and len(ear.messages) == total)
        assert sorted(seen.acked) == list(range(total // 2, total))
        assert {code for _, _, code in seen.acknowledged} == {0}
        for i in range(2):
            mine = [token for token in heard(ear) if token % 2 == i]
            assert mine == sorted(mine)
        sent = {token: t_ns for token, t_ns, _ in seen.sent}
        assert sorted(sent) == list(range(total))
        assert all(t_ns >= sent[token] for token, t_ns, _ in seen.acknowledged)
        assert await transport.close(2.0) == []
        assert not transport.failures

    run(test)


def test_nothing_is_lost_or_overtaken_when_the_radio_goes(kind: Kind, place: Place) -> None:
    async def test(rig: Rig) -> None:
        at = (place.host, place.port)
        _, ear = await rig.connected(
            "native", *at, prefix="hark", tls=place.tls, subscriptions=(("cut/t", 1),)
        )
        transport, seen = await rig.connected(kind, *at, prefix="cut", tls=place.tls)
        for token in range(30):
            transport.publish(0, message(token, topic="cut/t"))
        assert transport.stranded() == []
        transport.sever(0, "no radio")
        assert seen.offline == [(0, "no radio")]
        out = [m.token for m in transport.stranded()]
        assert out
        assert out == list(range(len(out)))
        for token in range(30, 40):
            transport.publish(0, message(token, topic="cut/t"))
        under_way, stored = transport.backlog()
        assert (under_way + stored, len(seen.acked)) == (40, 0)
        await asyncio.sleep(0.3)
        assert online(seen) == 0  # it stays away
        transport.restore(0)
        await soon(lambda: len(seen.acked) == 40)
        await soon(lambda: len(set(heard(ear))) == 40)
        once_each(seen.acked)
        assert first_heard(ear) == list(range(40))
        assert transport.backlog() == (0, 0)
        assert transport.stranded() == []
        assert transport.failures == {"no radio": 1}
        assert await transport.close(2.0) == []

    run(test)


def test_what_is_subscribed_to_comes_and_comes_again_after_a_cut(kind: Kind, place: Place) -> None:
    async def test(rig: Rig) -> None:
        transport, seen = await rig.connected(
            kind,
            place.host,
            place.port,
            2,
            prefix="sub",
            tls=place.tls,
            subscriptions=(("down/{vin}", 1),),
        )
        transport.publish(0, message(7, topic="down/sub1"))
        transport.publish(1, message(8, topic="down/sub0", qos=0))
        await soon(lambda: len(seen.messages) == 2)
        assert sorted((i, p.topic, p.payload) for i, p in seen.messages) == [
            (0, "down/sub0", b"8"),
            (1, "down/sub1", b"7"),
        ]
        transport.sever(1, "no radio")
        transport.restore(1)
        await soon(lambda: len(seen.online) == 3)
        transport.publish(0, message(9, topic="down/sub1"))
        await soon(lambda: 9 in heard(seen))

    run(test)


def test_a_broker_that_restarts_loses_no_qos_1_message(kind: Kind, own_place: Place) -> None:
    async def test(rig: Rig) -> None:
        n, total = 3, 300
        transport, seen = await rig.connected(kind, own_place.host, own_place.port, n)
        for token in range(total):
            transport.publish(token % n, message(token))
            if token == 100:
                await soon(lambda: len(seen.acked) > 10)
                await asyncio.to_thread(own_place.stop)
            elif token == 200:
                await soon(lambda: online(seen) == 0)
                await asyncio.to_thread(own_place.start)
            elif token % 20 == 0:
                await asyncio.sleep(0.001)
        await soon(lambda: len(seen.acked) == total)
        once_each(seen.acked)
        assert sorted(seen.acked) == list(range(total))
        assert len(seen.offline) >= n
        assert await transport.close(2.0) == []

    run(test)


def test_close_returns_what_was_never_acknowledged(kind: Kind, own_place: Place) -> None:
    async def test(rig: Rig) -> None:
        transport, seen = await rig.connected(kind, own_place.host, own_place.port)
        transport.publish(0, message(0))
        await soon(lambda: seen.acked == [0])
        await asyncio.to_thread(own_place.stop)
        await soon(lambda: seen.offline)
        for token in (1, 2, 3):
            transport.publish(0, message(token))
        left = await transport.close(1.0)
        assert [m.token for m in left] == [1, 2, 3]
        assert seen.acked == [0]
        assert transport.failures

    run(test)


def test_a_broker_that_is_not_there_is_counted(kind: Kind) -> None:
    async def test(rig: Rig) -> None:
        transport, seen = rig.make(kind, "127.0.0.1", 1)
        transport.open(0)
        await soon(lambda: transport.failures.total() >= 2)
        assert len(transport.failures) == 1
        assert "onnection refused" in next(iter(transport.failures))
        assert seen.online == []
        with contextlib.suppress(RuntimeError):
            assert await transport.close(1.0) == []

    run(test)
