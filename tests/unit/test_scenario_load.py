"""Loading: each problem is one line with the place, the value and what is allowed."""

import datetime as dt
import pickle
from pathlib import Path

import pytest
from scenario_text import BOMB, CATALOG, GOOD, changed, problems

from fleet_sim.scenario import Catalog, ScenarioError, dump, load, loads
from fleet_sim.scenario.nodes import MAX_BYTES


def test_a_good_scenario_needs_no_seed():
    scenario = loads(GOOD, catalog=CATALOG)
    assert scenario.seed == 0
    assert (scenario.vehicles, scenario.duration_s) == (8, 120)
    assert scenario.fleet[1].vehicle == "model3_rwd"
    assert scenario.phases[1].parking.event.peak_before_s == 20


def test_the_first_phase_has_an_occupancy_and_the_others_keep_it():
    scenario = loads(GOOD)
    assert [phase.parking.occupancy for phase in scenario.phases] == [0.6, None]
    given_one = loads(changed("name: calm", "name: calm\n    parking: {occupancy: 20%}"))
    assert given_one.phases[0].parking.occupancy == 0.2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            changed("    count: 3", "    cuont: 3"),
            "x.yaml:5: fleet[1].cuont: unknown field, did you mean 'count'? (allowed: group, "
            "count, vehicle, telemetry, radio, receiver, sensor, parked, max_speed, soc, "
            "firmware)",
            id="typo in a field",
        ),
        pytest.param(
            changed("peak_before: 20s", "peak_before: 20"),
            "x.yaml:11: phases[1].parking.event.peak_before: 20 is not allowed (allowed: a "
            "duration with its unit: 250ms, 30s, 5m, 2h, 1d or 1m30s; or 0)",
            id="wrong unit",
        ),
        pytest.param(
            changed("count: 5", "count: -5"),
            "x.yaml:3: fleet[0].count: -5 is not allowed (allowed: 1..1000000)",
            id="negative count",
        ),
        pytest.param(
            changed("model3_rwd", "model3"),
            "x.yaml:3: fleet[0].vehicle: 'model3' is not known, did you mean 'model3_rwd'? "
            "(allowed: model3_rwd, leaf_30)",
            id="unknown vehicle",
        ),
        pytest.param(
            changed("at: 90s", "at: 10m"),
            "x.yaml:13: faults[0].at: 10m is not before the end of the phases (allowed: less "
            "than 2m)",
            id="phases that don't fit",
        ),
        pytest.param(
            "# nothing but a comment\n",
            "x.yaml: the file is empty (allowed: a scenario; `fleet-sim init` writes one)",
            id="empty",
        ),
        pytest.param(
            BOMB,
            "x.yaml:5: too large: more than 100000 values once aliases are expanded",
            id="alias bomb",
        ),
        pytest.param(
            changed("    count: 3", "    count: 3\n    count: 4"),
            "x.yaml:6: fleet[1].count: the key is there twice, first in line 5 (allowed: once)",
            id="duplicate key",
        ),
        pytest.param(
            "- a\n- b\n",
            "x.yaml:1: a list of 2 is not allowed (allowed: a mapping with the fields name, "
            "description, seed, clock, city, weather, presets, fleet, phases, faults, mqtt, "
            "campaign, load, thresholds)",
            id="not a mapping",
        ),
        pytest.param(
            changed("name: good", "title: good"),
            "x.yaml:1: name: is missing (allowed: it must be given)",
            id="missing field",
        ),
        pytest.param(
            changed("name: good", "name: good\nseed: [1"),
            "x.yaml:3: not YAML: did not find expected ',' or ']'",
            id="not YAML",
        ),
    ],
)
def test_broken_files(text, line):
    assert line in problems(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF\x02\x01\x00\x00", "is a binary file (allowed: YAML text in UTF-8)"),
        (
            b"name: x\nseed: \xff\xfe",
            ":2: the byte 0xFF is not UTF-8 (allowed: YAML text in UTF-8)",
        ),
        (b"\x89PNG\r\n", ":1: the byte 0x89 is not UTF-8"),
        (b"name: x\n\x07", ":2: the character U+0007 is not allowed"),
        (b"#" * (MAX_BYTES + 1), "is larger than 1048576 bytes (allowed: 1 MiB)"),
        (b"", "the file is empty"),
    ],
)
def test_broken_bytes(tmp_path, data, message):
    path = tmp_path / "broken.yaml"
    path.write_bytes(data)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for path, message in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "a\0b", "cannot be read: embedded null byte"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
    ]:
        with pytest.raises(ScenarioError, match=message):
            load(path)


def test_a_file_may_have_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(str(path)) == loads(GOOD)


def test_all_problems_are_reported_in_the_order_of_the_file():
    text = GOOD.replace("count: 5", "count: many, colour: red").replace("at: 90s", "art: 90s")
    text = text.replace("duration: 1m", "duration: 1 minute", 1)
    text += "name: twice\n"  # found first, by the reader
    found = [line.split(": ")[:2] for line in problems("sed: 3\n" + text)]
    assert found == [
        ["x.yaml:1", "sed"],
        ["x.yaml:4", "fleet[0].count"],
        ["x.yaml:4", "fleet[0].colour"],
        ["x.yaml:9", "phases[0].duration"],
        ["x.yaml:14", "faults[0].art"],
        ["x.yaml:15", "name"],
    ]


def test_unknown_fields_do_not_hide_what_does_not_fit_together():
    text = changed("at: 90s", "at: 10m").replace("count: 3", "count: 3\n    colour: red")
    text = text.replace("attendance: 10", "atendance: 10")
    # `atendance` is why the event lacks attendance, so that is not a problem of its own.
    assert [line.split(": ")[1] for line in problems(text)] == [
        "fleet[1].colour",
        "phases[1].parking.event.atendance",
        "faults[0].at",
    ]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (changed("group: vans", "group: taxis"), "4: fleet[1].group", "the name of fleet[0] too"),
        (changed("name: surge", "name: calm"), "9: phases[1].name", "the name of phases[0] too"),
        (changed("at: arena", "at: areena"), "11: phases[1].parking.event.at", "mean 'arena'?"),
        (changed("count: 3", "count: 3\n    radio: wifi"), "6: fleet[1].radio", "lte_urban"),
        (changed("for: 30s", "for: 31s"), "13: faults[0].for", "(allowed: at most 30s)"),
        (
            changed("radio: {district: north}", "radio: {}, broker: {}"),
            "13: faults[0]",
            "radio and broker are given (allowed: one of the two)",
        ),
        (
            changed(", radio: {district: north}", ""),
            "13: faults[0]",
            "neither radio nor broker is given (allowed: one of the two)",
        ),
        (changed("for: 30s", "for: 0"), "13: faults[0].for", "allowed: 1ms..366d"),
        (
            changed("peak_before: 20s", "peak_before: 2m"),
            "11: phases[1].parking.event.peak_before",
            "2m is longer than the phase 'surge' (allowed: 0s..1m)",
        ),
        (
            changed("attendance: 10, peak_before: 20s", "leaves: 50%, peak_before: 20s"),
            "11: phases[1].parking.event.leaves",
            "50% is not allowed: nobody has come to 'arena' by the phase 'surge'",
        ),
        (
            changed("attendance: 10, peak_before: 20s", "leaves: 50%, peak_before: 20s"),
            "11: phases[1].parking.event.peak_before",
            "not allowed without attendance",
        ),
        (
            changed(", attendance: 10, peak_before: 20s", ""),
            "11: phases[1].parking.event",
            "neither attendance nor leaves is given",
        ),
        (changed("count: 3", "count: 3\n    soc: [90%, 10%]"), "6: fleet[1].soc", "[90%, 10%]"),
        (changed("count: 3", "count: 3\n    soc: 90%"), "6: fleet[1].soc", "a list of exactly 2"),
        (
            changed("count: 3", "count: 3\n    telemetry: {period: 20ms}"),
            "6: fleet[1].telemetry.period",
            "'20ms' is not allowed (allowed: 50ms..1h)",
        ),
        (
            changed("name: good", "name: good\nclock: {speed: 60}"),
            "4: fleet[0].telemetry.period",
            "1s is not allowed at clock.speed 60 (allowed: at least 3s",
        ),
        (
            changed("count: 5", "count: 1000000"),
            "2: fleet",
            "1000003 vehicles are not allowed",
        ),
        (
            changed("count: 5", "count: 500000, telemetry: {period: 100ms}"),
            "2: fleet",
            "5000003 messages a second",
        ),
        (
            changed("name: good", "name: good\ncity: {generate: {blocks: [200, 200]}}"),
            "2: city.generate.blocks",
            "40401 crossings (allowed: at most 8192 crossings",
        ),
        (
            changed("name: good", "name: good\ncity: {osm: a.osm, generate: {}}"),
            "2: city.osm",
            "is given beside generate (allowed: one of the two",
        ),
        (
            changed("name: good", "name: good\ncity: {osm: a.zip}"),
            "2: city.osm",
            "'a.zip' is not allowed (allowed: a file that ends with .osm, .osm.bz2",
        ),
        (changed("duration: 1m\n  -", "duration: 50ms\n  -"), "8: phases[0].duration", "100ms.."),
        (changed("name: good", "name: a/b"), "1: name", "a name of letters, digits"),
        (changed("name: good", 'name: "a\\n"'), "1: name", r"'a\n' is not allowed"),
        (changed("name: good", "name: 2026"), "1: name", "put it in quotes"),
        (changed("count: 5", "count: 5.0"), "3: fleet[0].count", "5.0 is not allowed"),
        (changed("count: 5", "count: true"), "3: fleet[0].count", "true is not allowed"),
        (changed("count: 5", "count: null"), "3: fleet[0].count", "null is not allowed"),
        (changed("count: 5", f"count: {'9' * 5000}"), "3: fleet[0].count", "…"),
        (changed("count: 5", "count: [5]"), "3: fleet[0].count", "a list of 1 is not allowed"),
        (changed("name: good", "name: good\nseed: 9223372036854775808"), "2: seed", "0..92233"),
        (changed("name: good", "name: good\nclock: {speed: .inf}"), "2: clock.speed", "inf is not"),
        (changed("name: good", "name: good\nclock: {speed: .nan}"), "2: clock.speed", "nan is not"),
        (changed("name: good", "name: good\nclock: {speed: 0}"), "2: clock.speed", "more than 0"),
        (changed("name: good", "name: good\nclock:"), "2: clock", "null is not allowed"),
        (
            changed("name: good", "name: good\nclock: {start: 2026-06-05T17:00:00}"),
            "2: clock.start",
            "a time with its offset from UTC",
        ),
        (
            changed("name: good", "name: good\nclock: {start: 2026-06-05}"),
            "2: clock.start",
            "a date, time and offset such as 2026-06-05T17:00:00Z",
        ),
        (
            changed("name: good", "name: good\nclock: {start: 1969-12-31T00:00:00Z}"),
            "2: clock.start",
            "(allowed: 1970..2200)",
        ),
        (
            changed("count: 3", "count: 3\n    telemetry: {qos: 2}"),
            "6: fleet[1].telemetry.qos",
            "2 is not allowed (allowed: 0, 1)",
        ),
        (
            changed("count: 3", "count: 3\n    telemetry: {qos: true}"),
            "6: fleet[1].telemetry.qos",
            "true is not allowed (allowed: 0, 1)",
        ),
        (
            changed("name: good", 'name: good\nthresholds: {"x": []}'),
            "2: thresholds.x",
            "at least 1",
        ),
        (changed("name: good", "name: good\nthresholds: {x: a<1}"), "2: thresholds.x", "a list of"),
        ("name: x\nfleet: []\nphases: []\n", "2: fleet", "a list of 0 is not allowed"),
    ],
)
def test_what_does_not_fit(text, where, message):
    found = problems(text)
    assert [line for line in found if line.startswith(f"x.yaml:{where}: ") and message in line], (
        found
    )


def test_one_mistake_is_one_problem():
    assert len(problems(changed("group: vans", "grup: vans"))) == 1
    assert len(problems(changed("at: 90s", "at: 10m"))) == 1


def test_the_start_keeps_its_offset():
    text = changed("name: good", "name: good\nclock: {start: 2026-06-05T17:00:00-07:00}")
    start = loads(text).clock.start
    assert start == dt.datetime(2026, 6, 6, tzinfo=dt.UTC)
    assert start.utcoffset() == dt.timedelta(hours=-7)


def test_thresholds_are_parsed_by_the_given_function():
    seen = []

    def parse(metric, condition):
        seen.append((metric, condition))
        if condition == "bad":
            raise ValueError("position 1: 'bad' is no condition\n(allowed: count<1)")

    text = GOOD + 'thresholds:\n  "m{a:b}": ["count<1", "bad"]\n'
    assert problems(text, check_threshold=parse) == [
        "x.yaml:15: thresholds.\"m{a:b}\"[1]: position 1: 'bad' is no condition (allowed: count<1)"
    ]
    assert seen == [("m{a:b}", "count<1"), ("m{a:b}", "bad")]


def test_metrics_of_thresholds_are_known_when_the_catalog_names_them():
    text = GOOD + 'thresholds:\n  "audit_losst{a:b}": ["count<1"]\n'
    with pytest.raises(ScenarioError, match="did you mean 'audit_lost'"):
        loads(text, catalog=Catalog(metrics=("audit_lost", "latency_ms")))
    loads(text.replace("losst", "lost"), catalog=Catalog(metrics=("audit_lost", "latency_ms")))


def test_a_flood_of_problems_is_cut_off():
    text = changed("count: 5", ", ".join(f"f{i}: 1" for i in range(500)))
    lines = problems_of_flood(text)
    assert len(lines) == 101
    assert lines[-1] == "… and 401 more"


def problems_of_flood(text):
    with pytest.raises(ScenarioError) as caught:
        loads(text)
    assert len(caught.value.problems) == 501  # and `count` is missing
    return str(caught.value).splitlines()


def test_the_error_crosses_processes():
    with pytest.raises(ScenarioError) as caught:
        loads("- a")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.problems == caught.value.problems
    assert str(copy) == str(caught.value)


def test_a_map_is_beside_the_scenario_wherever_one_is(tmp_path, monkeypatch):
    folder = tmp_path / "towns"
    folder.mkdir()
    path = folder / "x.yaml"
    path.write_text(changed("name: good", "name: good\ncity: {osm: ../maps/town.osm.pbf}"))
    monkeypatch.chdir(tmp_path)
    for source in (path, Path("towns/x.yaml")):
        assert load(source).city.osm == str(tmp_path / "maps" / "town.osm.pbf")
    there = load(path, overrides=["city.osm=other.osm"])
    assert there.city.osm == str(folder / "other.osm")
    assert there.city.generate is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(path, overrides=["city.osm=~/a.osm"]).city.osm == str(tmp_path / "a.osm")
    # What a run's folder keeps can be run from there.
    (tmp_path / "scenario.yaml").write_text(dump(there))
    assert load(tmp_path / "scenario.yaml") == there


def test_an_override_can_put_a_map_in_place_of_a_generated_city():
    text = changed("name: good", "name: good\ncity: {generate: {blocks: [3, 3]}}")
    with pytest.raises(ScenarioError, match=r"city\.osm: is given beside generate"):
        loads(text, overrides=["city.osm=a.osm"])
    assert loads(text, overrides=["city.generate=null", "city.osm=a.osm"]).city.osm == "a.osm"
