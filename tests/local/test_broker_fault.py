"""The broker of a run is killed and comes back: nothing of QoS 1 is lost, and the storm is seen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_run import run_in

pytest.importorskip("iotcore")

SCENARIO = """
name: restart
seed: 3
city: {{generate: {{blocks: [{blocks}, {blocks}]}}}}
fleet: [{{group: cars, count: {count}, radio: none, telemetry: {{period: 1s, qos: 1}}}}]
phases: [{{name: only, duration: {duration}s}}]
faults: [{{at: 2s, for: {down}s, broker: {{state: down}}}}]
mqtt: {{reconnect: {{base: {base}s, cap: {cap}s, jitter: {jitter}}}}}
thresholds:
  "audit_unexplained": ["count==0"]
"""


def run(folder: Path, *arguments: str, **values: Any) -> tuple[dict[str, Any], Path]:
    """Summary and folder of a run against the embedded broker."""
    folder.mkdir()
    (folder / "x.yaml").write_text(SCENARIO.format(**values))
    command = "run x.yaml --broker embedded --out out"
    done = run_in(folder, *command.split(), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "out/summary.json").read_text()), folder / "out"


def undisturbed(folder: Path, **values: Any) -> tuple[dict[str, Any], Path]:
    """A run that its machine let have the second it wanted: a standstill of several bunches what
    the vehicles spread. The third is taken as it is."""
    for turn in range(3):
        summary, found = run(folder.with_name(f"{folder.name}-{turn}"), **values)
        if summary["generator"]["lateness_ms"]["max"] < 1_000:
            break
    return summary, found


def series(folder: Path, name: str) -> np.ndarray:
    table = pq.read_table(folder / "timeseries.parquet").to_pydict()
    rows = zip(table["name"], table["value"], strict=True)
    return np.array([value for what, value in rows if what == name])


def nothing_lost(summary: dict[str, Any], folder: Path) -> None:
    ledger = pq.read_table(folder / "ledger.parquet")
    acked = np.array(ledger["acked_ns"])
    assert len(acked) == summary["generator"]["scheduled"]
    assert (acked != 0).all(), f"{(acked == 0).sum()} were never acknowledged"
    assert summary["generator"]["dropped"] == 0
    assert summary["audit"]["unexplained"] == 0


def test_a_broker_that_is_killed_costs_no_message_and_jitter_spreads_the_return(
    tmp_path: Path,
) -> None:
    # It is back long before the first of those that wait all the same time.
    size = {"count": 120, "blocks": 4, "duration": 12, "down": 1, "base": 5, "cap": 5}
    plain, plain_folder = undisturbed(tmp_path / "plain", jitter="none", **size)
    full, full_folder = undisturbed(tmp_path / "full", jitter="full", **size)
    for summary, folder in ((plain, plain_folder), (full, full_folder)):
        nothing_lost(summary, folder)
        connected = series(folder, "connected")
        assert connected.min() == 0
        assert connected[-1] == 120
        attempts = series(folder, "attempts")
        assert summary["metrics"]["reconnects"] == {"count": attempts.sum(), "max": attempts.max()}
        assert "broker down" in [event["text"] for event in summary["events"]]
    # All 5 s after they were cut; or spread over the 5 s, those of the first once more.
    assert plain["metrics"]["reconnects"]["count"] == 120
    attempts = series(plain_folder, "attempts")
    assert (attempts[:-1] + attempts[1:]).max() == 120, "a second may end among them"
    assert full["metrics"]["reconnects"]["max"] < 80


@pytest.mark.scale
@pytest.mark.parametrize("jitter", ["none", "full"])
def test_five_thousand_vehicles_outlive_a_broker_that_is_away_for_20_s(
    tmp_path: Path, jitter: str
) -> None:
    summary, folder = run(
        tmp_path / jitter,
        "--connect-timeout=3m",
        count=5_000,
        blocks=20,
        duration=60,
        down=20,
        base=1,
        cap=16,
        jitter=jitter,
    )
    nothing_lost(summary, folder)
    assert series(folder, "connected")[-1] == 5_000
