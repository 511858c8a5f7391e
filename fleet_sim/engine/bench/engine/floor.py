"""The floor: an asyncio Protocol a connection that writes bytes made before, and counts PUBACKs.

It checks nothing, keeps nothing and could not send a message again: no client in this language and
on this event loop can do with less.
"""

import asyncio
import time
from typing import cast

import mqtt5

from fleet_sim.engine.bench.engine.task import (
    CONCURRENCY,
    CONNECT_TIMEOUT_S,
    TICK_S,
    Outcome,
    Pacer,
    Task,
    p99_ms,
    resident_kb,
    window,
)


class _Tally:
    acknowledged = 0
    connected = 0


class _Bare(asyncio.Protocol):
    __slots__ = ("_connect", "_tally", "online", "publish", "write")

    def __init__(self, task: Task, i: int, tally: _Tally) -> None:
        self._tally = tally
        self.online = asyncio.get_running_loop().create_future()
        self._connect = mqtt5.ConnectPacket(
            task.client_id(i), clean_start=True, keep_alive=60
        ).write()
        self.publish = mqtt5.PublishPacket(
            task.topic(i), task.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1
        ).write()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write
        self.write(self._connect)

    def data_received(self, data: bytes) -> None:
        if data[0] == 0x40:
            at, end = 0, len(data)
            while at < end:  # the id is not looked at; 2 bytes of header and as many as they say
                self._tally.acknowledged += 1
                at += 2 + data[at + 1]
        elif data[0] == 0x20 and not self.online.done():
            self._tally.connected += 1
            self.online.set_result(None)


async def drive(task: Task) -> Outcome:
    loop = asyncio.get_running_loop()
    tally = _Tally()
    limit = asyncio.Semaphore(CONCURRENCY)
    base_kb = resident_kb()
    began = time.perf_counter()

    async def connect(i: int) -> _Bare:
        async with limit:
            _, link = await loop.create_connection(
                lambda: _Bare(task, i, tally), task.host, task.port
            )
            await link.online
            return link

    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        links = await asyncio.gather(*(connect(i) for i in range(task.vehicles)))
    connect_s = time.perf_counter() - began
    connected_kb = resident_kb()
    pacer = Pacer(task)
    measuring = loop.create_task(window(task, lambda: tally.acknowledged))
    t0 = time.perf_counter()
    while not measuring.done():
        for i in pacer.due(time.perf_counter() - t0):
            link = links[i]
            link.write(link.publish)
        await asyncio.sleep(TICK_S)
    measured = measuring.result()
    return Outcome(
        tally.connected,
        connect_s,
        base_kb,
        connected_kb,
        *measured,
        p99_ms(pacer.lateness_s),
        task.payload_bytes,
    )
