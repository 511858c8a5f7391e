"""The made-up run of `fleet-sim bench report`: whole, of the size asked for, and its report too."""

from pathlib import Path

import msgspec
from click.testing import CliRunner
from test_report_page import Checker

from fleet_sim.cli import main
from fleet_sim.engine.bench_report import ReportCost
from fleet_sim.report.folder import read


def test_a_small_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["bench", "report", "--vehicles", "50", "--duration", "60s", "--stalls", "300",
                 "--out", str(out), "--json"]  # fmt: skip
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    cost = msgspec.json.decode(result.stdout, type=ReportCost)
    assert cost.rows == 3000
    run = read(out)
    for piece in (run.timeline, run.city, run.history, run.grids):
        assert not isinstance(piece, str), piece
    assert not isinstance(run.grids, str)
    assert int(run.grids.due.sum()) == 3000
    page = Checker((out / "index.html").read_text("utf-8"))
    assert {"heat-acknowledged", "map-time", "map-chart", "latency-p95-chart"} <= set(page.ids)
    again = CliRunner().invoke(main, arguments)
    assert (again.exit_code, "is not empty" in again.stderr) == (2, True)
