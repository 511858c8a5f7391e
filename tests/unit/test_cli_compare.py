"""`fleet-sim compare`: its table, its JSON, its page and its exit codes."""

import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from test_report_page import Checker
from test_report_sample import T0, make_run

from fleet_sim.cli import main
from fleet_sim.measure.maphistory import MapHistory, Shot
from fleet_sim.measure.summary import from_json, to_json
from fleet_sim.report.compare import map_rows

MS = 1_000_000


def ledger(folder: Path, seconds: int = 60, *, slower_ms: float = 0, lost: float = 0.0) -> None:
    """A ledger of twenty messages a second, in place of the one that the run had."""
    rng = np.random.default_rng(4 + int(slower_ms) + int(1000 * lost))
    n = 20 * seconds
    intended = T0 + np.arange(n) * 50 * MS
    took = (rng.gamma(9, 2, n) + slower_ms) * MS
    gone = rng.random(n) < lost
    table = pa.table(
        {
            "intended_ns": intended,
            "sent_ns": intended + MS,
            "acked_ns": intended + took.astype(np.int64),
            "fate": pa.array(np.where(gone, "lost", "applied")).dictionary_encode(),
        }
    ).replace_schema_metadata({"t0_ns": str(T0)})
    pq.write_table(table, folder / "ledger.parquet")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "a"
    make_run(folder, vehicles=20, seconds=60, blocks=(2, 2))
    ledger(folder)
    return folder


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)], catch_exceptions=False)


def other(run: Path, to: Path, **changes: float) -> Path:
    shutil.copytree(run, to)
    ledger(to, **changes)  # type: ignore[arg-type]
    return to


def test_a_run_beside_itself_has_no_difference(run: Path) -> None:
    result = compare(run, run, "--fail-on", "worse")
    assert result.exit_code == 0
    assert "No difference shown" in result.stdout


def test_a_slower_run_is_told_by_stage_and_breaks_its_condition(run: Path, tmp_path: Path) -> None:
    slow = other(run, tmp_path / "slow", slower_ms=9)
    result = compare(run, slow, "--json", "--fail-on", "latency_ms{stage:acknowledged}.p95>10%")
    assert result.exit_code == 99
    assert re.search(r"worse: latency_ms\{stage:acknowledged\} p95: \+[\d.]+ ms", result.stderr)
    rows = {(r["name"], r["aggregate"]): r for r in msgspec.json.decode(result.stdout)["rows"]}
    median = rows["latency_ms{stage:acknowledged}", "p50"]
    assert median["low"] < 9 < median["high"]
    assert rows["latency_ms{stage:sent}", "p50"]["judgement"] == "same"
    # Much faster is no reason to fail, and a slack that is wide enough none either.
    assert compare(slow, run, "--fail-on", "worse").exit_code == 0
    lenient = compare(run, slow, "--fail-on", "latency_ms{stage:acknowledged}>200%")
    assert lenient.exit_code == 0


def test_loss_is_compared_as_a_share(run: Path, tmp_path: Path) -> None:
    lossy = other(run, tmp_path / "lossy", lost=0.1)
    result = compare(run, lossy, "--json", "--fail-on", "undelivered")
    assert result.exit_code == 99
    rows = {row["name"]: row for row in msgspec.json.decode(result.stdout)["rows"]}
    assert rows["undelivered"]["b"] == pytest.approx(0.1, abs=0.03)


def test_a_short_run_says_nothing_and_does_not_pass(run: Path, tmp_path: Path) -> None:
    short = other(run, tmp_path / "short", seconds=5)
    assert "no interval" in compare(short, run).stdout
    result = compare(short, run, "--fail-on", "worse")
    assert result.exit_code == 2
    assert "nothing can be said" in result.stderr


def test_what_makes_runs_different_is_said(run: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    make_run(more, vehicles=21, seconds=60, blocks=(2, 2), verdict="generator_overloaded")
    ledger(more)
    text = compare(run, more).stdout
    assert "beware: the runs differ in their vehicles: 20 and 21" in text
    assert "beware: B: the generator was overloaded" in text


def test_the_page_is_whole_and_loads_nothing(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    slow = other(run, tmp_path / "slow", slower_ms=9)
    assert compare(run, slow, "--html", page).exit_code == 0
    found = Checker(page.read_text("utf-8"))
    assert len(found.ids) == len(set(found.ids))
    assert found.refs == []
    assert "worse" in found.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fail-on", "p95>ten"], "is not N%"),
        (["--block", "soon"], "--block"),
        (["--fail-on", "nothing"], "no such figure"),
    ],
)
def test_bad_arguments_are_one_line(run: Path, arguments: list[str], says: str) -> None:
    result = compare(run, run, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_folder_without_a_ledger_is_named(run: Path, tmp_path: Path) -> None:
    bare = other(run, tmp_path / "bare")
    (bare / "ledger.parquet").unlink()
    result = compare(run, bare)
    assert (result.exit_code, str(bare) in result.stderr) == (2, True)


def test_a_map_that_goes_blank_covers_less_and_is_no_less_right() -> None:
    """A shot of which the API said nothing has a coverage, of 0, and no accuracy."""
    whole = MapHistory(10.0, [Shot(10.0 * k, "0404") for k in range(48)])
    blank = MapHistory(10.0, [Shot(10.0 * k, "2525" if k // 3 % 2 else "0404") for k in range(48)])
    coverage, accuracy = (
        next(row for row in map_rows([whole, blank], 0.95, 200) if row.name == f"map_{name}")
        for name in ("coverage", "accuracy")
    )
    assert (coverage.b, coverage.judgement) == (0.5, "worse")
    assert (accuracy.b, accuracy.judgement) == (1.0, "same")
    (only,) = map_rows([whole, MapHistory(10.0, [Shot(0.0, "2525")] * 48)], 0.95, 200)
    assert (only.name, only.b) == ("map_coverage", 0.0)


def test_a_terminal_of_80_columns_has_whole_names_and_one_line_a_figure(
    run: Path, tmp_path: Path
) -> None:
    result = compare(run, other(run, tmp_path / "slow", slower_ms=9))
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    at = lines.index("latency_ms{stage:acknowledged}")
    assert re.fullmatch(
        r" p50 +[\d.]+ ms [\d.]+ ms +\+[\d.]+ ms \(\+[\d.]+ %\) \+[\d.]+ ms to \+[\d.]+ ms worse",
        lines[at + 1],
    )
    assert " p99 " in lines[at + 3]
    assert "-" not in "".join(lines[2:])  # one sign for minus


def test_a_local_port_is_no_difference_between_targets(run: Path, tmp_path: Path) -> None:
    def at(target: str, name: str) -> Path:
        folder = Path(shutil.copytree(run, tmp_path / name))
        summary = from_json((folder / "summary.json").read_bytes())
        moved = msgspec.structs.replace(summary.run, target=target)
        summary = msgspec.structs.replace(summary, run=moved)
        (folder / "summary.json").write_bytes(to_json(summary))
        return folder

    here = at("fleet-sim in us-east-1 at http://127.0.0.1:4000", "a")
    moved = at("fleet-sim in us-east-1 at http://127.0.0.1:5", "b")
    assert "beware" not in compare(here, moved).stdout
    assert "differ in their target" in compare(here, at("fleet-sim in eu-west-1", "c")).stdout
