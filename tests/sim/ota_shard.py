"""A shard with a campaign, joined by bytes with a model of the Jobs service and a server of images:
no network, and a clock that jumps."""

import datetime as dt
from collections.abc import Callable

import mqtt5
import msgspec
from test_engine_shard import JumpClock

from fleet_sim.contract.jobs import FirmwareJob
from fleet_sim.engine.ota.attack import Served, serve
from fleet_sim.engine.ota.fleet import preconditions_of
from fleet_sim.engine.ota.http import Reply
from fleet_sim.engine.ota.jobs import Answer, JobsService
from fleet_sim.engine.ota.live import Brought
from fleet_sim.engine.shard import Shard
from fleet_sim.scenario import Scenario, loads
from fleet_sim.transport import Listener, MemoryTransport, Transport
from fleet_sim.vehicle import Message
from fleet_sim.world import World


class Server:
    """Images and bundles, `URL?until=SECONDS`; every `fails_each`-th request gets no answer."""

    def __init__(self, served: list[Served], now_s: Callable[[], float], fails_each: int) -> None:
        self.requests = self.refused = 0
        self._served, self._now_s, self._fails_each = served, now_s, fails_each

    def get(self, url: str, first: int, last: int, done: Callable[[Reply], None]) -> None:
        self.requests += 1
        path, _, until = url.partition("?until=")
        kind, _, group = path.partition("/")
        if self._fails_each and self.requests % self._fails_each == 0:
            done(Reply(0))
        elif float(until) < self._now_s():
            self.refused += 1
            done(Reply(403))
        else:
            served = self._served[int(group)]
            body = served.bundle if kind == "metadata" else served.content
            assert body is not None
            part = body[first : last + 1]
            done(Reply(206, part, len(body)) if part else Reply(416, b"", len(body)))

    async def close(self) -> None: ...


class Joined:
    """`shard` runs `text`; `lose(answer)` says which of the service's messages get lost."""

    job_id = "c-w0-a1-p0"

    def __init__(
        self,
        text: str,
        *overrides: str,
        fails_each: int = 0,
        url_life_s: float = 900.0,
        lose: Callable[[Answer], bool] = lambda _: False,
    ) -> None:
        self.scenario: Scenario = loads(text, overrides=list(overrides))
        campaign = self.scenario.campaign
        assert campaign is not None
        self.clock = JumpClock()
        world = World(self.scenario)
        sent = min(int(campaign.firmware.size), int(campaign.firmware.sent))
        start = self.scenario.clock.start
        self.served = [
            serve(campaign, group.vehicle, start.astimezone(dt.UTC), sent)
            for group in self.scenario.fleet
        ]
        self.server = Server(self.served, self.now_s, fails_each)
        self.service = JobsService(self._document)
        self._groups = [
            g for g, group in enumerate(self.scenario.fleet) for _ in range(group.count)
        ]
        self._url_life_s, self._lose = url_life_s, lose
        self.listener: Listener

        def connect_by(listener: Listener) -> Transport:
            self.listener = listener
            return MemoryTransport(
                world.n, listener, now_ns=self.clock.now_ns, deliver=self._deliver
            )

        self.shard = Shard(
            self.scenario,
            world,
            run="r1",
            clock=self.clock,
            make_transport=connect_by,
            brought=Brought(
                tuple(served.trust for served in self.served), campaign.firmware.size / sent
            ),
            getter=self.server,
        )
        self._index = {vin: i for i, vin in enumerate(self.shard.vins)}

    def now_s(self) -> float:
        return self.clock.now_ns() / 1e9

    def start(self, *vehicles: int) -> None:
        """Queue the job for these, or all."""
        chosen = [self.shard.vins[i] for i in vehicles] or self.shard.vins
        self._send(self.service.create(self.job_id, chosen, self.now_s()))

    async def run(self) -> None:
        await self.shard.connect(1.0)
        self.start()
        await self.shard.run()
        await self.shard.drain(5.0)
        await self.shard.close(1.0)

    def statuses(self) -> list[str]:
        return [self.service.status(vin, self.job_id) for vin in self.shard.vins]

    # -- inside -----------------------------------------------------------------------------------

    def _document(self, thing: str, job_id: str, now_s: float) -> bytes:
        group = self._groups[self._index[thing]]
        served, until = self.served[group], now_s + self._url_life_s
        assert self.scenario.campaign is not None
        return msgspec.json.encode(
            FirmwareJob(
                "firmware-update",
                "c",
                served.version,
                served.target,
                f"image/{group}?until={until}",
                f"metadata/{group}?until={until}",
                preconditions_of(self.scenario.campaign),
            )
        )

    def _deliver(self, i: int, message: Message) -> None:
        if message.topic.startswith("$aws/"):
            vin = self.shard.vins[i]
            self._send(self.service.request(vin, message.topic, message.payload, self.now_s()))

    def _send(self, answers) -> None:  # type: ignore[no-untyped-def]
        for answer in answers:
            if not self._lose(answer):
                packet = mqtt5.PublishPacket(
                    answer.topic, payload=answer.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1
                )
                self.listener.on_message(self._index[answer.thing], packet)
