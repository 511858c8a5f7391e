"""Locust's `MqttUser`, headless, in its own runner. Importing locust patches the process for
gevent: only the process of this contestant may import this module."""

import time
from typing import Any

import gevent
import gevent.event
from locust import task
from locust.contrib.mqtt import MqttClient, MqttUser
from locust.env import Environment
from paho.mqtt.client import MQTTv5

from fleet_sim.engine.bench.engine.task import (
    CONNECT_TIMEOUT_S,
    Outcome,
    Task,
    cpu_s,
    p99_ms,
    resident_kb,
)

_SPAWN_RATE = 500.0


class _OneName(MqttClient):
    """All messages under one name: statistics a topic would only cost more."""

    def _generate_event_name(self, event_type: str, qos: int, topic: str) -> str:
        return event_type


def drive(of: Task) -> Outcome:
    lateness_s: list[float] = []
    payload = of.payload
    number = iter(range(of.vehicles))
    go = gevent.event.Event()

    class Vehicle(MqttUser):
        host = of.host
        port = of.port
        protocol = MQTTv5
        client_cls = _OneName
        use_loop_selectors = True  # else 340 connections are the most

        def __init__(self, environment: Environment) -> None:
            self.i = next(number)
            self.client_id = of.client_id(self.i)  # type: ignore[assignment]
            super().__init__(environment)

        def on_start(self) -> None:
            go.wait()
            offset = self.i * of.period_s / of.vehicles
            gevent.sleep(max(0.0, t0 + offset - time.perf_counter()))
            self.due = t0 + offset

        def wait_time(self) -> float:
            return max(0.0, self.due - time.perf_counter())

        @task
        def publish(self) -> None:
            lateness_s.append(time.perf_counter() - self.due)
            self.due += of.period_s
            self.client.publish(of.topic(self.i), payload, qos=1)

    environment = Environment(user_classes=[Vehicle])
    runner = environment.create_local_runner()
    tally = {"connect": 0, "publish": 0}

    def count(name: str, exception: Any, **_: Any) -> None:
        if exception is None and name in tally:
            tally[name] += 1

    environment.events.request.add_listener(count)  # type: ignore[no-untyped-call]
    base_kb = resident_kb()
    began = time.perf_counter()
    runner.start(of.vehicles, spawn_rate=_SPAWN_RATE)
    while tally["connect"] < of.vehicles:
        if time.perf_counter() - began > CONNECT_TIMEOUT_S:
            raise TimeoutError
        gevent.sleep(0.01)
    connect_s = time.perf_counter() - began
    connected_kb = resident_kb()
    t0 = time.perf_counter()
    go.set()
    gevent.sleep(of.warmup_s)
    before = tally["publish"], cpu_s(), time.perf_counter()
    gevent.sleep(of.duration_s)
    return Outcome(
        tally["connect"],
        connect_s,
        base_kb,
        connected_kb,
        tally["publish"] - before[0],
        cpu_s() - before[1],
        time.perf_counter() - before[2],
        p99_ms(lateness_s),
        of.payload_bytes,
    )
