"""Presets and vehicles of one's own: what is refused, and how."""

from dataclasses import replace
from typing import Any

import pytest

from fleet_sim.models import VEHICLES, VehiclePreset, vehicle
from fleet_sim.models.battery import constant_speed_wh_per_mi
from fleet_sim.models.battery_charging import ChargeCurve
from fleet_sim.models.battery_pack import Chemistry
from fleet_sim.models.battery_road import RoadLoad, air_density_ratio


def van(**changes: Any) -> VehiclePreset:
    fields: dict[str, Any] = {
        "name": "van",
        "load": RoadLoad.from_drag(2600.0, 0.33, 4.1, 0.009),
        "usable_kwh": 68.0,
        "ac_kw": 11.0,
        "length_m": 5.5,
        "width_m": 2.0,
        "source": "mine",
    }
    return VehiclePreset(**(fields | changes))


def test_a_vehicle_of_one_s_own_uses_what_its_figures_say() -> None:
    at_55 = constant_speed_wh_per_mi(van(), 55 * 0.44704)
    assert at_55 > 1.3 * constant_speed_wh_per_mi(VEHICLES["leaf_30"], 55 * 0.44704)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("usable_kwh", 0.0, r"vehicle 'van'\.usable_kwh: 0\.0 is not allowed \(allowed: 0\.5 to"),
        ("usable_kwh", float("nan"), r"usable_kwh: nan is not allowed"),
        ("ac_kw", -7.0, r"ac_kw: -7\.0 is not allowed"),
        ("length_m", 480.0, r"length_m: 480\.0 is not allowed"),
        ("motor_kw", "big", r"motor_kw: 'big' is not allowed"),
        ("regen_kw", 500.0, r"regen_kw: 500\.0 is not allowed \(allowed: 0 to 120\)"),
        ("motor_peak", 1.1, r"motor_peak: 1\.1 is not allowed"),
        ("cells", 0, r"cells: 0 is not allowed"),
        ("resistance_ohm", -0.04, r"resistance_ohm: -0\.04 is not allowed"),
        ("chemistry", "lead", r"chemistry: 'lead' is not allowed \(allowed: Chemistry\.NMC, "),
        ("heating", "stove", r"heating: 'stove' is not allowed \(allowed: Heating\.RESISTIVE"),
    ],
)
def test_a_bad_field_is_refused_by_name_value_and_what_is_allowed(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        van(**{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ((100.0, 0.0, 0.4, -1600.0), r"RoadLoad\.mass_kg: -1600\.0 is not allowed \(allowed: 50"),
        ((-1.0, 0.0, 0.4, 1600.0), r"RoadLoad\.a_n: -1\.0 is not allowed"),
        ((100.0, 0.0, -0.4, 1600.0), r"RoadLoad\.c_ns2_m2: -0\.4 is not allowed"),
        (
            (100.0, -30.0, 0.4, 1600.0),
            r"RoadLoad\.b_ns_m: -30\.0 is not allowed \(allowed: a force",
        ),
        ((100.0, float("nan"), 0.4, 1600.0), r"RoadLoad\.b_ns_m: nan is not allowed"),
        ((100.0, 0.0, 0.4, 1600.0, 1.2), r"RoadLoad\.gear: 1\.2 is not allowed"),
    ],
)
def test_an_impossible_road_load_is_refused(load: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoadLoad(*load)


def test_a_slightly_negative_b_as_in_epa_data_is_taken() -> None:
    assert RoadLoad.from_epa(40.0, -0.2, 0.02, 4000).b_ns_m < 0


def test_negative_drag_is_refused_by_its_own_name() -> None:
    with pytest.raises(ValueError, match=r"RoadLoad\.cd: -0\.3 is not allowed"):
        RoadLoad.from_drag(1600.0, -0.3, 2.2, 0.008)
    with pytest.raises(ValueError, match=r"RoadLoad\.mass_kg: -1600\.0 is not allowed"):
        RoadLoad.from_drag(-1600.0, 0.3, 2.2, 0.008)


@pytest.mark.parametrize(
    ("soc", "kw", "message"),
    [
        ((0.1, 1.0), (50.0, 5.0), r"ChargeCurve\.soc: \(0\.1, 1\.0\) is not allowed"),
        ((0.0, 0.6, 0.5, 1.0), (50.0, 50.0, 50.0, 5.0), r"ChargeCurve\.soc: .* rising"),
        ((0.0, 1.0), (50.0,), r"ChargeCurve\.kw: 1 values are not allowed \(allowed: 2"),
        ((0.0, 1.0), (50.0, -5.0), r"ChargeCurve\.kw: -5\.0 is not allowed"),
    ],
)
def test_a_charge_curve_that_is_none_is_refused(
    soc: tuple[float, ...], kw: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ChargeCurve(soc, kw)


def test_impossible_weather_is_refused() -> None:
    with pytest.raises(ValueError, match=r"air\.ambient_c: -300 is not allowed"):
        air_density_ratio(-300)


def test_presets_are_the_cars_they_name_and_say_where_figures_come_from() -> None:
    assert set(VEHICLES) == {"model3_rwd", "leaf_30", "bolt_2017"}
    assert VEHICLES["model3_rwd"].chemistry is Chemistry.LFP
    for preset in VEHICLES.values():
        assert "P: " in preset.source
        assert "A: " in preset.source
        assert replace(preset, name="x").load == preset.load
    with pytest.raises(ValueError, match="vehicle: 'model_t' is not a preset"):
        vehicle("model_t")
