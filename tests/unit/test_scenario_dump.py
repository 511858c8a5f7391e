"""Written scenarios read back equal, and the reader is never laxer than the structs."""

import contextlib
import copy
import datetime as dt

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_sim.scenario import (
    City,
    Clock,
    Duration,
    Fault,
    Fraction,
    GeneratedCity,
    Length,
    Parking,
    ParkingEvent,
    Phase,
    RadioFault,
    Scenario,
    ScenarioError,
    Speed,
    TelemetrySettings,
    VehicleGroup,
    dec_hook,
    dump,
    loads,
)
from fleet_sim.scenario.nodes import compose
from fleet_sim.scenario.physical import (
    DataRate,
    Force,
    Frequency,
    LinearDrag,
    Mass,
    Power,
    QuadraticDrag,
    Resistance,
    Temperature,
)
from fleet_sim.scenario.presets import (
    BadPlace,
    OwnRadio,
    OwnReceiver,
    OwnSensor,
    OwnVehicle,
    Places,
    Presets,
    RoadLoad,
)
from fleet_sim.scenario.problems import Place
from fleet_sim.scenario.structure import Fit
from fleet_sim.scenario.weather import Weather, WeatherChange

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
fractions = st.floats(0, 1).map(Fraction)
texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=40
) | st.sampled_from(
    [
        "1e3",
        "0o17",
        "no",
        "22:00",
        "null",
        "~",
        "",
        " x",
        "\x85",
        "\u2028a",
        "a\n b",
        "<<",
        "012",
        ".inf",
        "a: b #c",
    ]
)
starts = st.datetimes(
    dt.datetime(1970, 1, 2), dt.datetime(2199, 12, 30),
    timezones=st.timedeltas(dt.timedelta(hours=-12), dt.timedelta(hours=14)).map(
        lambda delta: dt.timezone(dt.timedelta(minutes=delta // dt.timedelta(minutes=1)))
    ),
)  # fmt: skip

clocks = st.builds(Clock, speed=st.floats(1e-6, 1), start=starts)
cities = st.builds(
    City,
    generate=st.builds(
        GeneratedCity,
        blocks=st.tuples(st.integers(1, 63), st.integers(1, 63)),
        block_length_m=st.floats(40, 1000).map(Length),
        legal_kerb=fractions,
        lat=st.floats(-80, 80),
        lon=st.floats(-180, 180),
    ),
) | st.builds(City, osm=st.sampled_from(["a.osm", "maps/köln süd.osm.bz2", "/x/y.osm.pbf"]))
groups = st.builds(
    VehicleGroup,
    group=names,
    count=st.integers(1, 10_000),
    vehicle=names,
    telemetry=st.builds(
        TelemetrySettings,
        period_s=st.floats(1, 3600).map(Duration),
        qos=st.sampled_from([0, 1]),
    ),
    radio=names,
    receiver=names,
    sensor=names,
    parked=fractions,
    max_speed_mps=st.floats(2, 69).map(Speed),
    soc=st.tuples(fractions, fractions).map(lambda pair: (min(pair), max(pair))),
)
events = st.builds(
    ParkingEvent,
    at=names,
    attendance=st.integers(1, 1_000_000),
    peak_before_s=st.none() | st.floats(0, 1).map(Duration),
    leaves=st.none() | fractions,
)
temperatures = st.floats(-50, 60).map(Temperature)
humidities = st.floats(0.01, 1).map(Fraction)
own = {
    "vehicles": st.builds(
        OwnVehicle,
        mass_kg=st.none() | st.floats(50, 60_000).map(Mass),
        road_load=st.none()
        | st.builds(
            RoadLoad,
            a=st.floats(0, 10_000).map(Force),
            b=st.floats(-100, 100).map(LinearDrag),
            c=st.floats(0, 50).map(QuadraticDrag),
        ),
        dc_curve=st.none() | st.just(((Fraction(0), Power(44)), (Fraction(1), Power(4.5)))),
        resistance_ohm=st.none() | st.floats(1e-4, 2).map(Resistance),
        heating=st.none() | st.sampled_from(["resistive", "heat_pump"]),
        source=st.none() | texts,
    ),
    "radios": st.builds(
        OwnRadio,
        base=st.none() | st.sampled_from(["rural", "5g_urban"]),
        kind=st.none() | st.sampled_from(["three_layer", "gilbert_elliott"]),
        uplink_kbps=st.none() | st.floats(0.001, 1e9).map(DataRate),
        handovers=st.none() | st.booleans(),
        failure_s=st.none() | st.just((Duration(1), Duration(3))),
        p=st.none() | st.floats(0, 0.99),
        places=st.none()
        | st.builds(Places, hole=st.builds(BadPlace, area_share=st.none() | fractions)),
    ),
    "receivers": st.builds(OwnReceiver, noise_m=st.none() | st.floats(0, 100).map(Length)),
    "sensors": st.builds(
        OwnSensor,
        frequency_hz=st.none() | st.floats(2e4, 5e5).map(Frequency),
        compensated=st.none() | st.booleans(),
    ),
}
presets = st.builds(
    Presets,
    **{kind: st.dictionaries(names, value, max_size=2) for kind, value in own.items()},
)
phases = st.builds(
    Phase,
    name=names,
    duration_s=st.floats(1, 1000).map(Duration),
    weather=st.none()
    | st.builds(
        WeatherChange, temperature_c=st.none() | temperatures, humidity=st.none() | humidities
    ),
    parking=st.builds(Parking, occupancy=st.none() | fractions, event=st.none() | events),
)
faults = st.builds(
    Fault,
    at_s=st.floats(0, 0.5).map(Duration),
    for_s=st.floats(0.001, 0.5).map(Duration),
    radio=st.builds(RadioFault, district=st.sampled_from(["all", "north", "south"])),
)
scenarios = st.builds(
    Scenario,
    name=names,
    description=texts,
    seed=st.integers(0, 2**63 - 1),
    clock=clocks,
    city=cities,
    weather=st.builds(Weather, temperature_c=temperatures, humidity=humidities),
    presets=presets,
    fleet=st.lists(groups, min_size=1, max_size=3, unique_by=lambda g: g.group).map(tuple),
    phases=st.lists(phases, min_size=1, max_size=3, unique_by=lambda p: p.name).map(tuple),
    faults=st.lists(faults, max_size=2).map(tuple),
    thresholds=st.dictionaries(
        texts, st.lists(texts, min_size=1, max_size=2).map(tuple), max_size=2
    ),
)


@settings(deadline=None)
@given(scenarios)
def test_every_scenario_reads_back_equal(scenario):
    text = dump(scenario)
    read = loads(text)
    assert read == scenario
    assert dump(read) == text


def test_a_dump_has_units_and_defaults():
    scenario = loads("name: x\nfleet: [{group: a, count: 1}]\nphases: [{name: p, duration: 90s}]\n")
    plain = yaml.safe_load(dump(scenario))
    assert plain["phases"] == [{"name": "p", "duration": "1m30s", "parking": {"occupancy": "60%"}}]
    assert plain["fleet"][0]["max_speed"] == "50km/h"
    assert plain["city"]["generate"]["block_length"] == "100m"
    assert plain["clock"]["start"] == "2026-06-05T17:00:00Z"


def test_a_dump_has_the_map_or_what_is_generated():
    text = "name: x\nfleet: [{group: a, count: 1}]\nphases: [{name: p, duration: 90s}]\n"
    read = yaml.safe_load(dump(loads(text + "city: {osm: a.osm}\n")))["city"]
    assert read["osm"] == "a.osm"
    beside = ["garages", "charging"]
    assert list(read) == ["osm", *beside]
    assert list(yaml.safe_load(dump(loads(text + "city: {}\n")))["city"]) == ["generate", *beside]


def test_equal_parts_are_written_out_and_not_aliased():
    group = {"telemetry": {"period": "2s"}}
    scenario = loads(
        "name: x\nfleet: [{group: a, count: 1, telemetry: &t {period: 2s}}, "
        "{group: b, count: 1, telemetry: *t}]\nphases: [{name: p, duration: 90s}]\n"
    )
    assert "&" not in dump(scenario)
    assert "*" not in dump(scenario)
    assert (
        yaml.safe_load(dump(scenario))["fleet"][1]["telemetry"]["period"]
        == (group["telemetry"]["period"])
    )


PLAIN = {
    "name": "x",
    "description": "d",
    "seed": 1,
    "clock": {"speed": 1, "start": "2026-06-05T17:00:00Z"},
    "city": {"generate": {"blocks": [2, 3], "block_length": "90m", "lat": 1.5}},
    "weather": {"temperature": "-7C", "humidity": "50%"},
    "presets": {
        "vehicles": {
            "v": {"base": "leaf_30", "mass": "2t", "dc_curve": [["0%", "9kW"], [1, "4kW"]]}
        },
        "radios": {"r": {"p": 0.1, "handovers": True, "places": {"hole": {"area_share": 0.1}}}},
    },
    "fleet": [{"group": "a", "count": 3, "telemetry": {"period": "1s", "qos": 1}, "soc": [0, 1]}],
    "phases": [
        {
            "name": "p",
            "duration": "1m",
            "parking": {"occupancy": 0.5, "event": {"at": "arena", "attendance": 3}},
        }
    ],
    "faults": [{"at": "1s", "for": "2s", "radio": {"state": "down", "district": "all"}}],
    "thresholds": {"m": ["count<1"]},
}


def leaves(value, path=()):
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*path, key))


junk = st.sampled_from(
    [
        *[None, True, False, 0, 1, -1, 2, 1.0, 1e300, float("nan"), float("inf"), 2**63, 10**40],
        *["", "x", "1s", "5%", "100m", "0", "\x00", "a\n", "down", "all", "arena"],
        *["2026-06-05T17:00:00", "2026-06-05T17:00:00Z"],
        *[[], {}, [1], [1, 2], [1, 2, 3], {"x": 1}, [[]], {1: 2}],
    ]
)


SCENARIO_TYPE = msgspec.inspect.type_info(Scenario)


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(list(leaves(PLAIN))), junk, st.booleans())
def test_the_reader_is_at_least_as_strict_as_msgspec(path, value, remove):
    plain = copy.deepcopy(PLAIN)
    target = plain
    for part in path[:-1]:
        target = target[part]
    if not path:
        plain = value
    elif remove:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    text = yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False)
    found = []
    root = compose(text, Place("x", 1, 1), found)
    fit = Fit(None)
    taken = fit.visit(root, SCENARIO_TYPE)
    if not fit.problems and not found:
        msgspec.convert(taken, Scenario, dec_hook=dec_hook)  # would raise if we were laxer
    elif not found:
        # Stricter only where it is meant to be: ranges of quantities, and names with a newline.
        try:
            msgspec.convert(plain, Scenario, dec_hook=dec_hook)
        except msgspec.ValidationError:
            pass
        else:
            (problem,) = fit.problems
            assert ".." in problem.message or r"'a\n'" in problem.message
    with contextlib.suppress(ScenarioError):  # and nothing else
        loads(text)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "1e999"])
def test_a_number_is_finite_even_without_bounds(text):
    fit = Fit(None)
    fit.visit(compose(text, Place("x", 1, 1), []), msgspec.inspect.type_info(float))
    (problem,) = fit.problems
    assert problem.message.endswith("is not allowed (allowed: a number)")


def test_a_type_without_a_rule_is_a_bug_and_not_a_users_problem():
    with pytest.raises(TypeError, match="no rule for"):
        Fit(None).visit(compose("3", Place("x", 1, 1), []), msgspec.inspect.type_info(set[int]))
