"""Datasets: what is written is what the schedule and the world say."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fleet_sim.cli import main
from fleet_sim.engine.bench.physics import Physics, bench_physics
from fleet_sim.engine.generate import Dataset, generate
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario import loads
from fleet_sim.world import World

SCENARIO = """
name: data
seed: 5
clock: {start: 2026-06-05T17:00:00Z}
city: {generate: {blocks: [4, 4]}}
fleet:
  - {group: quick, count: 20, telemetry: {period: 5s}, parked: 50%}
  - {group: slow, count: 5, telemetry: {period: 1m}}
phases: [{name: all, duration: 20m, parking: {occupancy: 50%}}]
"""


class Whole(NamedTuple):
    """The scenario's dataset, written once for the tests that read it."""

    folder: Path
    done: Dataset


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("generated") / "data"
    return Whole(folder, generate(loads(SCENARIO), folder))


def test_every_message_is_there_once_and_in_the_order_of_time(whole: Whole) -> None:
    done = whole.done
    table = pq.read_table(whole.folder / "telemetry.parquet")
    assert done.simulated_s == 1200.0
    assert done.rows["telemetry"] == table.num_rows == 20 * 240 + 5 * 20
    names = list(zip(table["vin"].to_pylist(), table["seq"].to_pylist(), strict=True))
    assert len(set(names)) == len(names)
    stamps = table["ts"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    assert (np.diff(stamps) >= 0).all()
    start_ms = 1_780_678_800_000
    assert stamps[0] == start_ms
    assert stamps[-1] < start_ms + 20 * 60_000
    assert "range_cm" not in table.column_names


def test_truth_can_be_replayed_to_the_worlds_own_end(whole: Whole) -> None:
    rows = pq.read_table(whole.folder / "truth.parquet").to_pylist()
    assert whole.done.rows["truth"] == len(rows)
    held: dict[str, bool] = {}
    for row in rows:
        if row["stall"] in held:
            assert held[row["stall"]] is not row["occupied"], "a change that changes nothing"
        assert row["occupied"] or row["by"] is None
        held[row["stall"]] = row["occupied"]
    world = World(loads(SCENARIO))
    for _ in range(2 * 20 * 60):
        world.step(0.5)
    assert held == dict(zip(world.city.stalls.id, world.truth.occupied.tolist(), strict=True))


def test_trips_end_where_the_next_one_begins_and_add_up(whole: Whole) -> None:
    trips = pq.read_table(whole.folder / "trips.parquet").to_pylist()
    assert whole.done.rows["trips"] == len(trips) > 0
    last: dict[str, dict[str, object]] = {}
    for trip in sorted(trips, key=lambda t: t["arrived"]):
        before = last.get(trip["vin"])
        assert trip["distance_km"] >= 0
        if before is not None:
            assert before["arrived"] < trip["departed"] < trip["arrived"]
            assert not trip["began_before"]
            assert trip["from_lat"] == pytest.approx(before["to_lat"], abs=2e-4)
            assert trip["from_lon"] == pytest.approx(before["to_lon"], abs=2e-4)
        last[trip["vin"]] = trip
    start = datetime(2026, 6, 5, 17, tzinfo=UTC)
    before = [trip for trip in trips if trip["began_before"]]
    assert before
    assert all((trip["departed"] == start) == trip["began_before"] for trip in trips)


def test_ctrl_c_leaves_files_that_hold_all_until_then(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_sim.engine.trips.ROWS_A_GROUP", 3)

    def interrupt(now_s: float, _: float) -> None:
        if now_s == 600.0:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    done = generate(loads(SCENARIO), tmp_path / "part", on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert done.simulated_s == 600.0
    assert done.rows["telemetry"] == 20 * 120 + 5 * 10 < whole.done.rows["telemetry"]
    assert pq.ParquetFile(tmp_path / "part" / "trips.parquet").num_row_groups > 1
    for name, rows in done.rows.items():
        part, full = (
            pq.read_table(folder / f"{name}.parquet")
            for folder in (tmp_path / "part", whole.folder)
        )
        assert part.num_rows == rows > 0
        assert part.to_pylist() == full.slice(0, rows).to_pylist()


def test_the_same_seed_is_the_same_dataset_and_sonar_is_added_on_request(tmp_path: Path) -> None:
    scenario = loads(SCENARIO.replace("20m", "2m"))
    generate(scenario, tmp_path / "a")
    generate(scenario, tmp_path / "b", sonar=True)
    a = pq.read_table(tmp_path / "a" / "telemetry.parquet")
    b = pq.read_table(tmp_path / "b" / "telemetry.parquet")
    assert b.drop_columns("range_cm").equals(a)
    bursts = b["range_cm"].to_pylist()
    assert {len(burst) for burst in bursts if burst is not None} == {20}
    assert None in bursts  # who stands does not ping


def test_the_command_refuses_a_folder_in_use_and_a_fleet_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(SCENARIO)
    call = ["generate", str(path), "--duration", "1m", "--out", str(tmp_path / "data")]
    first = CliRunner().invoke(main, call)
    assert first.exit_code == 0, first.output
    assert "telemetry.parquet" in first.stdout
    again = CliRunner().invoke(main, call)
    assert again.exit_code == 2
    assert "is not empty" in again.stderr
    big = CliRunner().invoke(main, [*call[:-1], str(tmp_path / "big"), "--vehicles", "9000"])
    assert big.exit_code == 2
    assert "Traceback" not in big.output
    assert not (tmp_path / "big").exists()
    with pytest.raises(PreflightError):
        generate(loads(SCENARIO), tmp_path / "data")


def test_bench_physics_measures_every_part_and_leaves_no_timer_behind() -> None:
    result = bench_physics(200, seconds=0.5)
    assert result.vehicles == 200
    assert set(result.parts_us) == {
        "battery", "demand", "fixes", "gnss", "motion", "radio", "trips", "ultrasonic",
    }  # fmt: skip
    assert all(value >= 0 for value in result.parts_us.values())
    assert sum(result.parts_us.values()) > 0
    answer = CliRunner().invoke(
        main, ["bench", "physics", "-n", "100", "--seconds", "0.2", "--json"]
    )
    assert answer.exit_code == 0, answer.output
    [decoded] = msgspec.json.decode(answer.stdout, type=list[Physics])
    assert decoded.vehicles == 100
