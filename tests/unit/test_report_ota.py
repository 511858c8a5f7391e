"""The report's section about an update campaign."""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_measure_ota import NEW, OLD, judged, vehicle

from fleet_sim.measure.ota import REASONS, Decision
from fleet_sim.report.ota import campaign
from fleet_sim.report.ota_waves import WaveTimes, read_waves, wave_chart


def test_a_vehicle_that_is_not_what_it_is_said_to_be_is_named() -> None:
    page = campaign(judged(vehicle(0, "succeeded", OLD), vehicle(1, "succeeded", NEW)), "None.")
    assert "The record is not the truth." in page
    assert "1 vehicles with which something is wrong" in page
    assert '<th scope="row">V00</th><td>false success</td>' in page
    good = campaign(judged(vehicle(0, "succeeded", NEW)), "None.")
    assert "The record is the truth, for every vehicle." in good
    assert "something is wrong" not in good


@pytest.mark.parametrize(
    ("reason", "writes", "verdict"),
    [("hash", {}, "refused"), ("hash", {3: 1}, "not refused"), ("boot", {}, "not refused")],
)
def test_an_attack_is_refused_when_it_was_reported_and_installed_nowhere(
    reason: str, writes: dict[int, int], verdict: str
) -> None:
    target, truth = vehicle(0, "rejected", OLD, writes=writes)
    seen = msgspec.structs.replace(target, reason=reason), truth
    page = campaign(judged(seen, attack="flipped_byte"), "None.")
    assert f"<td>1 {reason}</td><td>{len(writes)}</td><td>{verdict}</td>" in page
    assert page.count("not in this run") == len(REASONS) - 1
    assert "Nobody attacked" in campaign(judged(vehicle(0, "succeeded", NEW)), "None.")


def test_waves_are_read_from_the_run_folder(tmp_path: Path) -> None:
    path = tmp_path / "ota.parquet"
    columns = {
        "record_wave": [1, 0, 1, None],
        "started_s": [5.0, 1.0, 4.0, None],
        "installed_s": [None, 2.0, 9.0, None],
    }
    pq.write_table(pa.table(columns), path)
    first, second = read_waves(path)
    assert (first.size, first.started_s.tolist(), first.installed_s.tolist()) == (1, [1.0], [2.0])
    assert (second.size, second.started_s.tolist()) == (2, [4.0, 5.0])
    assert second.installed_s.tolist() == [9.0]
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"ota\.parquet could not be read"):
        read_waves(path)


def of(size: int, *started: float) -> WaveTimes:
    return WaveTimes(size, np.array(started), np.array([]))


def test_the_chart_has_the_waves_that_began_and_what_the_service_did() -> None:
    """Times of the service are wall seconds, 60 to a simulated minute here."""
    said = [(1.0, "started"), (2.0, "wave ended"), (3.0, "gate passed"), (4.0, "gate pause")]
    said += [(5.0, "resume"), (6.0, "faults"), (7.0, "gate abort"), (8.0, "aborted")]
    report = msgspec.structs.replace(
        judged(vehicle(0, "waiting", OLD)),
        decisions=[Decision(at_s, "x", action) for at_s, action in said],
    )
    chart = wave_chart([of(2, 70.0, 80.0), of(4, 190.0), of(5)], report)
    assert "wave 2 begun" in chart
    assert "wave 3" not in chart
    # Drawn twice: wave 1, its soak, wave 2 before and after the pause.
    for name, times in (("wave 1", 2), ("soak", 2), ("wave 2", 4)):
        assert chart.count(f"<title>phase: {name}</title>") == times
    assert chart.count("<title>fault: gate pause</title>") == 2
    assert "No vehicle has begun" in wave_chart([of(3)], report)
    assert "no chart. It is gone." in wave_chart("It is gone.", report)
    many = wave_chart([of(1, float(k)) for k in range(9)], report)
    assert "wave 5 begun" in many
    assert "from wave 6 on begun" in many
    assert "wave 7" not in many
