"""The JSON Schema: an independent validator takes what we take and refuses what we refuse."""

import copy
import re

import jsonschema
import msgspec
import pytest
import yaml

from fleet_sim.resources import data_dir
from fleet_sim.scenario import Catalog, Scenario, ScenarioError, json_schema, loads
from fleet_sim.scenario.nodes import compose
from fleet_sim.scenario.problems import Place
from fleet_sim.scenario.schema import descriptions
from fleet_sim.scenario.structure import Fit

CATALOG = Catalog(vehicles=("model3_rwd",), radios=("lte_urban",), venues=("arena",))
GOOD = {
    "name": "x",
    "fleet": [{"group": "a", "count": 3, "vehicle": "model3_rwd"}],
    "phases": [
        {"name": "p", "duration": "1m", "parking": {"event": {"at": "arena", "attendance": 3}}}
    ],
    "faults": [{"at": 0, "for": "2s", "radio": {}}],
}
VALIDATOR_OF_ALL = jsonschema.Draft202012Validator(json_schema())
VALIDATOR = jsonschema.Draft202012Validator(json_schema(CATALOG))


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.Draft202012Validator.check_schema(json_schema(CATALOG))


def test_it_describes_every_field():
    defs = json_schema()["$defs"]
    fields = [(name, f) for name, d in defs.items() for f in d["properties"].items()]
    assert len(fields) > 30
    for name, (field, schema) in fields:
        assert len(schema["description"]) > 5, f"{name}.{field}"
    assert all(d["description"] and d["additionalProperties"] is False for d in defs.values())
    assert descriptions(Scenario.__module__)["Fault", "for_s"] == "Simulated time it lasts."


def test_defaults_are_what_a_user_would_write():
    defs = json_schema()["$defs"]
    assert defs["GeneratedCity"]["properties"]["block_length"]["default"] == "100m"
    assert defs["Clock"]["properties"]["start"]["default"] == "2026-06-05T17:00:00Z"


def test_presets_become_enumerations():
    defs = json_schema(CATALOG)["$defs"]
    group = defs["VehicleGroup"]["properties"]
    assert group["vehicle"]["anyOf"][0] == {"enum": ["model3_rwd"]}
    assert group["radio"]["anyOf"][0] == {"enum": ["lte_urban"]}
    assert defs["ParkingEvent"]["properties"]["at"]["enum"] == ["arena"]
    assert "enum" not in json_schema()["$defs"]["ParkingEvent"]["properties"]["at"]


def test_patterns_mean_the_same_elsewhere():
    # ECMA 262 has no \\A, \\Z, possessive quantifiers or named groups in Python's spelling.
    for pattern in re.findall(r"'pattern': '(.*?)'[,}]", str(json_schema())):
        assert not re.search(r"\\[AZ]|\(\?P|[+*}]\+", pattern)
        assert pattern.startswith("^")
        assert pattern.endswith("$")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seed",), -1),
        (("seed",), "1"),
        (("sed",), 1),
        (("name",), "a/b"),
        (("fleet",), []),
        (("fleet", 0, "count"), 0),
        (("fleet", 0, "count"), "3"),
        (("fleet", 0, "vehicle"), "model3"),
        (("fleet", 0, "colour"), "red"),
        (("fleet", 0, "soc"), ["10%"]),
        (("fleet", 0, "soc"), ["10%", 1.5]),
        (("fleet", 0, "soc"), ["10%", "101%"]),
        (("fleet", 0, "telemetry"), {"qos": 2}),
        (("fleet", 0, "telemetry"), {"period": 1}),
        (("fleet", 0, "telemetry"), {"period": "0m0s"}),
        (("fleet", 0, "max_speed"), "35kmh"),
        (("phases", 0, "duration"), "1 minute"),
        (("phases", 0, "duration"), "5mms"),
        (("phases", 0, "duration"), 0),
        (("phases", 0, "parking", "event", "at"), "stadium"),
        (("faults", 0, "for"), "-1s"),
        (("faults", 0, "at"), 1),
        (("city",), {"generate": {"blocks": [1, 2, 3]}}),
        (("city",), {"generate": {"blocks": [1, 201]}}),
        (("clock",), {"speed": 0}),
        (("clock",), None),
        (("thresholds",), {"m": "count<1"}),
    ],
)
def test_what_it_refuses_we_refuse(path, value):
    broken = copy.deepcopy(GOOD)
    target = broken
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    assert VALIDATOR.is_valid(GOOD)
    assert not VALIDATOR.is_valid(broken)
    with pytest.raises(ScenarioError):
        loads(yaml.safe_dump(broken), catalog=CATALOG)


@pytest.mark.parametrize("missing", ["name", "fleet", "phases"])
def test_what_must_be_there(missing):
    assert not VALIDATOR.is_valid({k: v for k, v in GOOD.items() if k != missing})


@pytest.mark.parametrize("path", sorted(data_dir("scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_example_is_valid(path):
    tree = compose(path.read_text("utf-8"), Place(path.name, 1, 1), [])
    plain = Fit(None).visit(tree, msgspec.inspect.type_info(Scenario))
    errors = [error.message for error in VALIDATOR_OF_ALL.iter_errors(plain)]
    assert not errors
    plain["phases"][0]["duration"] = "soon"
    assert not VALIDATOR_OF_ALL.is_valid(plain)
