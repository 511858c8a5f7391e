"""`provision`, then `run`, as a user does it: a certificate a vehicle at a broker of one's own."""

from pathlib import Path

import pytest
from mosquitto import MOSQUITTO, Mosquitto, held_port
from test_run import run_in, summary_of, write_scenario

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")

MQTT = """
mqtt:
  topic_alias: true
  username: "fleet/{vin}"
  password: ${FLEET_PASSWORD}
  user_properties: {vehicle: "{vin}"}
"""


def test_identities_are_made_once_and_used_by_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, port = held_port()
    target = f"mqtts://127.0.0.1:{port}"
    made = run_in(
        tmp_path, "provision", "--target", target, "--vehicles", 4, "--broker-out", "broker"
    )
    assert made.returncode == 0, made.stderr
    folder = tmp_path / ".fleet-sim" / "identities" / "127.0.0.1"
    first = {path.name: path.read_bytes() for path in folder.glob("0FS*.pem")}
    assert len(first) == 4
    broker = Mosquitto(
        tmp_path,
        f"listener {port} 127.0.0.1\ncafile {tmp_path}/broker/ca.pem\n"
        f"certfile {tmp_path}/broker/broker.pem\nkeyfile {tmp_path}/broker/broker.pem\n"
        "require_certificate true\n",
    )
    path = write_scenario(tmp_path, "3s", MQTT)
    refused = run_in(tmp_path, "run", path, "--target", target)
    assert refused.returncode == 2
    assert "mqtt.password: the environment variable FLEET_PASSWORD is not set" in refused.stderr
    monkeypatch.setenv("FLEET_PASSWORD", "hunter2-of-the-fleet")
    broker.start()
    try:
        done = run_in(tmp_path, "run", path, "--target", target)
    finally:
        broker.stop()
        held.close()
    assert done.returncode == 0, done.stdout + done.stderr
    # The scenario has ten vehicles in two groups: the eight of the first, of which four were known.
    now = {path.name: path.read_bytes() for path in folder.glob("0FS*.pem")}
    assert len(now) == 10
    assert {name: now[name] for name in first} == first
    latest = tmp_path / "reports" / "latest"
    assert summary_of(latest).generator.connected == 10
    for file in latest.resolve().rglob("*"):
        assert file.is_dir() or b"hunter2" not in file.read_bytes(), file
    assert "hunter2" not in done.stdout + done.stderr
