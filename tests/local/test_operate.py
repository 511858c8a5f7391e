"""The cloud without a run, and a run without a cloud, as a user has them."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from mosquitto import MOSQUITTO, Mosquitto
from test_run import fleet_sim, processes_of, run_in, summary_of, write_scenario

from fleet_sim.contract.trends import StreetTrend, TrendIndex
from fleet_sim.engine.catalog import load_scenario
from fleet_sim.resources import data_dir


class Cloud(NamedTuple):
    """A user's folder with a local AWS that is up."""

    folder: Path
    said: str
    """By `fleet-sim up`."""

    @property
    def api(self) -> str:
        found = re.search(r"^API +(\S+)", self.said, re.MULTILINE)
        assert found is not None, self.said
        return found[1]

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.api + path, timeout=60) as answer:
            body: bytes = answer.read()
            return body


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One for the tests of this file, the last of which takes it down."""
    folder = tmp_path_factory.mktemp("cloud")
    up = run_in(folder, "up")
    try:
        assert up.returncode == 0, up.stderr
        yield Cloud(folder, up.stdout)
    finally:
        run_in(folder, "down")


def status(folder: Path) -> dict[str, object]:
    done = run_in(folder, "status", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = msgspec.json.decode(done.stdout)
    return document


def test_a_wrong_parameter_is_named_and_changes_nothing(cloud: Cloud) -> None:
    folder = cloud.folder
    before = status(folder)
    assert before["healthy"] is True
    refused = run_in(folder, "deploy", "--parameter", "StreamShard=2")
    assert refused.returncode == 3
    assert "'StreamShard' is in no template" in refused.stderr
    failed = run_in(folder, "deploy", "--parameter", "LogRetentionDays=2")
    assert failed.returncode == 3
    assert "LogRetentionDays" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert status(folder) == before


def test_a_citys_stalls_come_with_a_deployment(cloud: Cloud) -> None:
    folder = cloud.folder
    done = run_in(folder, "deploy", "--city", write_scenario(folder, "3s"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"spot registry: \d+ stalls", done.stdout)
    assert re.search(rf"^API +{re.escape(cloud.api)}$", done.stdout, re.MULTILINE)
    assert json.loads(cloud.get("/fleet/summary"))["unknown"] > 0


def test_a_backfill_gives_every_street_a_week_at_once(cloud: Cloud) -> None:
    folder = cloud.folder
    path = write_scenario(folder, "3s")
    done = run_in(folder, "generate", path, "--backfill", "8d")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"archive: [\d,]+ messages in 192 hours", done.stdout)
    index = msgspec.json.decode(cloud.get("/trends"), type=TrendIndex)
    assert f"trends of {len(index.streets)} streets" in done.stdout
    name = urllib.parse.quote(index.streets[0])
    trend = msgspec.json.decode(cloud.get(f"/trends/street?name={name}"), type=StreetTrend)
    assert len(trend.hours) == 168
    assert sum(hour.looks for hour in trend.hours) > 0
    assert all(hour.taken is None or 0 <= hour.taken <= 1 for hour in trend.hours)
    again = run_in(folder, "generate", path, "--backfill", "8d")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "spot registry" not in again.stdout  # it is deployed already
    same = msgspec.json.decode(cloud.get("/trends"), type=TrendIndex)
    assert same.streets == index.streets
    # An hour may have begun meanwhile; nothing is counted twice.
    assert abs(same.looks - index.looks) <= index.looks / 50


def test_up_keeps_a_cloud_that_runs_use_until_down(cloud: Cloud) -> None:
    folder = cloud.folder
    assert "MQTT     mqtts://127.0.0.1:" in cloud.said
    before = status(folder)
    path = write_scenario(folder, "3s")
    first = run_in(folder, "run", path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "no changes" in first.stdout
    second = run_in(folder, "run", path, "--json")
    assert second.returncode == 0, second.stdout + second.stderr
    assert msgspec.json.decode(second.stdout)["audit"]["unexplained"] == 0
    assert status(folder) == before
    assert run_in(folder, "down").stdout == "local AWS stopped\n"
    assert processes_of(folder) == []
    gone = run_in(folder, "status")
    assert gone.returncode == 3
    assert "fleet-sim up" in gone.stderr


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_any_broker_is_a_target_and_only_acknowledgements_are_audited(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        path = write_scenario(tmp_path, "4s")
        done = run_in(tmp_path, "run", path, "--target", f"mqtt://127.0.0.1:{broker.port}")
    finally:
        broker.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(tmp_path / "reports" / "latest")
    assert summary.audit is not None
    assert summary.audit.archived is None
    assert summary.audit.acknowledged == 8 * 2 * 4  # the other two vehicles use QoS 0
    assert summary.accuracy is None
    assert not list((tmp_path / "reports" / "latest").glob("latency_visible*"))


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_run_s_folder_has_the_presets_and_the_weather_it_was_run_with(tmp_path: Path) -> None:
    example = data_dir("scenarios") / "winter_vans.yaml"
    sets = ["presets.vehicles.my_van.mass=2900kg", "phases.noon.weather.temperature=-2C"]
    options = [word for text in sets for word in ("--set", text)]
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        done = run_in(
            tmp_path, "run", example, "--vehicles", 12, "--duration", "4s",
            "--target", f"mqtt://127.0.0.1:{broker.port}", *options,
        )  # fmt: skip
    finally:
        broker.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    ran = load_scenario(tmp_path / "reports" / "latest" / "scenario.yaml")
    meant = load_scenario(example, overrides=sets)
    assert (ran.presets, ran.weather) == (meant.presets, meant.weather)
    assert [phase.weather for phase in ran.phases] == [phase.weather for phase in meant.phases]
    assert ran.presets.vehicles["my_van"].mass_kg == 2900


def test_a_broker_that_is_not_there_ends_with_3(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, "4s")
    command = fleet_sim("run", path, "--target", "mqtt://127.0.0.1:1", "--connect-timeout", "1s")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 3
    assert "127.0.0.1:1 cannot be reached: Connection refused" in done.stderr
