"""Several shards are one fleet: same truth, same messages, and one of them may die."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_engine_shard import START_NS, Broker, JumpClock

from fleet_sim.contract import Telemetry
from fleet_sim.engine.hosts import ShardLostError, recover_files
from fleet_sim.engine.leavings import Leavings, load, save
from fleet_sim.engine.shard import Shard
from fleet_sim.engine.status import Sample, Status
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.engine.worker import Job, Worker, job_of
from fleet_sim.measure.audit import audit
from fleet_sim.measure.ledger import DropCause
from fleet_sim.scenario import Scenario, loads
from fleet_sim.transport import (
    Certificate,
    ConnectError,
    LinkSettings,
    Listener,
    MemoryTransport,
    Tls,
    Transport,
)
from fleet_sim.world import Share, build_cities, share_out, simulate
from fleet_sim.world.towns import fleet_vins

TEXT = """
name: small
seed: 7
city: {generate: {blocks: [4, 3], towns: TOWNS}}
fleet:
  - {group: quick, count: 13, telemetry: {period: 500ms, qos: 1}}
  - {group: slow, count: 8, telemetry: {period: 2s, qos: 0}}
phases:
  - {name: calm, duration: 12s}
  - {name: surge, duration: 8s, parking: {event: {at: arena, attendance: 30}}}
"""


def scenario(towns: int = 1) -> Scenario:
    return loads(TEXT.replace("TOWNS", str(towns)))


async def drive(spec: Scenario, share: Share) -> tuple[Shard, dict[tuple[str, int], Telemetry]]:
    """One shard from beginning to end: what it truly did, and its messages by name."""
    clock, broker = JumpClock(), Broker()
    world = simulate(spec, share)

    def connect_by(listener: Listener) -> Transport:
        return MemoryTransport(share.n, listener, now_ns=clock.now_ns, deliver=broker.deliver)

    shard = Shard(spec, world, share=share, run="r", clock=clock, make_transport=connect_by)
    await shard.connect(1.0)
    await shard.run(START_NS + 1_000_000_000)
    await shard.drain(1.0)
    await shard.close(1.0)
    return shard, {(message.vin, message.seq): message for message in broker.received}


@pytest.mark.parametrize("towns", [1, 3])
async def test_any_number_of_shards_has_the_same_truth_and_sends_the_same(towns: int) -> None:
    spec = scenario(towns)
    [(one, sent)] = [await drive(spec, share) for share in share_out(spec, 1)]
    assert len(sent) == 13 * 40 + 8 * 10
    worlds = getattr(one.world, "worlds", (one.world,))
    for shards in (2, 3):
        together: dict[tuple[str, int], Telemetry] = {}
        intended: dict[tuple[int, int], int] = {}
        for share in share_out(spec, shards):
            shard, messages = await drive(spec, share)
            assert not together.keys() & messages.keys()
            together |= messages
            columns = shard.ledger.columns()
            names = zip(columns.vehicle.tolist(), columns.seq.tolist(), strict=True)
            intended |= dict(zip(names, columns.intended_ns.tolist(), strict=True))
            own_worlds = getattr(shard.world, "worlds", (shard.world,))
            for world, town in zip(own_worlds, share.towns, strict=True):
                truth, same = world.truth, worlds[town].truth
                for name in ("initial", "occupied", "holder", "t_s", "stall", "by"):
                    assert np.array_equal(getattr(truth, name), getattr(same, name)), name
                for name in ("edge", "x", "v", "soc", "odo", "mode"):
                    mine, theirs = getattr(world.fleet, name), getattr(worlds[town].fleet, name)
                    assert np.array_equal(mine, theirs), name
                assert truth.t_s.size
        assert together == sent
        columns = one.ledger.columns()
        for vehicle, seq, t_ns in zip(
            columns.vehicle, columns.seq, columns.intended_ns, strict=True
        ):
            assert intended[int(vehicle), int(seq)] == t_ns
    assert len({message.vin for message in sent.values()}) == 21
    assert any(message.sonar for message in sent.values())


class Recorded:
    """A host whose worker lives here, with its ledger in files, and can be killed."""

    def __init__(self, job: Job, clock: JumpClock, die_at_s: float = 1e9) -> None:
        self.share = job.share
        self.status = Status(vehicles=job.share.n)
        self.samples: list[Sample] = []
        self.heard_s = 1e18
        self._job, self._clock = job, clock
        self._die_ns = START_NS + round(die_at_s * 1e9)

    async def start(self) -> None:
        self.worker = Worker(self._job, clock=self._clock)

    async def call(self, name: str, *args: Any) -> Any:
        if self._clock.now_ns() >= self._die_ns:
            raise ShardLostError("killed by signal 9 (SIGKILL)")
        task = asyncio.ensure_future(getattr(self.worker, name)(*args))
        while not task.done():
            if self._clock.now_ns() >= self._die_ns:
                task.cancel()
                self.status, self.samples = self.worker.news()
                raise ShardLostError("killed by signal 9 (SIGKILL)")
            await asyncio.sleep(0)
        return task.result()

    async def finish(self, timeout_s: float, settle_s: float) -> Leavings:
        left = await self.call("finish", timeout_s, settle_s)
        assert self._job.folder is not None
        save(left, self._job.folder)
        return load(self.share, self._job.folder)

    def recover(self, why: str, t0_ns: int, died_ns: int) -> Leavings:
        return recover_files(self._job, why, self.status, self.samples, t0_ns, died_ns)

    def kill(self) -> None:
        self._die_ns = 0


def supervise(
    spec: Scenario, folder: Path, deaths: Sequence[float], said: list[str]
) -> tuple[Supervisor, JumpClock]:
    # Each has its own clock that jumps: only the ends of the schedules are the same.
    whole = Job("r", spec, share_out(spec, 1)[0], LinkSettings("x", 1, "memory"))
    hosts = [
        Recorded(job_of(whole, share, folder / str(share.number)), JumpClock(), die_at_s)
        for share, die_at_s in zip(share_out(spec, len(deaths)), deaths, strict=True)
    ]
    clock = JumpClock()
    return Supervisor(hosts, clock, on_lost=said.append), clock


async def test_all_shards_together_are_the_run(tmp_path: Path) -> None:
    spec = scenario()
    supervisor, _ = supervise(spec, tmp_path, [1e9, 1e9], [])
    await supervisor.start()
    await supervisor.connect(1.0)
    assert supervisor.connected_at_start == 21
    await supervisor.run()
    assert await supervisor.drain(1.0) == 600
    stalls = [city.stalls.n for city in build_cities(spec)]
    driven = await supervisor.finish(1.0, 0.0, stalls)
    assert (driven.vehicles, driven.scheduled, driven.not_offered) == (21, 600, 0)
    assert len(driven.columns.seq) == driven.lateness.count == 600
    assert (np.diff(driven.columns.intended_ns) >= 0).all()
    assert driven.known.all()
    assert [round(sample.t_s) for sample in driven.samples] == list(range(21))
    assert {sample.connected for sample in driven.samples} <= set(range(22))
    assert driven.samples[0].connected == 21
    report = audit(driven.columns, None, None, None, fleet_vins(spec)).report
    assert (report.messages, report.unexplained) == (600, 80)  # QoS 0, of which it is not told


async def test_a_shard_that_dies_leaves_what_it_did_and_the_others_go_on(tmp_path: Path) -> None:
    spec, said = scenario(), []
    supervisor, _ = supervise(spec, tmp_path, [1e9, 9.0, 1e9], said)
    await supervisor.start()
    await supervisor.connect(1.0)
    await supervisor.run()
    assert said == ["shard 2 of 3 died, with 7 vehicles: killed by signal 9 (SIGKILL)"]
    assert [host.share.number for host in supervisor.living] == [0, 2]
    await supervisor.drain(1.0)
    driven = await supervisor.finish(1.0, 0.0, [city.stalls.n for city in build_cities(spec)])
    [dead] = driven.lost
    assert (dead.share.number, dead.lost) == (1, "killed by signal 9 (SIGKILL)")
    assert 0 < dead.messages < dead.facts.scheduled
    assert driven.not_offered == dead.facts.scheduled - dead.messages
    its = driven.columns.at(np.isin(driven.columns.vehicle, dead.share.ids))
    assert len(its.seq) == dead.messages
    unknown = its.cause == DropCause.SHARD_LOST
    # Acknowledged ones are known to have arrived; of QoS 0 nobody ever says, and it was sent.
    silent = (its.vehicle >= 13) & (its.sent_ns < dead.facts.end_ns - 1e9)
    assert np.array_equal(unknown, (its.acked_ns == 0) & ~silent)
    qos0 = np.repeat([False, True], [13, 8])
    report = audit(driven.columns, None, None, None, fleet_vins(spec), qos0=qos0).report
    assert report.unexplained == 0
    assert report.lost == 0
    assert report.dropped == {"shard_lost": int(unknown.sum())}
    assert driven.known.all()  # the others simulate the town, too


async def test_a_towns_truth_dies_with_the_only_shard_that_had_it(tmp_path: Path) -> None:
    spec = scenario(towns=2)
    supervisor, _ = supervise(spec, tmp_path, [9.0, 1e9], [])
    await supervisor.start()
    await supervisor.connect(1.0)
    await supervisor.run()
    stalls = [city.stalls.n for city in build_cities(spec)]
    driven = await supervisor.finish(1.0, 0.0, stalls)
    assert not driven.known[: stalls[0]].any()
    assert driven.known[stalls[0] :].all()


async def test_a_shard_that_dies_while_connecting_fails_the_run(tmp_path: Path) -> None:
    supervisor, _ = supervise(scenario(), tmp_path, [1e9, 0.0], [])
    await supervisor.start()
    with pytest.raises(ConnectError, match="shard 2 of 2 died while connecting: killed by signal"):
        await supervisor.connect(1.0)


def test_a_job_of_a_shard_carries_its_own_vehicles_certificates() -> None:
    spec = scenario()

    every = [Certificate(f"{i}.pem", f"{i}.key") for i in range(21)]
    link = LinkSettings("x", 1, tls=Tls(certificates=every), connect_rate=90, connect_concurrency=2)
    whole = Job("r", spec, share_out(spec, 1)[0], link)
    shares = share_out(spec, 3)
    jobs = [job_of(whole, share, None) for share in shares]
    for job, share in zip(jobs, shares, strict=True):
        assert job.link.tls is not None
        assert list(job.link.tls.certificates) == [every[i] for i in share.ids]
        assert (job.link.connect_rate, job.link.connect_concurrency) == (30, 1)
