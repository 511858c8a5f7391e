"""A bench for transport tests: a scripted broker, a listener that records, and a check at the end
that no task, no socket and no error of the event loop was left behind."""

import asyncio
import functools
import inspect
import itertools
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import mqtt5
import pytest
import uvloop
from broker import Broker

from fleet_sim.transport import LinkSettings, NativeTransport, Tls
from fleet_sim.vehicle import Backoff, Message

SOON = Backoff(base_s=0.05, cap_s=0.1, reset_after_s=20.0, jitter="none")


class Recorder:
    """A `Listener` that writes everything down."""

    def __init__(self) -> None:
        self.online: list[int] = []
        self.offline: list[tuple[int, str]] = []
        self.sent: list[tuple[int, int, bool]] = []
        self.acknowledged: list[tuple[int, int, int]] = []
        self.evicted: list[int] = []
        self.refused: list[tuple[int, str]] = []
        self.messages: list[tuple[int, mqtt5.PublishPacket]] = []

    def on_online(self, i: int) -> None:
        self.online.append(i)

    def on_offline(self, i: int, reason: str) -> None:
        self.offline.append((i, reason))

    def on_sent(self, token: int, t_ns: int, duplicate: bool) -> None:
        self.sent.append((token, t_ns, duplicate))

    def on_acknowledged(self, token: int, t_ns: int, reason_code: int) -> None:
        self.acknowledged.append((token, t_ns, reason_code))

    def on_evicted(self, token: int) -> None:
        self.evicted.append(token)

    def on_refused(self, token: int, reason: str) -> None:
        self.refused.append((token, reason))

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None:
        self.messages.append((i, packet))

    @property
    def acked(self) -> list[int]:
        return [token for token, _, _ in self.acknowledged]


class Bench:
    """What a test gets: `broker`, `seen` (the listener), and transports that connect to it."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.seen = Recorder()
        self.loop_errors: list[dict[str, Any]] = []
        self._transports: list[NativeTransport] = []

    def transport(
        self,
        n: int = 1,
        *,
        tls: Tls | None = None,
        **settings: Any,
    ) -> NativeTransport:
        """A transport of `n` vehicles, named v0, v1, … None is opened yet."""
        ticks = itertools.count(1)
        link = LinkSettings(
            "127.0.0.1",
            self.broker.port,
            tls=tls,
            **{"connect_rate": 2_000.0, "backoff": SOON, **settings},
        )
        transport = NativeTransport(
            link,
            [f"v{i}" for i in range(n)],
            self.seen,
            now_ns=lambda: next(ticks),
            uniform=random.Random(1).random,
        )
        self._transports.append(transport)
        return transport

    async def connected(self, n: int = 1, **settings: Any) -> NativeTransport:
        """A transport whose `n` vehicles are all online."""
        transport = self.transport(n, **settings)
        for i in range(n):
            transport.open(i)
        await until(lambda: transport.online == n)
        return transport

    async def finish(self) -> None:
        for transport in self._transports:
            await transport.close(0.5)
        await self.broker.stop()


def message(token: int, qos: int = 1, padding: int = 0) -> Message:
    payload = b"%d" % token + (b" " + b"x" * padding if padding else b"")
    return Message(token, "t", payload, qos)


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for `condition`; fail with its source when it does not come true. The time is for a
    machine that is busy with others: it is no figure that a test judges."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() > deadline:
            pytest.fail(f"not within {timeout_s} s: {inspect.getsource(condition).strip()}")
        await asyncio.sleep(0.005)


def sockets() -> set[str]:
    """The sockets that this process has open, by inode."""
    names = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.add(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return {name for name in names if name.startswith("socket:")}


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run the coroutine test on asyncio's own event loop and on uvloop, each with a new `Bench`."""

    async def supervised(**arguments: object) -> None:
        bench = Bench()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: bench.loop_errors.append(context))
        await asyncio.sleep(0.01)
        before = sockets()
        await bench.broker.start()
        try:
            await test(bench, **arguments)
        finally:
            await bench.finish()
        await until(lambda: not sockets() - before)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, f"left behind: {tasks}"
        assert not bench.loop_errors, bench.loop_errors

    @functools.wraps(test)
    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(supervised(**arguments))

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would see a coroutine function
    others = list(inspect.signature(test).parameters.values())[1:]
    first = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    factories = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop_factory", factories, ids=["asyncio", "uvloop"])(run)


def once_each(tokens: list[int]) -> None:
    """Fail when a token appears twice."""
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    assert not twice, f"more than once: {twice}"
