"""The table of docs/ota.md is of the scenarios that there are, and of what they ask for."""

from pathlib import Path

import pytest

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.ota_page import BEGIN, END, MUST_FAIL, VARIANTS, Row, write
from fleet_sim.resources import data_dir

PAGE = Path(__file__).parents[2] / "docs" / "ota.md"
SCENARIOS = sorted(data_dir("scenarios").glob("ota_*.yaml"))


def test_every_scenario_is_in_the_table_and_came_out_as_it_had_to() -> None:
    table = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    for path in SCENARIOS:
        rows = [line for line in table.splitlines() if line.startswith(f"| `{path.stem}`")]
        assert len(rows) == len(VARIANTS.get(path.stem, ("",)))
        asked = {name.removeprefix("ota_") for name in load_scenario(path).conditions}
        for line in rows:
            assert line.split(" | ")[1] == "yes"
            assert all(f"`{name}`" in line for name in asked)
            assert ("broken" in line) == (path.stem in MUST_FAIL)


def test_the_table_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nstale\n{END}\nbelow\n")
    write(page, [Row("`a`", True, "completed", "x"), Row("`b`", False, "aborted", "y")], 1_000)
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\nRehearsed with 1,000 vehicles each.\n")
    assert "| `b` | **no** | aborted | y |" in text
    assert text.endswith(f"{END}\nbelow\n")
    assert "stale" not in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md: <!-- rehearsals --> and"):
        write(page, [], 1)
