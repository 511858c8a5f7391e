"""What `fleet-sim presets` says is what the models have, and what docs/presets.md says."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fleet_sim.cli import main
from fleet_sim.engine.catalog import known_names
from fleet_sim.engine.presets import KINDS, presets_markdown
from fleet_sim.resources import data_dir
from fleet_sim.scenario import loads
from fleet_sim.world.equipment import NO_RADIO, NO_SENSOR, check_presets

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"
MARK = "<!-- from here on: fleet-sim presets --markdown -->\n"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["presets", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_page_has_the_figures_of_the_models() -> None:
    # `fleet-sim presets --markdown` writes what stands below the mark.
    assert PAGE.read_text("utf-8").partition(MARK)[2] == presets_markdown() == run("--markdown")


def test_the_names_that_a_scenario_may_use_are_those_listed() -> None:
    listed, names = json.loads(run("--json")), known_names()
    assert tuple(listed) == KINDS
    for kind in KINDS:
        assert {*listed[kind]} == {*getattr(names, kind)} - {NO_RADIO, NO_SENSOR}
    assert {"model3_rwd", "leaf_30", "bolt_2017"} <= {*listed["vehicles"]}
    assert {"lte_urban", "5g_urban", "rural"} <= {*listed["radios"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_listed_preset_can_be_pasted_into_a_scenario(kind: str) -> None:
    listed = json.loads(run(kind, "--json"))
    own = {f"my_{name}": figures for name, figures in listed[kind].items()}
    text = "name: x\nfleet: [{group: a, count: 1}]\nphases: [{name: p, duration: 1m}]\n"
    loads(
        f"{text}presets: {json.dumps({kind: own})}\n",
        catalog=known_names(),
        check_presets=check_presets,
    )


def test_each_preset_says_where_its_figures_come_from() -> None:
    for presets in json.loads(run("--json")).values():
        for figures in presets.values():
            assert len(figures["source"]) > 30
    out = run("receivers")
    assert "ublox_m8: CEP50 2.5 m under open sky (u-blox M8)" in " ".join(out.split())
    assert "1.09m" in out
    assert "lte_urban" not in out


def test_a_scenario_s_own_presets_are_listed_with_what_comes_of_their_bases() -> None:
    example = str(data_dir("scenarios") / "winter_vans.yaml")
    listed = json.loads(run("--scenario", example, "--json"))
    van, warm = listed["vehicles"]["my_van"], listed["vehicles"]["my_heat_pump_van"]
    assert warm == {**van, "heating": "heat_pump", "source": "based on my_van"}
    assert van["mass"] == "2600kg"
    assert van["cells"] == listed["vehicles"]["leaf_30"]["cells"]
    assert listed["radios"]["tracker_sim"]["kind"] == "gilbert_elliott"
    assert listed["radios"]["valley"]["places"]["hole"]["area_share"] == "8%"
    heavy = run("vehicles", "--scenario", example, "--set", "presets.vehicles.my_van.mass=3t")
    assert "3000kg" in heavy
    broken = ["--scenario", example, "--set", "presets.vehicles.my_van.mass=0kg"]
    result = CliRunner().invoke(main, ["presets", *broken])
    assert result.exit_code == 2
    assert "presets.vehicles.my_van.mass: '0kg' is not allowed" in result.stderr
