"""`reports/sample/`: a real run of the demo scenario, which the code still reads and renders."""

import shutil
from pathlib import Path

from click.testing import CliRunner
from test_report_page import Checker

from fleet_sim.cli import main
from fleet_sim.report.folder import read
from fleet_sim.report.render import render

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"


def test_it_is_whole_and_small(tmp_path: Path) -> None:
    files = [path for path in SAMPLE.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    run = read(SAMPLE)
    for piece in (run.timeline, run.city, run.history, run.grids):
        assert not isinstance(piece, str), piece
    assert run.summary.run.scenario == "parking-surge"
    assert run.summary.run.target.startswith("fleet-sim in ")
    assert run.summary.audit is not None
    assert run.summary.audit.unexplained == 0
    assert not isinstance(run.grids, str)
    assert run.grids.rows == run.summary.audit.messages


def test_it_renders(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAMPLE, tmp_path / "sample"))
    text = render(folder).read_text("utf-8")
    assert len(text) < 3_000_000
    page = Checker(text)
    assert {"throughput-chart", "map-chart", "heat-visible", "map-time", "generator"} <= set(
        page.ids
    )
    assert "no chart" not in page.text


def test_it_has_no_difference_from_itself() -> None:
    result = CliRunner().invoke(main, ["compare", str(SAMPLE), str(SAMPLE), "--fail-on", "worse"])
    assert result.exit_code == 0, result.output
    assert "No difference shown" in result.stdout
