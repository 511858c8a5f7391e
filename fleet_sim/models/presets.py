"""Vehicles and radios by name, each figure with its source.

EPA figures: MY2022 test-car data (target coefficients and equivalent test weight). Usable pack
energies are assumptions near the makers' nominal figures, less a reserve.
"""

from dataclasses import dataclass
from typing import TypeVar

from fleet_sim.models.battery import RoadLoad
from fleet_sim.models.radio import RadioPreset

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class VehiclePreset:
    name: str
    load: RoadLoad
    usable_kwh: float
    """Energy between 0 and 1 of `soc`, at the pack's terminals."""
    ac_kw: float
    """Power into the pack on an AC charger."""
    length_m: float
    width_m: float
    source: str


VEHICLES: dict[str, VehiclePreset] = {
    preset.name: preset
    for preset in (
        VehiclePreset(
            "model3_rwd",
            RoadLoad.from_epa(37.17, 0.0470, 0.01440, 4250),
            usable_kwh=57.5,
            ac_kw=9.7,
            length_m=4.69,
            width_m=1.85,
            source="EPA MY2022 Model 3 RWD; usable energy (60 kWh LFP pack), AC power: assumptions",
        ),
        VehiclePreset(
            "leaf_30",
            RoadLoad.from_epa(25.89, 0.3449, 0.01945, 3875),
            usable_kwh=28.0,
            ac_kw=5.8,
            length_m=4.45,
            width_m=1.77,
            source="road load of the EPA MY2022 Leaf (base, a heavier 40 kWh car); usable energy "
            "(30 kWh pack of 2016), AC power: assumptions",
        ),
        VehiclePreset(
            "bolt_2017",
            RoadLoad.from_epa(30.51, 0.0152, 0.02151, 3875),
            usable_kwh=57.0,
            ac_kw=6.3,
            length_m=4.17,
            width_m=1.77,
            source="EPA MY2022 Bolt EV; usable energy (60 kWh pack of 2017), AC power: assumptions",
        ),
    )
}

RADIOS: dict[str, RadioPreset] = {
    preset.name: preset
    for preset in (
        RadioPreset(
            "lte_urban", 0.050, 0.4, 0.005, 2.0,
            source="RTT median about 50 ms (LTE); radio-link failures last 1-3 s (published); "
            "spread and share of time: assumptions near 'over 20 % of stationary links are down "
            "more than 10 min a day' (IMC 2014)",
        ),
        RadioPreset(
            "5g_urban", 0.025, 0.4, 0.003, 1.5,
            source="assumption: half of LTE's round trip time, somewhat fewer failures",
        ),
        RadioPreset(
            "rural", 0.080, 0.6, 0.03, 10.0,
            source="assumption: holes of 10 s and 3 % of the time",
        ),
    )
}  # fmt: skip


def vehicle(name: str) -> VehiclePreset:
    """The vehicle preset of this name; `ValueError` lists the known ones."""
    return _lookup("vehicle", VEHICLES, name)


def radio(name: str) -> RadioPreset:
    """The radio preset of this name; `ValueError` lists the known ones."""
    return _lookup("radio", RADIOS, name)


def _lookup(what: str, known: dict[str, _T], name: str) -> _T:
    if name not in known:
        raise ValueError(f"{what}: {name!r} is not a preset (allowed: {', '.join(sorted(known))})")
    return known[name]
