"""What the conformance suite's tests share: transports of any kind, and a check at the end that no
task, no thread, no socket and no error of the event loop is left."""

import asyncio
import contextlib
import importlib.util
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import uvloop
from transport_bench import SOON, Recorder, sockets, until

from fleet_sim.transport import Kind, LinkSettings, Transport, make_transport
from fleet_sim.vehicle import Message

KINDS: tuple[Kind, ...] = ("native", "aiomqtt", "awscrt")
MISSING = {
    "native": None,
    "aiomqtt": None if importlib.util.find_spec("aiomqtt") else "aiomqtt is not installed",
    "awscrt": None if importlib.util.find_spec("awsiot") else "awsiotsdk is not installed",
}
"""Why a transport cannot be had here, or None."""


class Rig:
    """What a test gets: transports, each with a listener that writes down what it is told."""

    def __init__(self) -> None:
        self.loop_errors: list[dict[str, Any]] = []
        self._made: list[Transport] = []

    def make(
        self, kind: Kind, host: str, port: int, n: int = 1, *, prefix: str = "v", **settings: Any
    ) -> tuple[Transport, Recorder]:
        """A transport of the vehicles v0, v1, … None is opened yet."""
        seen = Recorder()
        link = LinkSettings(
            host, port, kind, **{"connect_rate": 2_000.0, "backoff": SOON, **settings}
        )
        names = [f"{prefix}{i}" for i in range(n)]
        transport = make_transport(
            link, names, seen, now_ns=time.monotonic_ns, uniform=random.Random(1).random
        )
        self._made.append(transport)
        return transport, seen

    async def connected(
        self, kind: Kind, host: str, port: int, n: int = 1, **settings: Any
    ) -> tuple[Transport, Recorder]:
        transport, seen = self.make(kind, host, port, n, **settings)
        for i in range(n):
            transport.open(i)
        await soon(lambda: online(seen) == n)
        return transport, seen

    async def finish(self) -> None:
        for transport in self._made:
            # Closed already, or its error is the test's subject.
            with contextlib.suppress(RuntimeError):
                await transport.close(1.0)


def online(seen: Recorder) -> int:
    return len(seen.online) - len(seen.offline)


async def soon(condition: Callable[[], object]) -> None:
    await until(condition)


def message(token: int, qos: int = 1, topic: str = "t") -> Message:
    return Message(token, topic, b"%d" % token, qos)


def heard(seen: Recorder) -> list[int]:
    """Tokens of what was received, in order."""
    return [int(packet.payload) for _, packet in seen.messages]


def first_heard(seen: Recorder) -> list[int]:
    """The same without repetitions."""
    return list(dict.fromkeys(heard(seen)))


def run(test: Callable[[Rig], Coroutine[Any, Any, None]], *, lingering: bool = False) -> None:
    """Run a test on uvloop, as the engine does, and look what it leaves behind; with `lingering`
    sockets may stay."""

    @contextlib.asynccontextmanager
    async def rig() -> AsyncIterator[Rig]:
        made = Rig()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: made.loop_errors.append(context)
        )
        await asyncio.sleep(0.01)
        before = sockets()
        try:
            yield made
        finally:
            await made.finish()
        await until(lambda: lingering or not sockets() - before)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, f"left behind: {tasks}"
        await until(lambda: not [t for t in threading.enumerate() if "aiomqtt" in t.name])
        assert not made.loop_errors, made.loop_errors

    async def main() -> None:
        async with rig() as made:
            await test(made)

    uvloop.run(main())
