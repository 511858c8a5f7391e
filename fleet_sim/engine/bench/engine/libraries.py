"""aiomqtt and the AWS CRT, each as its own users write it."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from typing import Any

from fleet_sim.engine.bench.engine.task import (
    CONCURRENCY,
    CONNECT_TIMEOUT_S,
    TICK_S,
    Outcome,
    Pacer,
    Task,
    cpu_s,
    p99_ms,
    resident_kb,
    window,
)


async def aiomqtt(task: Task) -> Outcome:
    """A coroutine a vehicle: `async with Client`, then publish and sleep."""
    import aiomqtt

    loop = asyncio.get_running_loop()
    base_kb = resident_kb()
    limit = asyncio.Semaphore(CONCURRENCY)
    start = loop.create_future()
    online = acknowledged = 0
    lateness_s: list[float] = []
    all_online = asyncio.Event()
    payload = task.payload

    async def vehicle(i: int) -> None:
        nonlocal online, acknowledged
        client = aiomqtt.Client(
            task.host,
            task.port,
            identifier=task.client_id(i),
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=CONNECT_TIMEOUT_S,
        )
        topic = task.topic(i)
        async with contextlib.AsyncExitStack() as stack:
            async with limit:
                await stack.enter_async_context(client)
            online += 1
            if online == task.vehicles:
                all_online.set()
            due = await asyncio.shield(start) + i * task.period_s / task.vehicles
            while True:
                await asyncio.sleep(due - loop.time())
                lateness_s.append(loop.time() - due)
                await client.publish(topic, payload, qos=1)
                acknowledged += 1
                due += task.period_s

    began = time.perf_counter()
    vehicles = [loop.create_task(vehicle(i)) for i in range(task.vehicles)]
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        await all_online.wait()
    connect_s = time.perf_counter() - began
    connected_kb = resident_kb()
    start.set_result(loop.time())
    measured = await window(task, lambda: acknowledged)
    for each in vehicles:
        each.cancel()
    return Outcome(
        online, connect_s, base_kb, connected_kb, *measured, p99_ms(lateness_s), task.payload_bytes
    )


def awscrt(task: Task) -> Outcome:
    """A client a vehicle, a future a message; the runtime's own threads do the rest."""
    from awscrt import mqtt5

    base_kb = resident_kb()
    under_way = threading.Semaphore(CONCURRENCY)
    online = 0
    acknowledged = 0
    lock = threading.Lock()

    def on_success(_: Any) -> None:
        nonlocal online
        with lock:
            online += 1
        under_way.release()

    def on_published(future: Future[Any]) -> None:
        nonlocal acknowledged
        if future.exception() is None:
            acknowledged += 1

    began = time.perf_counter()
    clients = []
    for i in range(task.vehicles):
        if not under_way.acquire(timeout=CONNECT_TIMEOUT_S):
            raise TimeoutError
        client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name=task.host,
                port=task.port,
                connect_options=mqtt5.ConnectPacket(client_id=task.client_id(i)),
                on_lifecycle_event_connection_success_fn=on_success,
                disable_metrics=True,
            )
        )
        client.start()
        clients.append(client)
    while online < task.vehicles:
        if time.perf_counter() - began > CONNECT_TIMEOUT_S:
            raise TimeoutError
        time.sleep(0.001)
    connect_s = time.perf_counter() - began
    connected_kb = resident_kb()
    topics = [task.topic(i) for i in range(task.vehicles)]
    payload = task.payload
    pacer = Pacer(task)
    before: tuple[int, float, float] | None = None
    t0 = time.perf_counter()
    while (elapsed := time.perf_counter() - t0) < task.total_s:
        if before is None and elapsed >= task.warmup_s:
            before = acknowledged, cpu_s(), time.perf_counter()
        for i in pacer.due(elapsed):
            packet = mqtt5.PublishPacket(
                payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE, topic=topics[i]
            )
            clients[i].publish(packet).add_done_callback(on_published)
        time.sleep(TICK_S)
    assert before is not None
    return Outcome(
        online,
        connect_s,
        base_kb,
        connected_kb,
        acknowledged - before[0],
        cpu_s() - before[1],
        time.perf_counter() - before[2],
        p99_ms(pacer.lateness_s),
        task.payload_bytes,
    )
