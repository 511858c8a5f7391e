"""Broken presets and weather: each is one line with the place, the field, the value, and what is
allowed. What a JSON Schema can say, the schema refuses too."""

import jsonschema
import pytest
import yaml

from fleet_sim.engine.catalog import known_names, scenario_schema
from fleet_sim.scenario import ScenarioError, loads
from fleet_sim.world.equipment import check_presets

VALIDATOR = jsonschema.Draft202012Validator(scenario_schema())
HEAD = "name: x\nfleet: [{group: a, count: 1}]\nphases: [{name: p, duration: 1m}]\n"
IN_SCHEMA, BEYOND = True, False
"""Whether the schema refuses it as well: it cannot compare numbers in texts, nor two fields."""


def presets(kind: str, text: str) -> str:
    return f"{HEAD}presets:\n  {kind}:\n    mine: {{{text}}}\n"


def vehicle(text: str) -> str:
    return presets("vehicles", text)


def radio(text: str) -> str:
    return presets("radios", text)


GE = "base: lte_urban, kind: gilbert_elliott"
OWN = "mass: 2t, usable_energy: 60kWh, ac_power: 11kW, length: 5m, width: 2m"

BROKEN = [
    # Vehicles: what one field can say.
    (
        vehicle("base: leaf_30, mass: -2100kg"),
        "x.yaml:6: presets.vehicles.mine.mass: '-2100kg' is not allowed (allowed: 50kg..60000kg)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, mass: 2100"),
        "x.yaml:6: presets.vehicles.mine.mass: 2100 is not allowed (allowed: a mass with its unit: "
        "2100kg, 2.1t or 3875lb)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, usable_energy: 0kWh"),
        "x.yaml:6: presets.vehicles.mine.usable_energy: '0kWh' is not allowed (allowed: "
        "0.5kWh..2000kWh)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, usable_energy: 40kW"),
        "x.yaml:6: presets.vehicles.mine.usable_energy: '40kW' is not allowed (allowed: an energy "
        "with its unit: 57.5kWh or 800Wh)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, motor_efficiency: 105%"),
        "x.yaml:6: presets.vehicles.mine.motor_efficiency: '105%' is not allowed (allowed: a "
        "share: 0%..100% or a number 0..1)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, motor_efficiency: 1.2"),
        "x.yaml:6: presets.vehicles.mine.motor_efficiency: 1.2 is not allowed (allowed: a share: "
        "0%..100% or a number 0..1)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, gear_efficiency: 20%"),
        "x.yaml:6: presets.vehicles.mine.gear_efficiency: '20%' is not allowed (allowed: "
        "50%..100%)",
        BEYOND,
    ),
    (
        vehicle("base: leaf_30, cells: 0"),
        "x.yaml:6: presets.vehicles.mine.cells: 0 is not allowed (allowed: 4..400)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, resistance: 0ohm"),
        "x.yaml:6: presets.vehicles.mine.resistance: '0ohm' is not allowed (allowed: "
        "0.0001ohm..2ohm)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, chemistry: lead"),
        "x.yaml:6: presets.vehicles.mine.chemistry: 'lead' is not allowed (allowed: lfp, nmc)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30, lenght: 5m"),
        "x.yaml:6: presets.vehicles.mine.lenght: unknown field, did you mean 'length'? (allowed: "
        "base, mass, road_load, drag_coefficient, frontal_area, rolling_resistance, "
        "gear_efficiency, usable_energy, ac_power, dc_curve, length, width, motor_power, "
        "motor_efficiency, regen_power, heating, chemistry, cells, resistance, source)",
        IN_SCHEMA,
    ),
    # Vehicles: what several fields say together.
    (
        vehicle("base: leaf_30, regen_power: 90kW"),
        "x.yaml:6: presets.vehicles.mine.regen_power: 90kW is not allowed (allowed: 0kW..80kW, the "
        "motor's power)",
        BEYOND,
    ),
    (
        vehicle("base: leaf_30, drag_coefficient: 0.3"),
        "x.yaml:6: presets.vehicles.mine.frontal_area: is missing (allowed: drag_coefficient, "
        "frontal_area and rolling_resistance together)\n"
        "x.yaml:6: presets.vehicles.mine.rolling_resistance: is missing (allowed: "
        "drag_coefficient, frontal_area and rolling_resistance together)",
        BEYOND,
    ),
    (
        vehicle("base: leaf_30, drag_coefficient: 0.3, road_load: {a: 100N, c: 0.4Ns2/m2}"),
        "x.yaml:6: presets.vehicles.mine.road_load: is given beside drag or rolling resistance "
        "(allowed: one of them)",
        BEYOND,
    ),
    (
        vehicle("base: leaf_30, road_load: {a: 100N, b: -30Ns/m, c: 0.4Ns2/m2}"),
        "x.yaml:6: presets.vehicles.mine.road_load.b: -30Ns/m is not allowed (allowed: what keeps "
        "the force above 0N up to 60 m/s)",
        BEYOND,
    ),
    (
        vehicle("base: leaf_30, dc_curve: [[0%, 50kW], [80%, 50kW], [60%, 9kW], [100%, 5kW]]"),
        "x.yaml:6: presets.vehicles.mine.dc_curve: [0%, 80%, 60%, 100%] is not allowed (allowed: "
        "states of charge that rise from 0% to 100%)",
        BEYOND,
    ),
    (
        vehicle("base: leaf_30, dc_curve: [[0%, 50kW]]"),
        "x.yaml:6: presets.vehicles.mine.dc_curve: a list of 1 is not allowed (allowed: a list of "
        "2 to 100)",
        IN_SCHEMA,
    ),
    (
        vehicle(f"{OWN}"),
        "x.yaml:6: presets.vehicles.mine.drag_coefficient: is missing (allowed: it must be given, "
        "or a base)\n"
        "x.yaml:6: presets.vehicles.mine.frontal_area: is missing (allowed: it must be given, or a "
        "base)\n"
        "x.yaml:6: presets.vehicles.mine.rolling_resistance: is missing (allowed: it must be "
        "given, or a base)",
        BEYOND,
    ),
    # Names and bases.
    (
        vehicle("base: leaf"),
        "x.yaml:6: presets.vehicles.mine.base: 'leaf' is not known, did you mean 'leaf_30'? "
        "(allowed: model3_rwd, leaf_30, bolt_2017, mine)",
        BEYOND,
    ),
    (
        vehicle("base: mine"),
        "x.yaml:6: presets.vehicles.mine.base: mine → mine is a circle (allowed: bases that end)",
        BEYOND,
    ),
    (
        f"{HEAD}presets:\n  radios:\n    a: {{base: b}}\n    b: {{base: a}}\n",
        "x.yaml:6: presets.radios.a.base: a → b → a is a circle (allowed: bases that end)\n"
        "x.yaml:7: presets.radios.b.base: b → a → b is a circle (allowed: bases that end)",
        BEYOND,
    ),
    (
        f"{HEAD}presets:\n  vehicles:\n    leaf_30: {{base: bolt_2017}}\n",
        "x.yaml:6: presets.vehicles.leaf_30: 'leaf_30' is a built-in preset (allowed: another "
        "name, base: leaf_30)",
        IN_SCHEMA,
    ),
    (
        f"{HEAD}presets:\n  vehicles:\n    my van: {{base: leaf_30}}\n",
        "x.yaml:6: presets.vehicles.\"my van\": 'my van' is not allowed (allowed: a name of "
        "letters, digits, '_', '.' and '-', at most 64)",
        IN_SCHEMA,
    ),
    (
        vehicle("base: leaf_30").replace("count: 1", "count: 1, vehicle: minne"),
        "x.yaml:2: fleet[0].vehicle: 'minne' is not known, did you mean 'mine'? (allowed: "
        "model3_rwd, leaf_30, bolt_2017, mine)",
        BEYOND,
    ),
    (
        HEAD.replace("count: 1", "count: 1, receiver: ublox"),
        "x.yaml:2: fleet[0].receiver: 'ublox' is not known, did you mean 'ublox_m8'? (allowed: "
        "automotive, ublox_m8, phone)",
        IN_SCHEMA,
    ),
    (
        HEAD + "presets: {vehicels: {}}\n",
        "x.yaml:4: presets.vehicels: unknown field, did you mean 'vehicles'? (allowed: vehicles, "
        "radios, receivers, sensors)",
        IN_SCHEMA,
    ),
    # Radios.
    (
        radio("base: rural, outage_shape: 0"),
        "x.yaml:6: presets.radios.mine.outage_shape: 0 is not allowed (allowed: 0.2..5)",
        IN_SCHEMA,
    ),
    (
        radio("base: rural, outage_shape: -0.6"),
        "x.yaml:6: presets.radios.mine.outage_shape: -0.6 is not allowed (allowed: 0.2..5)",
        IN_SCHEMA,
    ),
    (
        radio("base: rural, places: {hole: {area_share: 70%}}"),
        "x.yaml:6: presets.radios.mine.places.hole.area_share: 70% is not allowed beside 38% of "
        "weak places (allowed: 100% in sum)",
        BEYOND,
    ),
    (
        radio("base: rural, failure: [3s, 1s]"),
        "x.yaml:6: presets.radios.mine.failure: [3s, 1s] is not allowed (allowed: low before high)",
        BEYOND,
    ),
    (
        radio("base: rural, p: 0.1, r: 0.5"),
        "x.yaml:6: presets.radios.mine.p: is not allowed with kind three_layer (allowed: unset)\n"
        "x.yaml:6: presets.radios.mine.r: is not allowed with kind three_layer (allowed: unset)",
        BEYOND,
    ),
    (
        radio(f"{GE}, p: 0.1, r: 0.5, handover_distance: 1km"),
        "x.yaml:6: presets.radios.mine.handover_distance: is not allowed with kind "
        "gilbert_elliott (allowed: unset)",
        BEYOND,
    ),
    (
        radio(f"{GE}, p: 0.1"),
        "x.yaml:6: presets.radios.mine.r: is missing (allowed: p and r together)",
        BEYOND,
    ),
    (
        radio(f"{GE}, p: 0.6, r: 0.5"),
        "x.yaml:6: presets.radios.mine.p: 0.6 is not allowed with r 0.5 (allowed: p + r below 1; "
        "a shorter slot)",
        BEYOND,
    ),
    (
        radio(f"{GE}, p: 0.1, r: 0"),
        "x.yaml:6: presets.radios.mine.r: 0 is not allowed (allowed: a number more than 0 and less "
        "than 1)",
        IN_SCHEMA,
    ),
    (
        radio("kind: gilbert_elliott, p: 0.1, r: 0.5, rtt: 50ms, uplink: 1Mbit/s"),
        "x.yaml:6: presets.radios.mine.rtt_log_sigma: is missing (allowed: it must be given, or a "
        "base)\n"
        "x.yaml:6: presets.radios.mine.downlink: is missing (allowed: it must be given, or a "
        "base)\n"
        "x.yaml:6: presets.radios.mine.throughput_log_sigma: is missing (allowed: it must be "
        "given, or a base)",
        BEYOND,
    ),
    (
        radio("base: lte_urban, handovers: false, handover_distance: 1km"),
        "x.yaml:6: presets.radios.mine.handover_distance: is given although handovers is false "
        "(allowed: unset)",
        BEYOND,
    ),
    (
        radio("base: lte_simple, kind: three_layer, handovers: true"),
        "x.yaml:6: presets.radios.mine.handover_distance: is missing (allowed: a length; "
        "lte_simple has no handovers)",
        BEYOND,
    ),
    (
        radio("base: none, rtt: 10ms"),
        "x.yaml:6: presets.radios.mine.base: 'none' is no radio (allowed: a radio)",
        BEYOND,
    ),
    # Receivers and sensors.
    (
        presets("receivers", "base: phone, hot_start: 40s"),
        "x.yaml:6: presets.receivers.mine.cold_start: 27s is not allowed (allowed: at least "
        "hot_start, 40s)",
        BEYOND,
    ),
    (
        presets("receivers", "base: phone, dead_reckoning: often"),
        "x.yaml:6: presets.receivers.mine.dead_reckoning: 'often' is not allowed (allowed: true or "
        "false)",
        IN_SCHEMA,
    ),
    (
        presets("sensors", "min_range: 4m, max_range: 3m"),
        "x.yaml:6: presets.sensors.mine.max_range: 3m is not allowed (allowed: at least 0.1m "
        "beyond min_range, 4m)",
        BEYOND,
    ),
    (
        presets("sensors", "base: none"),
        "x.yaml:6: presets.sensors.mine.base: 'none' is no sensor (allowed: a sensor)",
        BEYOND,
    ),
    # Weather.
    (
        HEAD + "weather: {temperature: -7}\n",
        "x.yaml:4: weather.temperature: -7 is not allowed (allowed: a temperature with its unit: "
        "-7C, 20°C or 68F)",
        IN_SCHEMA,
    ),
    (
        HEAD + "weather: {temperature: 0}\n",
        "x.yaml:4: weather.temperature: 0 is not allowed (allowed: a temperature with its unit: "
        "-7C, 20°C or 68F)",
        IN_SCHEMA,
    ),
    (
        HEAD + "weather: {temperature: -80C}\n",
        "x.yaml:4: weather.temperature: '-80C' is not allowed (allowed: -50C..60C)",
        BEYOND,
    ),
    (
        HEAD + "weather: {humidity: 0%}\n",
        "x.yaml:4: weather.humidity: '0%' is not allowed (allowed: 1%..100%)",
        IN_SCHEMA,
    ),
    (
        HEAD.replace("1m}", "1m, weather: {temprature: 3C}}"),
        "x.yaml:3: phases[0].weather.temprature: unknown field, did you mean 'temperature'? "
        "(allowed: temperature, humidity)",
        IN_SCHEMA,
    ),
]


@pytest.mark.parametrize(("text", "lines", "in_schema"), BROKEN, ids=range(len(BROKEN)))
def test_it_is_refused_with_these_lines(text: str, lines: str, in_schema: bool) -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(text, name="x.yaml", catalog=known_names(), check_presets=check_presets)
    assert str(caught.value).splitlines() == lines.splitlines()
    assert VALIDATOR.is_valid(yaml.safe_load(text)) is not in_schema


def test_an_override_is_named_where_it_is_wrong() -> None:
    text = vehicle("base: leaf_30")
    with pytest.raises(ScenarioError) as caught:
        loads(text, overrides=["presets.vehicles.mine.mass=-1kg"], catalog=known_names())
    assert str(caught.value) == (
        "--set presets.vehicles.mine.mass=-1kg: presets.vehicles.mine.mass: '-1kg' is not allowed "
        "(allowed: 50kg..60000kg)"
    )


def test_a_scenario_without_presets_of_its_own_names_built_in_ones_in_the_schema_too() -> None:
    own = vehicle("base: leaf_30").replace("count: 1", "count: 1, vehicle: mine")
    loads(own, catalog=known_names(), check_presets=check_presets)
    plain = yaml.safe_load(own)
    assert VALIDATOR.is_valid(plain)
    del plain["presets"]
    assert not VALIDATOR.is_valid(plain)
    plain["fleet"][0]["vehicle"] = "leaf_30"
    assert VALIDATOR.is_valid(plain)
