"""The main job, small, as a user runs it: a process of its own, all of the pipeline, exit codes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import mqtt5
import msgspec
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from fleet_sim.contract import Telemetry
from fleet_sim.engine import drain, judge
from fleet_sim.engine import run as engine
from fleet_sim.engine.catalog import METRICS
from fleet_sim.measure.load import METRICS as LOAD_METRICS
from fleet_sim.measure.ota import METRICS as OTA_METRICS
from fleet_sim.measure.summary import Summary, from_json
from fleet_sim.transport import NativeTransport, choice
from fleet_sim.vehicle import Message

SCENARIO = """
name: small
seed: 3
city: {generate: {blocks: [3, 3]}}
fleet:
  - {group: cars, count: 8, telemetry: {period: 500ms, qos: 1}}
  - {group: vans, count: 2, vehicle: leaf_30, telemetry: {period: 1s, qos: 0}}
phases:
  - {name: only, duration: DURATION}
thresholds:
  "audit_lost": ["count==0"]
  "connected_ratio": ["value==1"]
"""
MESSAGES_A_SECOND = 8 * 2 + 2


def write_scenario(folder: Path, duration: str, more: str = "") -> Path:
    path = folder / "small.yaml"
    path.write_text(SCENARIO.replace("DURATION", duration) + more)
    return path


def fleet_sim(*arguments: object, judged: bool = False) -> list[str]:
    """The command; `judged` as a user has it, and else without a verdict about the machine."""
    calmly = ["-P", str(Path(__file__).with_name("calmly.py"))]
    return [sys.executable, *(["-m", "fleet_sim"] if judged else calmly), *map(str, arguments)]


def environment() -> dict[str, str]:
    # The package must be importable from the test's own folder.
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def run_in(
    folder: Path, *arguments: object, timeout: float = 400
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        fleet_sim(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def summary_of(run_dir: Path) -> Summary:
    return from_json((run_dir / "summary.json").read_bytes())


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that mention the folder."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = status.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line and "pytest" not in line:
            found.append(line)
    return found


def wait_for_phases(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until vehicles are sending: their run folder's log says that the run has begun."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        logs = list(folder.glob("reports/*/log.jsonl"))
        if logs and b'"event":"phases"' in logs[0].read_bytes():
            time.sleep(4.0)
            return
        time.sleep(0.1)
    raise AssertionError("the run did not begin within 240 s")


def test_a_run_passes_twice_in_a_row_and_leaves_only_its_folder(tmp_path: Path) -> None:
    write_scenario(tmp_path, "3s")
    for _ in range(2):
        done = run_in(tmp_path, "run", "small.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "10 of 10 vehicles connected" in done.stdout
    assert len(list(tmp_path.glob("reports/2*"))) == 2
    latest = tmp_path / "reports" / "latest"
    summary = summary_of(latest)
    assert summary.run.verdict == "passed"
    assert summary.audit is not None
    assert summary.audit.messages == 3 * MESSAGES_A_SECOND
    assert summary.audit.applied == summary.audit.messages
    assert summary.audit.unexplained == 0
    assert summary.metrics["latency_ms{stage:processed}"]["count"] == 3 * MESSAGES_A_SECOND
    assert summary.metrics["latency_ms{stage:visible}"]["count"]
    # The local AWS runs by this machine's clock.
    assert summary.clock is not None
    assert abs(summary.clock.offset_ms) <= summary.clock.error_ms + 5
    assert summary.accuracy is not None
    assert {file.name for file in latest.iterdir()} >= {
        "index.html",
        "junit.xml",
        "ledger.parquet",
        "log.jsonl",
        "map.json",
        "scenario.yaml",
        "summary.json",
        "timeseries.parquet",
        "latency_acknowledged.hgrm",
    }
    ledger = pq.read_table(latest / "ledger.parquet")
    assert ledger.num_rows == summary.audit.messages
    assert set(ledger.column("fate").to_pylist()) == {"applied"}
    assert processes_of(tmp_path) == []
    again = run_in(tmp_path, "run", latest / "scenario.yaml", "--out", latest)
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_the_local_aws_dying_ends_the_run_with_3_and_a_report(tmp_path: Path) -> None:
    write_scenario(tmp_path, "60s")
    process = subprocess.Popen(
        fleet_sim("run", "small.yaml"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_phases(tmp_path, process)
    endpoints = msgspec.json.decode((tmp_path / ".fleet-sim/run/endpoints.json").read_bytes())
    os.kill(endpoints["endpoints"]["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 3, output
    [run_dir] = tmp_path.glob("reports/2*")
    summary = summary_of(run_dir)
    assert summary.run.verdict == "target_failed"
    assert "the local AWS has stopped" in summary.run.reasons[0]
    assert summary.audit is None  # nothing can be said of what cannot be read
    assert (run_dir / "index.html").exists()
    assert processes_of(tmp_path) == []


def test_ctrl_c_ends_the_run_with_130_and_an_audited_report(tmp_path: Path) -> None:
    write_scenario(tmp_path, "60s")
    process = subprocess.Popen(
        fleet_sim("run", "small.yaml"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for_phases(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 130, output
    [run_dir] = tmp_path.glob("reports/2*")
    summary = summary_of(run_dir)
    assert summary.run.verdict == "interrupted"
    assert summary.audit is not None
    assert summary.audit.messages >= MESSAGES_A_SECOND
    assert summary.audit.unexplained == 0
    assert (run_dir / "index.html").exists()
    assert processes_of(tmp_path) == []


class Saboteur(NativeTransport):
    """A network that loses a message it has acknowledged, repeats another, swaps two, and adds one
    of its own that is no telemetry."""

    LOST = (0, 3)
    GARBLED = (0, 4)
    REPEATED = (1, 4)
    DELAYED, OVERTAKING = (2, 5), (2, 6)

    def publish_many(self, vehicles: Iterable[int], messages: Iterable[Message]) -> None:
        for i, message in zip(vehicles, messages, strict=True):
            self.publish(i, message)

    def publish(self, i: int, message: Message) -> None:
        name = (i, msgspec.json.decode(message.payload, type=Telemetry).seq)
        if name in (self.LOST, self.DELAYED):
            self.listener.on_sent(message.token, self.now_ns(), False)
            self.listener.on_acknowledged(message.token, self.now_ns(), 0)
            self.delayed = message
            return
        super().publish(i, message)
        if name == self.REPEATED:
            self.inject(i, message)
        if name == self.OVERTAKING:
            self.inject(i, self.delayed)
        if name == self.GARBLED:
            payload = message.payload.replace(b'"seq":4', b'"seq":777').replace(b'"soc"', b'"sox"')
            self.inject(i, Message(message.token, message.topic, payload, message.qos))

    def inject(self, i: int, message: Message) -> None:
        """Send it behind the session's back: neither ledger nor session hear of it."""
        packet = mqtt5.PublishPacket(
            message.topic, message.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=60_000
        )
        link = self._links[i]
        assert link is not None
        assert link._transport is not None
        link._transport.write(packet.write())


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Of a run over a network that loses, repeats, swaps and adds. At three times real time: a
    street is left and judged within six seconds."""
    folder = tmp_path_factory.mktemp("broken")
    path = write_scenario(folder, "18s", "clock: {speed: 3}\n")
    path.write_text(path.read_text().replace("500ms", "1500ms").replace("1s,", "3s,"))
    options = engine.Options(out=folder / "run", state_dir=folder / "state")
    with (folder / "console.txt").open("w") as output, pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "NativeTransport", Saboteur)
        patch.setattr(drain, "CLOUD_STALLED_S", 5.0)  # what is lost is waited for in vain
        # A second in which the machine is others' is a tenth of the run, and not its subject.
        patch.setattr(judge, "OVERLOADED_P99_NS", 60_000_000_000)
        summary, _ = engine.run_scenario(path, options, Console(file=output))
    return summary


def test_a_broken_pipeline_is_named_message_by_message(broken: Summary) -> None:
    audit = broken.audit
    assert audit is not None
    assert (audit.lost, audit.duplicated, audit.reordered, audit.phantom) == (1, 1, 1, 1)
    assert audit.unexplained == 4
    assert broken.run.verdict == "threshold_broken"
    assert broken.run.exit_code == 99
    named = {(story.fate, story.vin[-6:], story.seq) for story in audit.stories}
    assert named == {
        ("lost", "000000", 3),
        ("duplicated", "000001", 4),
        ("reordered", "000002", 5),
        ("phantom", "000000", 777),
    }
    assert broken.metrics["failure_queue"] == {"count": 1}
    [note] = [event.text for event in broken.events if event.text.startswith("failure queue")]
    assert "by the processor" in note
    assert "sox" in note


def test_every_metric_a_run_measures_is_known_to_the_validator(broken: Summary) -> None:
    measured = {name.partition("{")[0] for name in broken.metrics}
    # There is neither a campaign nor a load of users.
    assert measured == set(METRICS) - set(OTA_METRICS) - set(LOAD_METRICS)
