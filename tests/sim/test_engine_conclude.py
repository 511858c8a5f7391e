"""Verdicts and run folders, from shards on a clock that jumps; the watch that ends a run."""

import asyncio
import datetime as dt
import json
import resource
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from test_engine_shard import SCENARIO, Broker, JumpClock, build

from fleet_sim.engine.conclude import Outcome, conclude
from fleet_sim.engine.folder import RunFolder
from fleet_sim.engine.guard import Guard
from fleet_sim.engine.hosts import LocalHost
from fleet_sim.engine.preflight import PreflightError, check_descriptors
from fleet_sim.engine.progress import LiveView
from fleet_sim.engine.shard import Shard
from fleet_sim.engine.supervisor import Supervisor
from fleet_sim.engine.watch import OFFLINE_GIVE_UP_S, Stop, Watch
from fleet_sim.engine.worker import Job, Worker, bug_handler
from fleet_sim.measure.summary import Summary, from_json
from fleet_sim.scenario import loads
from fleet_sim.world import build_cities


class Here:
    """A backend that is there until it is said to be gone."""

    name, api_url, broken = "test", None, False

    def __init__(self) -> None:
        self.end: str | None = None

    def gone(self) -> str | None:
        return self.end


class Hosted(LocalHost):
    """A host of a shard that the test has built."""

    def __init__(self, shard: Shard) -> None:
        super().__init__(cast(Job, Namespace(share=shard.share)))
        self._shard = shard

    async def start(self) -> None:
        worker = Worker.__new__(Worker)
        worker.job = self._job
        worker.clock, worker.world, worker.shard = (
            self._shard.clock,
            self._shard.world,
            self._shard,
        )
        worker.probe = worker.snapshots = None
        worker._watching = []
        worker.connected_at_start = worker._told = 0
        self._worker = worker


async def supervise(shard: Shard) -> Supervisor:
    supervisor = Supervisor([Hosted(shard)], shard.clock)
    await supervisor.start()
    return supervisor


def watch_of(
    supervisor: Supervisor,
    folder: RunFolder,
    backend: Here | None = None,
    guard: Guard | None = None,
) -> Watch:
    view = LiveView(Console(quiet=True), loads(SCENARIO), supervisor)
    return Watch(cast(Any, backend or Here()), supervisor, view, folder, guard)


async def concluded(
    shard: Shard, path: Path, *, stop: tuple[Stop, str] | None = None, problem: str = ""
) -> Summary:
    folder = RunFolder.create(path, shard.scenario)
    supervisor = await supervise(shard)
    watch = watch_of(supervisor, folder)
    await supervisor.connect(1.0)
    await supervisor.run()
    watch._look()
    if stop is not None:
        watch.stop(*stop)
    cities = build_cities(shard.scenario)
    outcome = Outcome(
        run="r1",
        scenario=shard.scenario,
        target="test",
        started=dt.datetime(2026, 6, 1, tzinfo=dt.UTC),
        wall_s=6.0,
        driven=await supervisor.finish(1.0, 0.0, [city.stalls.n for city in cities]),
        cities=cities,
        vins=shard.vins,
        watch=watch,
        collected=None,
        collect_problem=problem,
        command="fleet-sim run x",
    )
    summary = conclude(outcome, folder)
    folder.finish()
    assert from_json((path / "summary.json").read_bytes()) == summary
    return summary


async def test_a_run_in_order_passes_and_its_folder_adds_up(tmp_path: Path) -> None:
    shard = build(JumpClock(), Broker())
    summary = await concluded(shard, tmp_path / "run")
    assert (summary.run.verdict, summary.run.exit_code) == ("passed", 0)
    assert summary.audit is not None
    assert summary.audit.unexplained == 0
    assert [phase.end_s for phase in summary.phases] == [6.0]
    ledger = pq.read_table(tmp_path / "run" / "ledger.parquet")
    assert ledger.num_rows == shard.scheduled_total == summary.generator.sent
    series = pq.read_table(tmp_path / "run" / "timeseries.parquet").to_pylist()
    sent = sum(row["value"] for row in series if row["name"] == "rate{kind:sent}")
    assert sent == shard.scheduled_total
    assert (tmp_path / "latest").resolve() == tmp_path / "run"
    assert "<failure" not in (tmp_path / "run" / "junit.xml").read_text()


async def test_a_run_says_what_its_fleet_would_cost(tmp_path: Path) -> None:
    text = SCENARIO + "clock: {speed: 2}\n"
    shard = build(JumpClock(), Broker(), text)
    assert shard.scenario.clock.speed == 2
    summary = await concluded(shard, tmp_path / "run")
    assert summary.cost is not None
    work = summary.cost.workload
    # By simulated time: the run was half as long as what it stands for.
    assert work.hours * 3600 == pytest.approx(shard.scenario.duration_s, rel=0.02)
    assert work.messages == pytest.approx(summary.generator.sent)
    assert sum(work.sizes.values()) == pytest.approx(1.0)
    assert sum(shard.sizes.values()) == summary.generator.sent
    mean = sum(size * count for size, count in shard.sizes.items()) / summary.generator.sent
    assert mean <= sum(size * share for size, share in work.sizes.items()) <= mean + 16
    assert summary.cost.bill.usd > 0


async def test_a_generator_that_was_seconds_late_is_its_own_verdict(tmp_path: Path) -> None:
    shard = build(JumpClock(stall_at_s=2.0, stall_s=3.0), Broker())
    summary = await concluded(shard, tmp_path / "run")
    assert (summary.run.verdict, summary.run.exit_code) == ("generator_overloaded", 4)
    assert "could not hold the schedule" in summary.run.reasons[0]
    assert summary.generator.late > 0


async def test_a_broken_threshold_is_99_and_named(tmp_path: Path) -> None:
    text = SCENARIO + 'thresholds: {messages: ["count<10"]}\n'
    shard = build(JumpClock(), Broker(), text)
    summary = await concluded(shard, tmp_path / "run")
    assert (summary.run.verdict, summary.run.exit_code) == ("threshold_broken", 99)
    assert summary.run.reasons == [f"messages: count<10: count is {shard.scheduled_total}"]


async def test_a_threshold_ends_the_run_as_soon_as_it_breaks(tmp_path: Path) -> None:
    rule = '{threshold: "count<12", abort_on_fail: true, delay: 1s}'
    shard = build(JumpClock(), Broker(), SCENARIO + f"thresholds: {{messages: [{rule}]}}\n")
    folder = RunFolder.create(tmp_path / "run", shard.scenario)
    supervisor = await supervise(shard)
    watch = watch_of(supervisor, folder, guard=Guard(shard.scenario))
    await supervisor.connect(1.0)
    running = asyncio.create_task(supervisor.run())
    while not watch.stopped and not running.done():
        watch._look()
        await asyncio.sleep(0)
    assert watch.stopped is Stop.THRESHOLD
    assert "messages: count<12: count is" in watch.reason
    assert len(shard.ledger) < shard.scheduled_total
    await supervisor.stop()
    await running
    watch.rearm()  # what was sent is drained, unless somebody has no time for it
    asyncio.get_running_loop().call_soon(watch.stop, Stop.INTERRUPTED, "interrupted")
    assert not await watch.unless_stopped(asyncio.sleep(60))
    assert watch.stopped is Stop.THRESHOLD
    folder.finish()


async def test_a_threshold_may_be_about_a_group_and_a_phase(tmp_path: Path) -> None:
    text = SCENARIO.replace(
        "{name: only, duration: 6s}", "{name: calm, duration: 2s}\n  - {name: surge, duration: 4s}"
    )
    text += """
thresholds:
  "messages{group:quick}": ["count==48"]
  "messages{group:slow}": ["count==9"]
  "messages{phase:calm}": ["count==19"]
  "messages{phase:surge, group:quick}": ["count==32"]
  "latency_ms{stage:acknowledged, group:quick}": ["count==48", "p(97)<1000"]
  "latency_ms{stage:acknowledged, group:slow}": ["count==0"]
  "service_ms{phase:calm, stage:acknowledged}": ["count==16"]
  "lateness_ms": ["p(97)<1000"]
"""
    shard = build(JumpClock(), Broker(), text)
    summary = await concluded(shard, tmp_path / "run")
    observed = {f"{t.metric}: {t.condition}": t.observed for t in summary.thresholds}
    assert list(summary.run.reasons) == [], observed
    assert "latency_ms{group:quick,stage:acknowledged}" in summary.metrics


async def test_what_cannot_be_audited_does_not_pass(tmp_path: Path) -> None:
    shard = build(JumpClock(), Broker())
    summary = await concluded(shard, tmp_path / "run", problem="S3 is gone")
    assert (summary.run.verdict, summary.run.exit_code) == ("target_failed", 3)
    assert "S3 is gone" in summary.run.reasons[0]
    assert summary.audit is None


@pytest.mark.parametrize(
    ("kind", "verdict", "code"),
    [
        (Stop.TARGET, "target_failed", 3),
        (Stop.INTERRUPTED, "interrupted", 130),
        (Stop.THRESHOLD, "threshold_broken", 99),
    ],
)
async def test_why_a_run_ended_early_is_its_verdict(
    kind: Stop, verdict: str, code: int, tmp_path: Path
) -> None:
    summary = await concluded(build(JumpClock(), Broker()), tmp_path / "run", stop=(kind, "why"))
    assert (summary.run.verdict, summary.run.exit_code) == (verdict, code)
    assert any(event.text == "ended early: why" for event in summary.events)


async def test_an_error_in_a_callback_ends_the_run_and_is_raised(tmp_path: Path) -> None:
    shard = build(JumpClock(), Broker())
    watch = watch_of(await supervise(shard), RunFolder.create(tmp_path / "run", shard.scenario))
    loop, handle = asyncio.get_running_loop(), bug_handler(watch.on_bug)
    handle(loop, {"message": "a socket went away", "exception": ConnectionResetError()})
    assert watch.stopped is None
    handle(loop, {"message": "x", "exception": KeyError("ours")})
    handle(loop, {"message": "x", "exception": ValueError("a later one")})
    assert watch.stopped is Stop.BUG
    with pytest.raises(KeyError, match="ours"):
        watch.raise_bug()


async def test_work_is_awaited_until_the_run_is_stopped(tmp_path: Path) -> None:
    shard = build(JumpClock(), Broker())
    watch = watch_of(await supervise(shard), RunFolder.create(tmp_path / "run", shard.scenario))

    async def fails() -> None:
        raise LookupError("in the work")

    assert await watch.unless_stopped(asyncio.sleep(0))
    with pytest.raises(LookupError):
        await watch.unless_stopped(fails())
    asyncio.get_running_loop().call_soon(watch.stop, Stop.INTERRUPTED, "first")
    endless = asyncio.create_task(asyncio.sleep(3600))
    assert not await watch.unless_stopped(endless)
    assert endless.cancelled()
    watch.stop(Stop.TARGET, "second")
    assert (watch.stopped, watch.reason) == (Stop.INTERRUPTED, "first")


async def test_a_target_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    shard, backend = build(JumpClock(), Broker()), Here()
    folder = RunFolder.create(tmp_path / "run", shard.scenario)
    watch = watch_of(await supervise(shard), folder, backend)
    watch._look()
    assert watch.stopped is None
    backend.end = "it has stopped"
    watch._look()
    assert (watch.stopped, watch.reason) == (Stop.TARGET, "it has stopped")


async def test_a_fleet_that_stays_offline_gives_up_and_the_outage_is_kept(tmp_path: Path) -> None:
    clock = JumpClock()
    shard = build(clock, Broker())
    folder = RunFolder.create(tmp_path / "run", shard.scenario)
    supervisor = await supervise(shard)
    watch = watch_of(supervisor, folder)
    await shard.connect(1.0)
    supervisor.t0_ns = clock.now_ns()
    for i in range(shard.n):
        shard.on_offline(i, "connection refused")
    looks = 0
    while watch.stopped is None:
        await clock.sleep(0.5)
        watch._look()
        looks += 1
    assert looks == OFFLINE_GIVE_UP_S / 0.5
    assert "no vehicle has been online" in watch.reason
    watch._note_outage(0, over=True)
    [outage] = watch.outages
    assert outage.end_ns - outage.start_ns == OFFLINE_GIVE_UP_S * 1e9
    events = [json.loads(line)["event"] for line in (folder.path / "log.jsonl").open()]
    assert events == ["outage", "stop", "recovered"]


def test_a_folder_in_use_and_one_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    scenario = loads(SCENARIO)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(PreflightError, match="is not empty"):
        RunFolder.create(tmp_path / "full", scenario)
    (tmp_path / "file").write_text("x")
    with pytest.raises(PreflightError, match=r"--out: .*file"):
        RunFolder.create(tmp_path / "file" / "run", scenario)
    assert (tmp_path / "full" / "mine.txt").read_text() == "x"


def test_too_few_descriptors_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 20_000))
    with pytest.raises(PreflightError, match=r"100000000 vehicles need .*ulimit -Hn"):
        check_descriptors(100_000_000)


class Slow:
    """A world whose steps take longer than the time they simulate."""

    def __init__(self, world: Any, clock: JumpClock, takes_s: float) -> None:
        self._world, self._clock, self._takes_ns = world, clock, round(takes_s * 1e9)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def step(self, dt_s: float) -> None:
        self._world.step(dt_s)
        self._clock.t_ns += self._takes_ns


LONG = SCENARIO.replace("6s", "10m") + 'thresholds: {connected_ratio: ["value==1"]}\n'


async def test_a_generator_that_falls_behind_for_good_gives_up_and_passes_nothing(
    tmp_path: Path,
) -> None:
    clock = JumpClock()
    shard = build(clock, Broker(), LONG)
    shard.world = Slow(shard.world, clock, 0.25)
    summary = await concluded(shard, tmp_path / "run")
    assert (summary.run.verdict, summary.run.exit_code) == ("generator_overloaded", 4)
    assert "asked 10 messages/s, held" in summary.run.reasons[0]
    assert "it gave up" in summary.run.reasons[0]
    assert any("2 of 2 thresholds held, of a load" in why for why in summary.run.reasons)
    # A second of lag, ten more of patience, and a step.
    assert summary.phases[0].end_s < 13
    generator, audit = summary.generator, summary.audit
    assert audit is not None
    assert generator.dropped == audit.dropped["late_skipped"] > 0
    assert generator.sent + generator.dropped == audit.messages
    assert generator.not_offered == generator.scheduled - audit.messages > 0
    assert audit.unexplained == 0


async def test_a_generator_that_catches_up_in_time_drops_nothing(tmp_path: Path) -> None:
    clock = JumpClock()
    shard = build(clock, Broker(), LONG.replace("10m", "40s"))
    slow = Slow(shard.world, clock, 0.25)
    shard.world = slow
    running = asyncio.create_task(concluded(shard, tmp_path / "run"))
    while shard.t0_ns == 0 or clock.now_ns() < shard.t0_ns + 5_000_000_000:  # noqa: ASYNC110
        await asyncio.sleep(0)
    slow._takes_ns = 0
    summary = await running
    assert summary.audit is not None
    assert summary.audit.messages == summary.generator.scheduled
    assert "late_skipped" not in summary.audit.dropped
    assert shard.overloaded == ""


async def test_what_fails_beside_a_run_ends_it_at_once(tmp_path: Path) -> None:
    shard = build(JumpClock(), Broker())
    folder = RunFolder.create(tmp_path / "run", shard.scenario)
    watch = watch_of(await supervise(shard), folder)

    async def breaks() -> None:
        raise LookupError("no such fault")

    watch.mind(breaks())
    assert not await watch.unless_stopped(asyncio.sleep(5))
    assert watch.stopped is Stop.BUG
    with pytest.raises(LookupError, match="no such fault"):
        watch.raise_bug()
