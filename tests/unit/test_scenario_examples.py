"""The example scenarios, the starter and the reference in docs/ are right as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from fleet_sim.measure.thresholds import check_threshold
from fleet_sim.resources import data_dir
from fleet_sim.scenario import (
    Scenario,
    ScenarioError,
    dump,
    enc_hook,
    load,
    loads,
    starter_text,
    write_starter,
)
from fleet_sim.world import catalog

REPOSITORY = Path(__file__).parents[2]
REFERENCE = (REPOSITORY / "docs" / "scenarios.md").read_text("utf-8")
EXAMPLES = sorted(data_dir("scenarios").glob("*.yaml"))


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", REFERENCE, flags=re.M | re.S)


def fields(kind, path=""):
    """`(path, default text)` of every field below a type; None for a field that must be given."""
    while not isinstance(kind, inspect.StructType):
        if isinstance(kind, inspect.UnionType):
            kind = kind.types[0]
        elif isinstance(kind, inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, inspect.VarTupleType):
            kind, path = kind.item_type, f"{path}[]"
        else:
            return
    for field in kind.fields:
        name = f"{path}.{field.encode_name}".removeprefix(".")
        below = list(fields(field.type, name))
        yield from below
        if not below:
            yield name, default(field)


def default(field):
    if field.required:
        return None
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default_factory(), enc_hook=enc_hook).decode()
    if field.default is None:
        return "unset"
    value = msgspec.to_builtins(field.default, enc_hook=enc_hook)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


FIELDS = dict(fields(inspect.type_info(Scenario)))


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} >= {"parking_surge", "smoke", "starter"}
    assert len(FIELDS) > 25


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_with_the_real_presets(path):
    scenario = load(path, catalog=catalog(), check_threshold=check_threshold)
    assert loads(dump(scenario), catalog=catalog(), check_threshold=check_threshold) == scenario
    assert scenario.description
    text = path.read_text("utf-8")
    assert text.startswith("# ")
    assert "fleet-sim run" in text


def test_the_demo_is_what_it_is_said_to_be():
    scenario = load(data_dir("scenarios") / "parking_surge.yaml")
    assert (scenario.vehicles, scenario.duration_s, scenario.clock.speed) == (500, 120, 1)
    smoke = load(data_dir("scenarios") / "smoke.yaml")
    assert (smoke.vehicles, smoke.duration_s) == (20, 10)


def test_the_starter_has_every_field_with_a_comment():
    lines = starter_text().splitlines()
    for path in FIELDS:
        name = path.split(".")[-1]
        found = [line for line in lines if re.match(rf"[ -]*\"?{re.escape(name)}\"?:", line)]
        assert found, f"{path} is not in the starter"
        if name != "name" and name != "lon":
            assert any("#" in line for line in found), f"{path} has no comment"


def test_a_field_of_the_starter_shows_its_default_unless_it_says_so():
    scenario = load(data_dir("scenarios") / "starter.yaml")
    bare = loads("name: x\nfleet: [{group: a, count: 1}]\nphases: [{name: p, duration: 1s}]\n")
    assert (scenario.clock, scenario.weather) == (bare.clock, bare.weather)
    assert msgspec.structs.replace(scenario.fleet[0], group="a", count=1) == bare.fleet[0]
    assert scenario.phases[0].parking == bare.phases[0].parking
    grid = msgspec.structs.replace(scenario.city.generate, blocks=(14, 10))
    assert grid == bare.city.generate
    for value in ("seed: 42", "blocks: [6, 4]", "district: north"):
        (line,) = [line for line in starter_text().splitlines() if value in line]
        assert "default" in line


def test_the_starter_is_written_once(tmp_path):
    path = tmp_path / "mine.yaml"
    write_starter(path)
    assert load(path).name == "my-scenario"
    path.write_text("mine")
    with pytest.raises(ScenarioError) as caught:
        write_starter(path)
    assert str(caught.value) == (
        f"{path}: exists, and is not overwritten (allowed: the name of a new file)"
    )
    assert path.read_text() == "mine"
    with pytest.raises(ScenarioError, match="cannot be written: No such file or directory"):
        write_starter(tmp_path / "none" / "mine.yaml")
    with pytest.raises(ScenarioError, match="exists"):
        write_starter(tmp_path)


def test_the_reference_has_each_field_once_with_its_default():
    rows = re.findall(r"^\| `([^`]+)` \|(.*?) \| .+ \|$", REFERENCE, flags=re.M)
    table = {name: text.strip("` ") or None for name, text in rows if name in FIELDS}
    assert table == FIELDS
    assert len([name for name, _ in rows if name in FIELDS]) == len(table)
    assert {name for name, _ in rows if "." in name} <= set(FIELDS)


def test_the_references_scenarios_load():
    found = blocks("yaml")
    assert found
    for text in found:
        assert loads(text, catalog=catalog(), check_threshold=check_threshold).vehicles == 400


def test_the_references_overrides_work():
    text = blocks("yaml")[0]
    arguments = re.findall(r"^\| `--set '?([^`']+?)'?` \|", REFERENCE, flags=re.M)
    assert len(arguments) == 8
    for argument in arguments:
        kept = [] if "event=null" not in argument else ["phases.egress.parking.event=null"]
        changed = loads(text, overrides=[argument, *kept])
        assert changed != loads(text), argument


def test_the_references_python_runs():
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert loads(done.stdout).vehicles == 20


def test_the_references_errors_are_what_is_said():
    (lines, _) = blocks("text")
    text = (
        "name: x\n" + "#\n" * 10 + "fleet: [{group: a, count: -5},\n#\n  {group: b, cuont: 3}]\n"
        + "#\n" * 11 + "phases: [{name: p, duration: 2m}]\n" + "#\n" * 3
        + "faults:\n  - {at: 10m, for: 1s, radio: {}}\n"
    )  # fmt: skip
    said = [line.split("…")[0] for line in lines.splitlines()]
    with pytest.raises(ScenarioError) as caught:
        loads(text, name="scenarios/x.yaml")
    found = str(caught.value).splitlines()
    fixed = text.replace("-5", "5").replace("cuont", "count")
    with pytest.raises(ScenarioError) as caught:
        loads(fixed, name="scenarios/x.yaml")
    found += str(caught.value).splitlines()
    with pytest.raises(ScenarioError) as caught:
        loads(fixed, overrides=["fleet[0].count=-5"])
    found += str(caught.value).splitlines()
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True)), found


def test_the_starter_can_pass_on_a_broker_without_a_cloud():
    scenario = load(data_dir("scenarios") / "starter.yaml")
    clouds = re.compile(r"stage:(stream|processed|stored|visible)|occupancy|probe|load_|ota_")
    assert scenario.thresholds
    assert not [metric for metric in scenario.thresholds if clouds.search(metric)]
