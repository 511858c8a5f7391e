"""The JSON Schema of summary.json: an independent validator takes what a run writes."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner
from test_report_sample import make_run

from fleet_sim.cli import main
from fleet_sim.measure.schema import summary_schema
from fleet_sim.measure.summary import Summary, from_json, to_json

SCHEMA = summary_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return make_run(tmp_path_factory.mktemp("run"), vehicles=20, blocks=(2, 2))


def test_a_runs_summary_fits(summary: Summary) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(to_json(summary))
    assert document["version"] == 1
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"colour": "blue"},
        {"run": {}},
        {"metrics": {"latency_ms": {"p95": "fast"}}},
        {"thresholds": [{"metric": 3}]},
    ],
)
def test_what_it_refuses_we_refuse(summary: Summary, change: dict[str, object]) -> None:
    document = {**json.loads(to_json(summary)), **change}

    assert not VALIDATOR.is_valid(document)
    with pytest.raises(ValueError, match=r"summary\.json: "):
        from_json(json.dumps(document))


def test_a_summary_of_before_versions_is_read(summary: Summary) -> None:
    document = json.loads(to_json(summary))
    del document["version"], document["cost"]
    assert from_json(json.dumps(document)) == msgspec.structs.replace(summary, cost=None)


def test_fields_say_what_they_are() -> None:
    generator = SCHEMA["$defs"]["Generator"]["properties"]
    assert generator["dropped"]["description"] == "Messages given up, whatever the cause."
    assert "USD" in SCHEMA["$defs"]["Bill"]["properties"]["by_service"]["description"]


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(main, ["schema", "--summary"])
    assert json.loads(done.output) == SCHEMA


def test_each_section_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    for name in Summary.__struct_fields__:
        assert f"`{name}`" in text, name
