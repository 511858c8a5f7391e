"""Shards as processes, against mosquitto: one truth, one report, and what a death costs."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mosquitto import MOSQUITTO, Mosquitto
from test_run import environment, fleet_sim, processes_of, summary_of

from fleet_sim.transport import LinkSettings, NativeTransport

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")

SCENARIO = """
name: shared
seed: 3
city: {generate: {blocks: [5, 5]}}
fleet:
  - {group: cars, count: 400, radio: none, telemetry: {period: PERIOD, qos: 1}, parked: 20%}
phases:
  - {name: only, duration: DURATION}
thresholds:
  "connected_ratio": ["value==1"]
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    broker.start()
    yield broker
    broker.stop()


def start(
    folder: Path,
    broker: Mosquitto,
    *options: str,
    duration: str,
    period: str = "1s",
    judged: bool = False,
) -> "subprocess.Popen[str]":
    text = SCENARIO.replace("DURATION", duration).replace("PERIOD", period)
    (folder / "shared.yaml").write_text(text)
    target = f"mqtt://127.0.0.1:{broker.port}"
    return subprocess.Popen(
        fleet_sim(
            "run",
            "shared.yaml",
            "--target",
            target,
            "--out",
            folder / "run",
            *options,
            judged=judged,
        ),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_phases(folder: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        log = folder / "run" / "log.jsonl"
        if log.exists() and b'"event":"phases"' in log.read_bytes():
            time.sleep(4.0)
            return
        time.sleep(0.1)
    raise AssertionError("the run did not begin within 240 s")


def shards_of(process: "subprocess.Popen[str]") -> list[int]:
    """Pids of the shards' processes, in order."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
            line = (path.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(rest.rpartition(") ")[2].split()[1])
        if parent == process.pid and b"spawn_main" in line:
            found.append(int(pid))
    return sorted(found)


def test_a_killed_shard_is_lost_load_and_the_other_one_finishes(
    tmp_path: Path, broker: Mosquitto
) -> None:
    process = start(tmp_path, broker, "--shards", "2", duration="15s")
    wait_for_phases(tmp_path, process)
    _, second = shards_of(process)
    os.kill(second, signal.SIGKILL)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 4, output
    assert "shard 2 of 2 died, with 200 vehicles: killed by signal 9" in output
    summary = summary_of(tmp_path / "run")
    assert summary.run.verdict == "generator_overloaded"
    first = summary.run.reasons[0]
    assert first.startswith("shard 2 of 2 died")
    assert "its 200 vehicles" in first
    assert "were not offered" in first
    survivor, dead = summary.generator.shards
    assert (survivor.vehicles, survivor.connected, survivor.messages) == (200, 200, 200 * 15)
    assert survivor.died == ""
    assert "SIGKILL" in dead.died
    assert 0 < dead.messages < 200 * 15
    assert summary.generator.not_offered == 200 * 15 - dead.messages
    audit = summary.audit
    assert audit is not None
    assert (audit.lost, audit.unexplained, audit.unsent) == (0, 0, 0)
    assert audit.dropped.keys() <= {"shard_lost"}
    ledger = pq.read_table(tmp_path / "run" / "ledger.parquet")
    assert ledger.num_rows == survivor.messages + dead.messages
    assert not (tmp_path / "run" / "shards").exists()
    assert (tmp_path / "run" / "index.html").exists()


def test_ctrl_c_reaches_every_shard_and_the_report_is_written(
    tmp_path: Path, broker: Mosquitto
) -> None:
    process = start(tmp_path, broker, "--shards", "2", duration="120s")
    wait_for_phases(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 130, output
    summary = summary_of(tmp_path / "run")
    assert summary.run.verdict == "interrupted"
    assert [shard.died for shard in summary.generator.shards] == ["", ""]
    assert summary.audit is not None
    assert summary.audit.unexplained == 0
    assert summary.generator.not_offered > 0
    assert [line for line in processes_of(tmp_path) if "mosquitto" not in line] == []


def test_more_than_a_process_can_do_ends_soon_and_passes_nothing(
    tmp_path: Path, broker: Mosquitto
) -> None:
    process = start(
        tmp_path, broker, "--vehicles", "4000", "--set", "city.generate.blocks=[14, 14]",
        duration="10m", period="50ms", judged=True,
    )  # fmt: skip
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 4, output
    summary = summary_of(tmp_path / "run")
    first = summary.run.reasons[0]
    assert first.startswith("the generator could not hold the schedule: asked 80,000 messages/s")
    assert any("thresholds held, of a load that was not" in why for why in summary.run.reasons)
    assert summary.run.wall_s < 120  # of ten minutes
    assert summary.generator.not_offered > summary.generator.sent
    assert summary.audit is not None
    assert summary.audit.unexplained == 0
    assert set(summary.audit.dropped) <= {"late_skipped", "shutdown"}


class Silent:
    """A listener that wants to know nothing."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


async def test_connections_come_from_the_source_addresses_in_turn() -> None:
    peers: list[str] = []
    every = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        if len(peers) == 4:
            every.set()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = LinkSettings("127.0.0.1", port, source_ips=("127.0.3.1", "127.0.3.2"))
    transport = NativeTransport(
        settings,
        ["a", "b", "c", "d"],
        Silent(),  # type: ignore[arg-type]
        now_ns=time.time_ns,
        uniform=lambda: 1.0,
    )
    for i in range(4):
        transport.open(i)
    await asyncio.wait_for(every.wait(), 60)
    await transport.close(1.0)
    server.close()
    assert sorted(peers[:4]) == ["127.0.3.1", "127.0.3.1", "127.0.3.2", "127.0.3.2"]
