"""Presets of one's own: what comes of a base, and that every figure of the models is a field."""

import contextlib
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import inspect

from fleet_sim.engine.catalog import known_names
from fleet_sim.models import RADIOS, VEHICLES
from fleet_sim.models.battery_climate import Heating
from fleet_sim.models.battery_vehicle import VehiclePreset
from fleet_sim.models.gnss_presets import RECEIVERS, Receiver
from fleet_sim.models.radio import Place, RadioLinks, RadioPreset
from fleet_sim.models.radio_outages import gilbert_elliott, transition_probabilities
from fleet_sim.models.ultrasonic import ULTRASONICS, UltrasonicPreset
from fleet_sim.scenario import Scenario, dump, loads
from fleet_sim.scenario import presets as spec
from fleet_sim.scenario.structure import quantity_range
from fleet_sim.scenario.units import QUANTITIES
from fleet_sim.world.equipment import Equipment, check_presets, describe_presets
from fleet_sim.world.own_devices import make_receiver, make_sensor
from fleet_sim.world.own_presets import UnfitError
from fleet_sim.world.own_radios import make_radio
from fleet_sim.world.own_vehicles import Car, make_vehicle

LEAF = Car(VEHICLES["leaf_30"], {})
MAKERS: dict[str, Any] = {
    "vehicles": lambda own: make_vehicle("mine", own, None).preset,
    "radios": lambda own: make_radio("mine", own, None),
    "receivers": lambda own: make_receiver("mine", own, None),
    "sensors": lambda own: make_sensor("mine", own, None),
}
BUILT_IN: dict[str, Any] = {
    "vehicles": VEHICLES, "radios": RADIOS, "receivers": RECEIVERS, "sensors": ULTRASONICS,
}  # fmt: skip


def scenario(presets: str, group: str = "group: a", **kwargs: Any) -> Scenario:
    text = f"""
name: x
fleet: [{{{group}, count: 2}}]
phases: [{{name: p, duration: 1m}}]
presets: {{{presets}}}
"""
    return loads(text, catalog=known_names(), check_presets=check_presets, **kwargs)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_built_in_preset_that_is_written_out_is_itself(kind: str) -> None:
    described = describe_presets()[kind]
    assert described.keys() == BUILT_IN[kind].keys()
    for name, own in described.items():
        made, model = MAKERS[kind](own), BUILT_IN[kind][name]
        if name == "lte_simple":  # p and r are computed: equal but for the last digits
            place = model.places[0]
            assert made.places[0].outage_share == pytest.approx(place.outage_share, rel=1e-9)
            assert made.places[0].outage_mean_s == pytest.approx(place.outage_mean_s, rel=1e-9)
        else:
            assert replace(made, name=name) == model


@pytest.mark.parametrize(
    ("kind", "model", "own", "fixed"),
    [
        ("vehicles", VehiclePreset, spec.OwnVehicle, {"name", "source"}),
        ("radios", RadioPreset, spec.OwnRadio, {"name", "source"}),
        ("receivers", Receiver, spec.OwnReceiver, {"name", "source"}),
        # The samples a second are the message's.
        ("sensors", UltrasonicPreset, spec.OwnSensor, {"name", "source", "rate_hz"}),
    ],
)
def test_every_figure_of_a_model_can_be_set(
    kind: str, model: type, own: type[msgspec.Struct], fixed: set[str]
) -> None:
    """A field that a model gains has to be a field of a preset of one's own too."""
    start = next(iter(BUILT_IN[kind].values()))
    described = next(iter(describe_presets()[kind].values()))
    base: Any = Car(start, {}) if kind == "vehicles" else start
    maker: Any = {
        "vehicles": make_vehicle, "radios": make_radio,
        "receivers": make_receiver, "sensors": make_sensor,
    }[kind]  # fmt: skip
    moved = set()
    for field in own.__struct_fields__:
        for value in changed(own, field, getattr(described, field)):
            try:
                made = maker("mine", own(**{field: value}), base)
            except UnfitError:
                continue  # what needs another field beside it is tried below
            made = made.preset if kind == "vehicles" else made
            moved |= {
                f.name for f in fields(model) if getattr(made, f.name) != getattr(start, f.name)
            }
    assert moved | fixed == {f.name for f in fields(model)}


def changed(own: type[msgspec.Struct], field: str, old: Any) -> list[Any]:
    """Other values for a field of a preset."""
    if field in ("base", "source", "kind"):
        return []
    if isinstance(old, bool):
        return [not old]
    if isinstance(old, str):
        (kind,) = (f.type for f in struct_fields(own) if f.name == field)
        return [v for v in unwrapped(kind)[0].values if v != old]
    if isinstance(old, float):
        return [type(old)(old * 0.9), type(old)(old * 0.9 + 0.05)]
    if isinstance(old, int):
        return [old + 1]
    if isinstance(old, spec.RoadLoad):
        return [msgspec.structs.replace(old, a=type(old.a)(old.a * 2))]
    if isinstance(old, spec.Places):
        hole = msgspec.structs.replace(old.hole, outage_share=type(old.hole.outage_share)(0.7))
        return [spec.Places(hole=hole)]
    if field == "dc_curve":
        return [old[:1] + old[-1:]]
    if field == "failure_s":
        return [(old[0], old[0])]
    assert old is None, field
    return []


def struct_fields(own: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(own)
    assert isinstance(info, inspect.StructType)
    return info.fields


def unwrapped(kind: Any) -> tuple[Any, dict[str, Any]]:
    """A field's type without `| None` and annotations, and the annotations."""
    extra: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            extra, kind = {**extra, **(kind.extra or {})}, kind.type
        else:
            (kind,) = (t for t in kind.types if not isinstance(t, inspect.NoneType))
    return kind, extra


@pytest.mark.parametrize("kind", MAKERS)
def test_the_models_take_what_a_field_s_range_allows(kind: str) -> None:
    """Ranges stand in the scenario's structs and again in the models: the former are no wider."""
    tried = 0
    described = next(iter(describe_presets()[kind].values()))
    for field in struct_fields(type(described)):
        bare, extra = unwrapped(field.type)
        if isinstance(bare, inspect.CustomType) and bare.cls in QUANTITIES:
            ends = quantity_range(bare.cls, extra)
        elif isinstance(bare, inspect.IntType | inspect.FloatType):
            ends = bare.ge, bare.le
        else:
            continue
        for value in ends:
            if value is None:
                continue
            tried += 1
            own = msgspec.structs.replace(described, **{field.name: value})
            # That error says which field, in a scenario's words; any other would not.
            with contextlib.suppress(UnfitError):
                MAKERS[kind](own)
    assert tried >= 4


def test_what_is_unset_is_the_base_s_and_a_base_may_be_one_s_own() -> None:
    made = scenario(
        "vehicles: {van: {base: leaf_30, usable_energy: 75kWh}, "
        "warm: {base: van, heating: heat_pump}}",
        "group: a, vehicle: warm",
    )
    (car,) = Equipment.of(made).vehicles
    leaf = VEHICLES["leaf_30"]
    assert car == replace(
        leaf, name="warm", usable_kwh=75.0, heating=Heating.HEAT_PUMP, source="based on van"
    )


def test_mass_alone_scales_what_is_rolling_resistance() -> None:
    load = make_vehicle("m", spec.OwnVehicle(mass_kg=spec.Mass.parse("7750lb")), LEAF).preset.load
    assert load.mass_kg == 2 * LEAF.preset.load.mass_kg
    assert load.a_n == 2 * LEAF.preset.load.a_n
    assert (load.b_ns_m, load.c_ns2_m2) == (LEAF.preset.load.b_ns_m, LEAF.preset.load.c_ns2_m2)


def test_resistance_by_drag_is_kept_by_those_that_are_based_on_it() -> None:
    made = scenario(
        "vehicles: {a: {base: leaf_30, mass: 2t, drag_coefficient: 0.3, frontal_area: 2.5m2, "
        "rolling_resistance: 0.01}, b: {base: a, rolling_resistance: 0.02}, c: {base: a, mass: 4t}}"
    )
    a, b, c = (Equipment.of(scenario_with(made, name)).vehicles[0].load for name in ("a", "b", "c"))
    assert a.a_n == pytest.approx(0.01 * 2000 * 9.80665)
    assert a.c_ns2_m2 == pytest.approx(0.5 * 1.2 * 0.3 * 2.5)
    assert (b.a_n, b.c_ns2_m2, b.mass_kg) == (2 * a.a_n, a.c_ns2_m2, 2000)
    assert (c.a_n, c.c_ns2_m2, c.mass_kg) == (2 * a.a_n, a.c_ns2_m2, 4000)
    assert a.gear == 0.98


def scenario_with(made: Scenario, vehicle: str) -> Scenario:
    group = msgspec.structs.replace(made.fleet[0], vehicle=vehicle)
    return msgspec.structs.replace(made, fleet=(group,))


def test_coast_down_coefficients_are_epa_s() -> None:
    made = scenario(
        "vehicles: {m: {base: bolt_2017, mass: 4250lb, "
        "road_load: {a: 37.17lbf, b: 0.0470lbf/mph, c: 0.01440lbf/mph2}}}",
        "group: a, vehicle: m",
    )
    load, epa = Equipment.of(made).vehicles[0].load, VEHICLES["model3_rwd"].load
    assert load.gear == 1.0
    assert (load.a_n, load.b_ns_m, load.c_ns2_m2, load.mass_kg) == pytest.approx(
        (epa.a_n, epa.b_ns_m, epa.c_ns2_m2, epa.mass_kg), rel=1e-12
    )


def test_places_of_a_radio_change_one_by_one() -> None:
    made = scenario(
        "radios: {far: {base: rural, places: {hole: {area_share: 10%}}}}", "group: a, radio: far"
    )
    good, weak, hole = Equipment.of(made).radios[0].places
    rural = RADIOS["rural"].places
    assert hole == replace(rural[2], area_share=0.1)
    assert weak == rural[1]
    assert good == replace(rural[0], area_share=pytest.approx(0.52))


@pytest.mark.parametrize("slot_s", [0.1, 1.0, 10.0])
def test_two_states_are_the_chain_s_slot_by_slot(slot_s: float) -> None:
    share, mean_s = gilbert_elliott(0.03, 0.4, slot_s)
    assert transition_probabilities(share, mean_s, slot_s) == pytest.approx((0.03, 0.4))
    assert share == pytest.approx(0.03 / 0.43)
    with pytest.raises(ValueError, match=r"p \+ r below 1"):
        gilbert_elliott(0.5, 0.5, slot_s)


def test_a_link_of_two_states_has_p_r_and_bursts_of_1_over_r_slots() -> None:
    own = spec.OwnRadio(kind="gilbert_elliott", p=0.05, r=0.25)
    preset = make_radio("mine", own, RADIOS["rural"])
    n, slots = 2000, 60
    rng, sense = np.random.default_rng(1), np.random.default_rng(2)
    kind, place = np.zeros(n, np.int64), np.zeros(n, np.int8)
    links = RadioLinks([preset], kind, place, np.zeros(n), rng, sense)
    up = [links.up.copy()]
    for slot in range(slots):
        for _ in range(4):
            links.step(0.25, place, np.full(n, 1e4 * slot))
        up.append(links.up.copy())
    before, after = np.array(up[:-1]), np.array(up[1:])
    assert (~after[before]).mean() == pytest.approx(0.05, rel=0.05)
    assert after[~before].mean() == pytest.approx(0.25, rel=0.05)
    assert (~after).mean() == pytest.approx(0.05 / 0.3, rel=0.05)
    assert links.handovers == 0


def test_a_radio_without_a_base_needs_what_its_kind_has() -> None:
    link = (
        "rtt: 60ms, rtt_log_sigma: 0.3, uplink: 1Mbit/s, downlink: 2Mbit/s, "
        "throughput_log_sigma: 0.5"
    )
    made = scenario(
        f"radios: {{two: {{{link}, kind: gilbert_elliott, p: 0.1, r: 0.4, slot: 2s}}, "
        f"three: {{{link}, handovers: false, correlation_length: 60m, outage_shape: 0.7, places: "
        "{good: {outage_share: 0%, outage_mean: 3s}, weak: {area_share: 20%, outage_share: 2%, "
        "outage_mean: 3s}, hole: {area_share: 1%, outage_share: 50%, outage_mean: 9s}}}}"
    )
    assert made.presets.radios["three"].handovers is False
    group = made.fleet[0]
    both = msgspec.structs.replace(
        made,
        fleet=tuple(
            msgspec.structs.replace(group, group=name, radio=name) for name in ("two", "three")
        ),
    )
    two, three = Equipment.of(both).radios
    assert (two.rtt_median_s, two.uplink_kbps, two.downlink_kbps) == (0.06, 1000, 2000)
    assert two.places[0].outage_share == pytest.approx(0.2)
    assert three.handover_m == np.inf
    assert three.places[1] == Place(0.2, 0.02, 3.0)
    assert three.delay_below_s == 0.0


def test_groups_have_what_they_name() -> None:
    made = loads(
        "name: x\n"
        "fleet: [{group: a, count: 1}, {group: b, count: 1, receiver: phone, sensor: parknet}, "
        "{group: c, count: 1, receiver: mine, sensor: none}]\n"
        "phases: [{name: p, duration: 1m}]\n"
        "presets: {receivers: {mine: {base: phone, noise: 8m}}}\n"
    )
    found = Equipment.of(made)
    assert [r.name for r in found.receivers] == ["automotive", "phone", "mine"]
    assert found.receivers[2] == replace(
        RECEIVERS["phone"], name="mine", noise_m=8.0, source="based on phone"
    )
    assert found.sensors == (ULTRASONICS["hrxl_48k"], ULTRASONICS["parknet"], None)


def test_a_name_that_is_none_is_refused_by_the_world_too() -> None:
    text = "name: x\nfleet: [{group: a, count: 1, vehicle: tank}]\n"
    made = loads(text + "phases: [{name: p, duration: 1m}]\n")  # without a catalog
    with pytest.raises(ValueError, match="vehicle: 'tank' is not a preset") as caught:
        Equipment.of(made)
    assert "leaf_30" in str(caught.value)
    circle = "presets: {radios: {a: {base: b}, b: {base: a}}}\n"
    with pytest.raises(ValueError, match="circle"):
        loads(text + "phases: [{name: p, duration: 1m}]\n" + circle)


def test_the_dump_has_presets_and_weather_and_reads_back() -> None:
    made = scenario(
        "vehicles: {v: {base: leaf_30, mass: 5000lb, dc_curve: [[0%, 44kW], [100%, 4kW]]}}, "
        "radios: {r: {base: rural, places: {hole: {area_share: 1/3}}}}, "
        "sensors: {s: {compensated: false}}, receivers: {g: {base: phone}}".replace("1/3", "33.3%"),
        overrides=["presets.vehicles.v.mass=2300kg", "weather.temperature=-7C",
                   "phases.p.weather.humidity=80%"],
    )  # fmt: skip
    assert made.presets.vehicles["v"].mass_kg == 2300
    assert made.weather.temperature_c == -7
    text = dump(made)
    assert loads(text, catalog=known_names(), check_presets=check_presets) == made
    assert "mass: 2300kg" in text
    assert "{temperature: -7C, humidity: 50%}" in text
