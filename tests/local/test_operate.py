"""The cloud without a run, and a run without a cloud, as a user has them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from mosquitto import MOSQUITTO, Mosquitto
from test_run import fleet_sim, processes_of, run_in, summary_of, write_scenario

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.resources import data_dir


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A user's folder, in which nothing is left running."""
    yield tmp_path
    run_in(tmp_path, "down")


def test_up_keeps_a_cloud_that_runs_use_until_down(folder: Path) -> None:
    up = run_in(folder, "up")
    assert up.returncode == 0, up.stderr
    assert "MQTT     mqtts://127.0.0.1:" in up.stdout
    before = status(folder)
    assert before["healthy"] is True
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


def status(folder: Path) -> dict[str, object]:
    done = run_in(folder, "status", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = msgspec.json.decode(done.stdout)
    return document


def test_a_wrong_parameter_is_named_and_changes_nothing(folder: Path) -> None:
    assert run_in(folder, "up").returncode == 0
    before = status(folder)
    refused = run_in(folder, "deploy", "--parameter", "StreamShard=2")
    assert refused.returncode == 3
    assert "'StreamShard' is in no template" in refused.stderr
    failed = run_in(folder, "deploy", "--parameter", "LogRetentionDays=2")
    assert failed.returncode == 3
    assert "LogRetentionDays" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert status(folder) == before


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_any_broker_is_a_target_and_only_acknowledgements_are_audited(folder: Path) -> None:
    broker = Mosquitto(folder)
    broker.start()
    try:
        path = write_scenario(folder, "4s")
        done = run_in(folder, "run", path, "--target", f"mqtt://127.0.0.1:{broker.port}")
    finally:
        broker.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(folder / "reports" / "latest")
    assert summary.audit is not None
    assert summary.audit.archived is None
    assert summary.audit.acknowledged == 8 * 2 * 4  # the other two vehicles use QoS 0
    assert summary.accuracy is None
    assert not list((folder / "reports" / "latest").glob("latency_visible*"))


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_run_s_folder_has_the_presets_and_the_weather_it_was_run_with(folder: Path) -> None:
    example = data_dir("scenarios") / "winter_vans.yaml"
    sets = ["presets.vehicles.my_van.mass=2900kg", "phases.noon.weather.temperature=-2C"]
    options = [word for text in sets for word in ("--set", text)]
    broker = Mosquitto(folder)
    broker.start()
    try:
        done = run_in(
            folder, "run", example, "--vehicles", 12, "--duration", "4s",
            "--target", f"mqtt://127.0.0.1:{broker.port}", *options,
        )  # fmt: skip
    finally:
        broker.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    ran = load_scenario(folder / "reports" / "latest" / "scenario.yaml")
    meant = load_scenario(example, overrides=sets)
    assert (ran.presets, ran.weather) == (meant.presets, meant.weather)
    assert [phase.weather for phase in ran.phases] == [phase.weather for phase in meant.phases]
    assert ran.presets.vehicles["my_van"].mass_kg == 2900


def test_a_broker_that_is_not_there_ends_with_3(folder: Path) -> None:
    path = write_scenario(folder, "4s")
    command = fleet_sim("run", path, "--target", "mqtt://127.0.0.1:1", "--connect-timeout", "1s")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "127.0.0.1:1 cannot be reached: Connection refused" in done.stderr
    assert "onnection refused" in done.stderr
