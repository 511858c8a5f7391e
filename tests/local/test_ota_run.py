"""Update campaigns of a run, end to end: IoT Jobs over MQTT, presigned downloads, the service's
gates, and its record against the truth."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_run import run_in, summary_of

from fleet_sim.measure.summary import Summary

SCENARIO = """
name: update
seed: 5
clock: {speed: 60}
city: {generate: {blocks: [3, 3]}}
fleet:
  - {group: cars, count: 36, telemetry: {period: 4m}}
  - {group: vans, count: 14, vehicle: leaf_30, telemetry: {period: 4m}}
phases: [{name: only, duration: 6h}]
campaign:
  at: 1s
  ends_run: true
  firmware: {size: 20MB, install: 5m}
  preconditions: {parked: false, min_soc: 0%}
  waves: {shares: [10%, 100%], soak: 2m}
  gate: {min_executed: 3}
"""


def drive(folder: Path, text: str) -> tuple[Summary, Path]:
    (folder / "update.yaml").write_text(text)
    done = run_in(folder, "run", "update.yaml", timeout=400)
    latest = folder / "reports" / "latest"
    # A busy machine may not hold the telemetry's schedule; the campaign's figures stand.
    assert done.returncode in (0, 4), done.stdout + done.stderr
    return summary_of(latest), latest


def test_a_campaign_updates_a_fleet_over_the_local_aws(tmp_path: Path) -> None:
    summary, latest = drive(tmp_path, SCENARIO)
    found = summary.ota
    assert found is not None
    assert (found.state, found.statuses) == ("completed", {"succeeded": 50})
    assert found.sound
    assert found.runs_new == found.started == found.notified == 50
    assert [(wave.size, wave.completed, wave.bad) for wave in found.waves] == [
        (5, 5, 0),
        (45, 45, 0),
    ]
    assert 50 * 20e6 <= found.downloaded_gb * 1e9 < 50 * 20.1e6
    actions = [decision.action for decision in found.decisions]
    assert actions[-1] == "completed"
    rows = pq.read_table(latest / "ota.parquet").to_pylist()
    assert {row["record_status"] for row in rows} == {"succeeded"}
    assert {row["runs"] for row in rows} == {"1.1.0"}
    assert all(row["states"][-1]["state"] == "idle" for row in rows)
    assert summary.audit is not None
    assert summary.audit.unexplained == 0
    assert "Update campaign" in (latest / "index.html").read_text()


@pytest.mark.soak
def test_a_tampered_image_is_rejected_by_the_canaries_and_goes_no_further(tmp_path: Path) -> None:
    text = SCENARIO.replace("install: 5m", "install: 5m, attack: flipped_byte")
    found = drive(tmp_path, text)[0].ota
    assert found is not None
    assert (found.state, found.reasons) == ("aborted", {"hash": 5})
    assert found.statuses["rejected"] == 5
    assert (found.started, found.attack_installed, found.runs_new) == (5, 0, 0)
