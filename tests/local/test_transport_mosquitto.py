"""The native transport against a broker that others wrote, heard by a client that others wrote."""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
from mosquitto import MOSQUITTO, Mosquitto
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from transport_bench import Bench, message, on_both_loops, once_each, until

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


@pytest.fixture
def mosquitto() -> Iterator[Mosquitto]:
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        yield broker
        broker.stop()


class Ear:
    """An `aiomqtt` client with a session of its own that hears topic `t`, whatever happens.

    It has a thread with asyncio's own loop: on uvloop it sometimes stops reading its socket.
    """

    def __init__(self, port: int) -> None:
        self.heard: list[int] = []
        self.subscribed = threading.Event()
        self._port = port
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._listen())
            await asyncio.wait([self._task])

        asyncio.run(main())

    async def _listen(self) -> None:
        heard = self.heard

        class Tape(asyncio.Queue[aiomqtt.Message]):
            # Written down on arrival, which is when paho acknowledges: what waits in the queue
            # when the connection ends is never handed out.
            def put_nowait(self, item: aiomqtt.Message) -> None:
                assert isinstance(item.payload, bytes)
                heard.append(int(item.payload))
                super().put_nowait(item)

        keep = Properties(PacketTypes.CONNECT)
        keep.SessionExpiryInterval = 3_600
        while not self._closing:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1",
                    self._port,
                    identifier="ear",
                    protocol=aiomqtt.ProtocolVersion.V5,
                    clean_start=False,
                    properties=keep,
                    queue_type=Tape,
                ) as client:
                    await client.subscribe("t", qos=1)
                    self.subscribed.set()
                    async for _ in client.messages:
                        pass
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)

    async def __aenter__(self) -> "Ear":
        self._thread.start()
        await until(self.subscribed.is_set)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        while self._thread.is_alive():
            if self._loop is not None and self._task is not None and not self._task.done():
                # Once may not be enough: aiomqtt can turn it into an error of its own.
                with contextlib.suppress(RuntimeError):  # its loop ended in between
                    self._loop.call_soon_threadsafe(self._task.cancel)
            await asyncio.to_thread(self._thread.join, 0.2)


@on_both_loops
async def test_both_qualities_of_service_arrive(bench: Bench, mosquitto: Mosquitto) -> None:
    await until(mosquitto.answers)
    bench.broker.port = mosquitto.port
    async with Ear(mosquitto.port) as ear:
        transport = await bench.connected(5)
        for token in range(100):
            transport.publish(token % 5, message(token, qos=token // 50))
        await until(lambda: len(bench.seen.acknowledged) == 50 and len(ear.heard) == 100)
    assert sorted(ear.heard) == list(range(100))
    assert sorted(bench.seen.acked) == list(range(50, 100))
    assert {code for _, _, code in bench.seen.acknowledged} == {0}
    assert await transport.close(2.0) == []
    assert transport.failures == {}


@on_both_loops
async def test_a_restart_in_the_middle_loses_nothing(bench: Bench, mosquitto: Mosquitto) -> None:
    """The broker stops with messages under way, and comes back with the sessions it had."""
    await until(mosquitto.answers)
    bench.broker.port = mosquitto.port
    n, total = 5, 600
    async with Ear(mosquitto.port) as ear:
        transport = await bench.connected(n, store_limit=total)
        for token in range(total):
            transport.publish(token % n, message(token))
            if token == 200:
                await until(lambda: len(bench.seen.acked) > 50)
                mosquitto.stop()
            elif token == 400:
                await until(lambda: transport.online == 0)
                mosquitto.start()
            elif token % 20 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(bench.seen.acknowledged) == total)
        await until(lambda: set(ear.heard) == set(range(total)))
    once_each(bench.seen.acked)
    assert len(bench.seen.offline) >= n
    assert await transport.close(2.0) == []


@on_both_loops
async def test_a_crash_that_forgets_all_sessions_loses_nothing(
    bench: Bench, mosquitto: Mosquitto
) -> None:
    """Over radios, so that messages and acknowledgements are in the air when it dies."""
    await until(mosquitto.answers)
    bench.broker.port = mosquitto.port
    n, rounds = 200, 12
    transport = bench.transport(n, store_limit=rounds)
    transport.shape(range(n), [0.05] * n, [1e6] * n, [1e6] * n)
    for i in range(n):
        transport.open(i)
    await until(lambda: transport.online == n)
    for turn in range(rounds):
        for i in range(n):
            transport.publish(i, message(turn * n + i))
        await asyncio.sleep(0.03)
        if turn == 4:
            mosquitto.kill()
        elif turn == 8:
            mosquitto.start()
    await until(lambda: len(bench.seen.acknowledged) == n * rounds)
    once_each(bench.seen.acked)
    assert bench.seen.evicted == []
    again = len(bench.seen.sent) - n * rounds
    assert again > 0, "some were in flight when it died, and went out once more"
    assert not any(duplicate for _, _, duplicate in bench.seen.sent), "to the new one they are new"
    assert await transport.close(2.0) == []


@on_both_loops
async def test_the_session_is_kept_over_a_cut(bench: Bench, mosquitto: Mosquitto) -> None:
    """Told by the broker itself, in its CONNACK."""
    await until(mosquitto.answers)
    bench.broker.port = mosquitto.port
    transport = await bench.connected()
    present: list[bool] = []
    accepted = transport._sessions[0].accepted

    def spy(now_s: float, *, session_present: bool, receive_maximum: int = 65_535) -> None:
        present.append(session_present)
        accepted(now_s, session_present=session_present, receive_maximum=receive_maximum)

    # Sessions have slots: the class is patched, and there is but one vehicle.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(transport._sessions[0]),
            "accepted",
            lambda _, *args, **kwargs: spy(*args, **kwargs),
        )
        transport.sever(0, "no radio")
        transport.publish(0, message(1))
        transport.restore(0)
        await until(lambda: bench.seen.acked == [1])
    assert present == [True]
    assert transport.failures == {"no radio": 1}
