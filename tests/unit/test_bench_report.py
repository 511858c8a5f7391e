"""The made-up run of `fleet-sim bench report`: whole, of the size asked for, and its report too."""

from pathlib import Path

import msgspec
import numpy as np
from click.testing import CliRunner
from test_report_page import Checker

from fleet_sim.cli import main
from fleet_sim.engine.bench.made_up import MadeUp, Size
from fleet_sim.engine.bench.report import Parts, ReportCost
from fleet_sim.engine.leavings import load, merge
from fleet_sim.report.folder import read


def test_a_small_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["bench", "report", "--vehicles", "50", "--duration", "60s", "--stalls", "300",
                 "--out", str(out), "--json"]  # fmt: skip
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    cost = msgspec.json.decode(result.stdout, type=ReportCost)
    assert cost.rows == 3000
    parts = ["merge", "collect", "audit", "latencies", "series", "ledger", "report"]
    assert list(cost.parts) == parts
    assert cost.peak_mb == max(part.peak_mb for part in cost.parts.values())
    # The whole of a real run's end: every message has its fate, by what its archive says.
    audit = read(out).summary.audit
    assert audit is not None
    assert audit.archived == audit.applied == audit.fates["applied"] == 3000 - audit.lost
    run = read(out)
    for piece in (run.timeline, run.city, run.history, run.grids):
        assert not isinstance(piece, str), piece
    assert not isinstance(run.grids, str)
    assert int(run.grids.due.sum()) == 3000
    page = Checker((out / "index.html").read_text("utf-8"))
    assert {"heat-acknowledged", "map-time", "map-chart", "latency-p95-chart"} <= set(page.ids)
    again = CliRunner().invoke(main, arguments)
    assert (again.exit_code, "is not empty" in again.stderr) == (2, True)


def test_the_end_of_a_run_is_made_of_its_shards(tmp_path: Path) -> None:
    size = Size(vehicles=40, seconds=300, period_s=1.0, stalls=100)
    made = MadeUp(size, tmp_path)
    parts = [load(share, tmp_path / f"shard-{share.number}") for share in made._shares]
    seen = {
        (v, s): (stored, visible)
        for left in parts
        for v, s, stored, visible in zip(
            left.columns.vehicle.tolist(),
            left.columns.seq.tolist(),
            left.stored_ns.tolist(),
            left.visible_ns.tolist(),
            strict=True,
        )
    }
    lateness = np.concatenate([left.lateness_ns for left in parts])
    driven = merge(parts, [city.stalls.n for city in made.cities])
    assert parts == []  # or they would be held beside the whole
    assert (np.diff(driven.columns.intended_ns) >= 0).all()
    rows = zip(driven.columns.vehicle.tolist(), driven.columns.seq.tolist(), strict=True)
    assert [seen[row] for row in rows] == list(
        zip(driven.stored_ns.tolist(), driven.visible_ns.tolist(), strict=True)
    )
    assert np.count_nonzero(driven.visible_ns) > 100
    assert driven.lateness.count == len(lateness) == size.rows == len(driven.columns.seq)
    assert [shard.messages for shard in driven.shards] == [size.rows // 2] * 2
    assert [shard.sent for shard in driven.shards] == [size.rows // 2] * 2
    archive = made.collected().archive
    assert len(archive) >= size.rows - sum(len(lost) for lost in made._lost.values())


def test_a_part_is_told_its_own_memory() -> None:
    parts = Parts()
    parts.begin("large")
    held = np.ones(20_000_000)
    del held
    parts.begin("small")
    parts.end()
    assert parts.found["small"].peak_mb <= parts.found["large"].peak_mb
    assert parts.found["large"].cpu_s > 0
