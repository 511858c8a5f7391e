"""Vehicles of a load test: a process of their own with our transport, told what to do by lines.

Locust runs on gevent and our transport on asyncio, which do not mix in one process. Requests come
on stdin and answers go to stdout, one JSON document a line, in any order: `python -m
fleet_sim.engine.load.mqtt`. The first line is the `Order`, and its answer has the number 0.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

import mqtt5
import msgspec
import uvloop

from fleet_sim.cloud import identities
from fleet_sim.contract import Telemetry
from fleet_sim.contract.topics import telemetry_topic
from fleet_sim.engine.clock import MonotonicEpoch
from fleet_sim.engine.load.talk import Answer, Order, Request
from fleet_sim.transport import Certificate, LinkSettings, Tls, Transport, make_transport
from fleet_sim.vehicle import Message
from fleet_sim.world.vin import MAX_GROUPS, vin

CONNECT_RATE = 100.0


def vins_of(order: Order) -> list[str]:
    """Of groups from the last one down: no scenario has as many."""
    return [vin(MAX_GROUPS - 1 - order.process, i) for i in range(order.vehicles)]


def link_of(order: Order, vins: list[str]) -> LinkSettings:
    """Certificates of all of them: made, or those of an earlier load test."""
    if order.broker is not None:
        host, port = order.broker
        return LinkSettings(host, port, connect_rate=CONNECT_RATE)
    assert order.place is not None
    target = order.place.target
    folder = Path(order.identities) / str(order.process)
    known = identities.provision(target, vins, folder, policy_name=order.place.vehicle_policy)
    files = [Certificate(i.cert_file, i.key_file) for i in known.identities]
    tls = Tls(ca_file=target.ca_file, certificates=files)
    return LinkSettings(target.mqtt_host, target.mqtt_port, tls=tls, connect_rate=CONNECT_RATE)


class Vehicles:
    """Does what requests ask; is its transport's listener."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._vins = vins_of(order)
        self._clock = MonotonicEpoch()
        self._seqs = [0] * order.vehicles
        self._begun: dict[int, list[tuple[int, int]]] = {}
        self._open: dict[int, tuple[int, int, int]] = {}
        """Vehicle, sequence number and when it was asked for, by request."""
        self._online: set[int] = set()
        self._known: set[int] = set()
        self._transport: Transport

    def start(self, link: LinkSettings) -> None:
        self._transport = make_transport(
            link,
            self._vins,
            self,
            now_ns=self._clock.now_ns,
            uniform=random.Random(self._order.process).random,
        )

    def ask(self, request: Request) -> None:
        """Begin what it asks for; the answer comes when it is done."""
        i, now_ns = request.vehicle, self._clock.now_ns()
        if not 0 <= i < len(self._vins):
            say(Answer(request.number, error=f"no vehicle {i}"))
        elif request.do == "connect":
            if i in self._online:
                say(Answer(request.number, vin=self._vins[i]))
                return
            self._begun.setdefault(i, []).append((request.number, now_ns))
            if i not in self._known:
                self._known.add(i)
                self._transport.open(i)
        else:
            self._seqs[i] += 1
            seq = self._seqs[i]
            self._open[request.number] = i, seq, now_ns
            record = Telemetry(
                run=self._order.run,
                vin=self._vins[i],
                seq=seq,
                ts=now_ns // 1_000_000,
                lat=request.lat,
                lon=request.lon,
                speed_mps=0.0,
                heading_deg=0.0,
                soc=0.5,
                mode="parked",
            )
            topic = telemetry_topic(self._vins[i])
            payload = msgspec.json.encode(record)
            self._transport.publish(i, Message(request.number, topic, payload, 1))

    async def close(self) -> None:
        await self._transport.close(2.0)

    # -- what the transport tells -----------------------------------------------------------------

    def on_online(self, i: int) -> None:
        self._online.add(i)
        now_ns = self._clock.now_ns()
        for number, since_ns in self._begun.pop(i, []):
            say(Answer(number, took_ns=now_ns - since_ns, vin=self._vins[i]))

    def on_offline(self, i: int, reason: str) -> None:
        self._online.discard(i)

    def on_sent(self, token: int, t_ns: int, duplicate: bool) -> None:
        pass

    def on_acknowledged(self, token: int, t_ns: int, reason_code: int) -> None:
        error = f"reason 0x{reason_code:02x}" if reason_code >= 0x80 else ""
        self._end(token, t_ns, error)

    def on_evicted(self, token: int) -> None:
        self._end(token, self._clock.now_ns(), "evicted: too many wait for the connection")

    def on_refused(self, token: int, reason: str) -> None:
        self._end(token, self._clock.now_ns(), reason)

    def on_message(self, i: int, packet: mqtt5.PublishPacket) -> None:
        pass

    def _end(self, token: int, t_ns: int, error: str) -> None:
        i, seq, since_ns = self._open.pop(token)
        took_ns = max(0, t_ns - since_ns)
        say(Answer(token, took_ns=took_ns, vin=self._vins[i], seq=seq, error=error))


def say(answer: Answer) -> None:
    """Write it; ends the process when nobody listens any more."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)  # closed streams would only be complained about on the way out


async def serve() -> None:
    """Until stdin ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    order = msgspec.json.decode(await lines.readline(), type=Order)
    vehicles = Vehicles(order)
    try:
        link = await asyncio.to_thread(link_of, order, vins_of(order))
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked has to hear of it
        say(Answer(0, error=f"{type(error).__name__}: {error}"))
        return
    vehicles.start(link)
    say(Answer(0))
    while line := await lines.readline():
        vehicles.ask(msgspec.json.decode(line, type=Request))
    await vehicles.close()


if __name__ == "__main__":
    uvloop.run(serve())
