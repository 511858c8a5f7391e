"""The tables of docs/ota.md are of the scenarios that there are, and of what they ask for."""

from pathlib import Path

import msgspec
import pytest
from test_report_sample import make_run

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.ota.page import LIVE, REHEARSALS, Row, main, rehearsal_table
from fleet_sim.engine.ota.page_live import live_row, live_tables, run_all
from fleet_sim.engine.ota.page_rows import MUST_BREAK, VARIANTS, named, replace_between
from fleet_sim.measure.ota import CampaignRecord, VehicleTruth
from fleet_sim.measure.ota_judge import Campaigned, judge_campaign
from fleet_sim.measure.summary import EXIT_CODES, Summary, to_json
from fleet_sim.measure.thresholds import evaluate
from fleet_sim.resources import data_dir

PAGE = Path(__file__).parents[2] / "docs" / "ota.md"
SCENARIOS = sorted(data_dir("scenarios").glob("ota_*.yaml"))


def test_every_scenario_is_in_the_table_and_came_out_as_it_had_to() -> None:
    table = PAGE.read_text("utf-8").partition(REHEARSALS.begin)[2].partition(REHEARSALS.end)[0]
    for path in SCENARIOS:
        rows = [line for line in table.splitlines() if line.startswith(f"| `{path.stem}`")]
        assert len(rows) == len(VARIANTS.get(path.stem, ("",)))
        asked = {name.removeprefix("ota_") for name in load_scenario(path).conditions}
        for line in rows:
            assert line.split(" | ")[1] == "yes"
            assert all(f"`{name}`" in line for name in asked)
            assert ("broken" in line) == (path.stem in MUST_BREAK)


def test_every_scenario_and_attack_was_run_live_and_came_out_as_it_had_to() -> None:
    tables = PAGE.read_text("utf-8").partition(LIVE.begin)[2].partition(LIVE.end)[0]
    held, course = (part.splitlines() for part in tables.split("\n\n")[2:])
    wanted = [
        named(path.stem, attack) for path in SCENARIOS for attack in VARIANTS.get(path.stem, ("",))
    ]
    assert [line.split(" | ")[0].removeprefix("| ") for line in held[2:]] == wanted
    assert [line.split(" | ")[0].removeprefix("| ") for line in course[2:]] == wanted
    assert {line.split(" | ")[3] for line in held[2:]} == {"yes"}
    assert all(", 0 unexplained |" in line for line in course[2:])


def test_the_table_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{REHEARSALS.begin}\nstale\n{REHEARSALS.end}\nbelow\n")
    rows = [Row("`a`", True, "completed", "x"), Row("`b`", False, "aborted", "y")]
    replace_between(page, REHEARSALS, rehearsal_table(rows, 1_000))
    text = page.read_text()
    assert text.startswith(f"above\n{REHEARSALS.begin}\nRehearsed with 1,000 vehicles each.\n")
    assert "| `b` | **no** | aborted | y |" in text
    assert text.endswith(f"{REHEARSALS.end}\nbelow\n")
    assert "stale" not in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md: <!-- rehearsals --> and"):
        replace_between(page, REHEARSALS, "")


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return make_run(tmp_path_factory.mktemp("run"), vehicles=2, seconds=2)


class TestLive:
    def folder(
        self, summary: Summary, at: Path, started: int, *, exit_code: int, scenario: str
    ) -> Path:
        """Of a run in which so many of two vehicles began."""
        truths = [
            VehicleTruth(vehicle=i, had="1", runs="1", started_s=9.0 if i < started else None)
            for i in range(2)
        ]
        record = CampaignRecord("aborted", "", [], [])
        campaign = judge_campaign(Campaigned("2", "none", truths, record, int, 60.0, 100.0), None)
        results = evaluate(
            {"ota_started_share": ("value<=0.5",), "ota_unbootable": ("count==0",)},
            campaign.metrics(),
        )
        verdict = {code: verdict for verdict, code in EXIT_CODES.items()}[exit_code]
        run = msgspec.structs.replace(
            summary.run, scenario=scenario, verdict=verdict, exit_code=exit_code
        )
        at.mkdir()
        held = msgspec.structs.replace(summary, run=run, ota=campaign, thresholds=results)
        (at / "summary.json").write_bytes(to_json(held))
        return at

    @pytest.mark.parametrize(
        ("scenario", "started", "exit_code", "held"),
        [
            ("ota-good", 1, 0, True),
            ("ota-good", 1, 4, False),  # overloaded
            ("ota-good", 2, 99, False),
            ("ota-delayed-fault-no-soak", 2, 99, True),
            ("ota-delayed-fault-no-soak", 1, 99, False),  # for another reason
            ("ota-delayed-fault-no-soak", 1, 0, False),
        ],
    )
    def test_a_run_came_out_as_it_had_to(
        self,
        summary: Summary,
        tmp_path: Path,
        scenario: str,
        started: int,
        exit_code: int,
        held: bool,
    ) -> None:
        at = tmp_path / "run"
        self.folder(summary, at, started, exit_code=exit_code, scenario=scenario)
        assert live_row(at).held == held

    def test_the_tables_say_what_broke_and_what_held_everywhere_once(
        self, summary: Summary, tmp_path: Path
    ) -> None:
        good = self.folder(summary, tmp_path / "z", 1, exit_code=0, scenario="ota-good")
        bad = self.folder(summary, tmp_path / "a", 2, exit_code=99, scenario="ota-flaky")
        text = live_tables([live_row(good), live_row(bad)])
        assert "In each of them held: `unbootable` ==0: 0." in text
        flaky, good_row = (line for line in text.splitlines() if "started_share" in line)
        assert flaky.startswith("| `ota_flaky` | 0:08 | threshold broken, 99 | **no** | aborted:")
        assert flaky.endswith("| `started_share` <=0.5: 1 **broken** |")
        assert good_row.endswith("| `started_share` <=0.5: 0.5 |")

    def test_of_two_runs_of_one_the_newest_counts(self, summary: Summary, tmp_path: Path) -> None:
        first = live_row(self.folder(summary, tmp_path / "a", 2, exit_code=99, scenario="ota-good"))
        run = msgspec.structs.replace(first.summary.run, started="2026-01-01T00:00:00+00:00")
        older = first._replace(summary=msgspec.structs.replace(first.summary, run=run))
        newer = live_row(self.folder(summary, tmp_path / "b", 1, exit_code=0, scenario="ota-good"))
        for both in ([older, newer], [newer, older]):
            assert "**no**" not in live_tables(both)

    def test_what_is_no_run_is_named_and_the_others_are_written(
        self,
        summary: Summary,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"{LIVE.begin}\n{LIVE.end}\n")
        good = self.folder(summary, tmp_path / "good", 1, exit_code=0, scenario="ota-good")
        arguments = [str(page), "--live", str(good)]
        assert main(arguments) == 0
        assert "| `ota_good` |" in page.read_text()
        assert main([*arguments, str(tmp_path / "none")]) == 99
        assert "none: not a run folder" in capsys.readouterr().err

    def test_an_earlier_run_is_not_taken_for_this_one(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is there already"):
            next(run_all(tmp_path))

    def test_what_cannot_be_run_or_written_is_said_in_one_line_before_anything_runs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"{LIVE.begin}\n{LIVE.end}\n")
        for arguments, says in (
            ([str(page), "--run", str(tmp_path)], f"{tmp_path}: is there already"),
            ([str(page)], "page.md: <!-- rehearsals --> and"),
            ([str(tmp_path / "none.md")], "none.md"),
        ):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert says in line
