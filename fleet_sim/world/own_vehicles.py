"""Vehicles of a scenario's own, and the built-in ones in a scenario's terms."""

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from fleet_sim.models.battery_charging import ChargeCurve
from fleet_sim.models.battery_climate import Heating
from fleet_sim.models.battery_pack import Chemistry
from fleet_sim.models.battery_road import GEAR, RoadLoad
from fleet_sim.models.battery_vehicle import MOTOR_KW, REGEN_KW, VehiclePreset
from fleet_sim.scenario import presets as spec
from fleet_sim.scenario.physical import Force, LinearDrag, Mass, Power, QuadraticDrag
from fleet_sim.scenario.presets import OwnVehicle
from fleet_sim.scenario.units import Fraction
from fleet_sim.world.own_presets import (
    UnfitError,
    described,
    given,
    require_given,
    same,
    source_of,
    written,
)

_SAME = {
    "usable_energy_kwh": "usable_kwh",
    "ac_power_kw": "ac_kw",
    "length_m": "length_m",
    "width_m": "width_m",
    "motor_power_kw": "motor_kw",
    "motor_efficiency": "motor_peak",
    "regen_power_kw": "regen_kw",
    "cells": "cells",
    "resistance_ohm": "resistance_ohm",
}
_DRAG = ("drag_coefficient", "frontal_area_m2", "rolling_resistance")
_NEEDED = ("mass_kg", "usable_energy_kwh", "ac_power_kw", "length_m", "width_m")


class Car(NamedTuple):
    """A vehicle, and what its resistance was computed from, for those that are based on it."""

    preset: VehiclePreset
    drag: dict[str, float]
    """Some of `_DRAG`; empty when it has coast-down coefficients."""


def make_vehicle(name: str, own: OwnVehicle, base: Car | None) -> Car:
    """The vehicle that `own` describes; `UnfitError` when its fields do not fit together."""
    have = given(own)
    if base is None:
        drag_fields = () if "road_load" in have else _DRAG
        require_given(OwnVehicle, have, (*_NEEDED, *drag_fields))
    load, drag = _road_load(have, base)
    figures = same(_SAME, have)
    if own.heating is not None:
        figures["heating"] = Heating(own.heating)
    if own.chemistry is not None:
        figures["chemistry"] = Chemistry(own.chemistry)
    if own.dc_curve is not None:
        figures["dc_curve"] = _curve(own)
    old = None if base is None else base.preset
    motor_kw = figures.setdefault("motor_kw", MOTOR_KW if old is None else old.motor_kw)
    regen_kw = figures.setdefault(
        "regen_kw", min(REGEN_KW, motor_kw) if old is None else old.regen_kw
    )
    if regen_kw > motor_kw:
        allowed = f"0kW..{Power(motor_kw)}, the motor's power"
        problem = f"{Power(regen_kw)} is not allowed (allowed: {allowed})"
        raise UnfitError([(("regen_power",), problem)])
    source = source_of(own)
    if old is None:
        return Car(VehiclePreset(name=name, load=load, source=source, **figures), drag)
    return Car(replace(old, name=name, load=load, source=source, **figures), drag)


def _road_load(have: dict[str, Any], base: Car | None) -> tuple[RoadLoad, dict[str, float]]:
    drag = {name: float(have[name]) for name in _DRAG if name in have}
    if drag and "road_load" in have:
        raise UnfitError(
            [(("road_load",), "is given beside drag or rolling resistance (allowed: one of them)")]
        )
    gear = have.get("gear_efficiency")
    old = base.preset.load if base is not None else None
    mass = float(have["mass_kg"] if "mass_kg" in have or old is None else old.mass_kg)
    if "road_load" in have:
        f = have["road_load"]
        return _coefficients(f, mass, 1.0 if gear is None else float(gear)), {}
    if drag:
        drag = {**(base.drag if base is not None else {}), **drag}
        if len(drag) < len(_DRAG):
            allowed = "drag_coefficient, frontal_area and rolling_resistance together"
            raise UnfitError(
                ((written(OwnVehicle, name),), f"is missing (allowed: {allowed})")
                for name in _DRAG
                if name not in drag
            )
        cd, area, crr = (drag[name] for name in _DRAG)
        load = RoadLoad.from_drag(mass, cd, area, crr)
        return replace(load, gear=GEAR if gear is None else float(gear)), drag
    assert old is not None  # else one of the two was asked for
    assert base is not None
    # Rolling resistance is proportional to weight, and most of what does not depend on speed.
    scaled = replace(old, mass_kg=mass, a_n=old.a_n * (mass / old.mass_kg))
    return replace(scaled, gear=old.gear if gear is None else float(gear)), base.drag


def _coefficients(f: spec.RoadLoad, mass: float, gear: float) -> RoadLoad:
    try:
        return RoadLoad(float(f.a), float(f.b), float(f.c), mass, gear)
    except ValueError:
        # The other fields' ranges are the scenario's: only the sum can be out of range.
        problem = f"{f.b} is not allowed (allowed: what keeps the force above 0N up to 60 m/s)"
        raise UnfitError([(("road_load", "b"), problem)]) from None


def _curve(own: OwnVehicle) -> ChargeCurve:
    knots = own.dc_curve or ()
    socs = [soc for soc, _ in knots]
    rises = all(low < high for low, high in pairwise(socs))
    if not rises or float(socs[0]) != 0.0 or float(socs[-1]) != 1.0:
        shown = ", ".join(map(str, socs))
        problem = f"[{shown}] is not allowed (allowed: states of charge that rise from 0% to 100%)"
        raise UnfitError([(("dc_curve",), problem)])
    return ChargeCurve.of(*((float(soc), float(kw)) for soc, kw in knots))


def describe_vehicle(preset: VehiclePreset) -> OwnVehicle:
    """Every figure of a vehicle as a scenario gives it."""
    load = preset.load
    return OwnVehicle(
        mass_kg=Mass(load.mass_kg),
        road_load=spec.RoadLoad(
            a=Force(load.a_n), b=LinearDrag(load.b_ns_m), c=QuadraticDrag(load.c_ns2_m2)
        ),
        gear_efficiency=Fraction(load.gear),
        dc_curve=tuple(
            (Fraction(soc), Power(kw))
            for soc, kw in zip(preset.dc_curve.soc, preset.dc_curve.kw, strict=True)
        ),
        heating=preset.heating.value,
        chemistry=preset.chemistry.value,
        source=preset.source,
        **described(OwnVehicle, _SAME, preset),
    )
