"""`reports/sample/`: a real run with users of the API, which the code still reads and renders."""

import platform
import re
import shutil
from pathlib import Path

from click.testing import CliRunner
from test_report_page import Checker

from fleet_sim.cli import main
from fleet_sim.report.folder import read
from fleet_sim.report.render import render

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"


def test_it_is_whole_and_small(tmp_path: Path) -> None:
    files = [path for path in SAMPLE.rglob("*") if path.is_file()]
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
    assert run.summary.run.verdict == "passed"
    assert len(run.summary.phases) == 3
    assert any(event.kind == "fault" for event in run.summary.events)
    assert run.summary.load is not None
    assert run.summary.load.requests


def test_nothing_in_it_tells_of_the_machine_it_ran_on() -> None:
    texts = [p for p in SAMPLE.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    assert len(texts) > 15
    for path in texts:
        found = re.findall(
            r"(?<![\w.~])/(?:home|root|tmp|work|Users|var|opt)/[\w./-]*", path.read_text()
        )
        assert not found, (path.name, found)
        assert platform.node() == "" or f'"{platform.node()}"' not in path.read_text(), path.name


def test_it_renders(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAMPLE, tmp_path / "sample"))
    text = render(folder).read_text("utf-8")
    assert len(text) < 3_000_000
    page = Checker(text)
    assert {
        "throughput-chart",
        "map-chart",
        "heat-processed",
        "load",
        "load-chart",
        "map-time",
        "generator",
    } <= set(page.ids)
    assert "no chart" not in page.text


def test_it_has_no_difference_from_itself() -> None:
    result = CliRunner().invoke(main, ["compare", str(SAMPLE), str(SAMPLE), "--fail-on", "worse"])
    assert result.exit_code == 0, result.output
    assert "No difference shown" in result.stdout
