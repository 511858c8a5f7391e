"""What the energy model must know of a car. Yours is made like the presets are: by its fields."""

from dataclasses import dataclass, field

from fleet_sim.models.battery_charging import ChargeCurve
from fleet_sim.models.battery_climate import Heating
from fleet_sim.models.battery_drivetrain import MAP_PEAK
from fleet_sim.models.battery_pack import RESISTANCE_OHM, Chemistry
from fleet_sim.models.battery_road import RoadLoad, require

MOTOR_KW, REGEN_KW = 120.0, 60.0
"""Of a middling car (assumption)."""


def _generic_curve() -> ChargeCurve:
    return ChargeCurve.of((0.0, 50.0), (0.6, 50.0), (0.9, 20.0), (1.0, 5.0))


@dataclass(frozen=True, slots=True)
class VehiclePreset:
    """One car; `ValueError` names the field, its value and what is allowed.

    Fields with a default are assumptions that suit a middling car.
    """

    name: str
    load: RoadLoad
    usable_kwh: float
    """Energy between 0 and 1 of `soc`, in the store (before the pack's own resistance)."""
    ac_kw: float
    """Of the on-board charger, at the wall."""
    length_m: float
    width_m: float
    source: str
    """Where each figure comes from."""
    motor_kw: float = MOTOR_KW
    """Rated mechanical power: the efficiency depends on the share of it that is used."""
    regen_kw: float = REGEN_KW
    """Most power into the pack while braking; friction brakes do the rest."""
    motor_peak: float = MAP_PEAK
    """Best efficiency of motor and inverter."""
    heating: Heating = Heating.RESISTIVE
    chemistry: Chemistry = Chemistry.NMC
    cells: int = 96
    """In series."""
    resistance_ohm: float = RESISTANCE_OHM
    """Of the pack at 23 °C."""
    dc_curve: ChargeCurve = field(default_factory=_generic_curve)

    def __post_init__(self) -> None:
        owner = f"vehicle {self.name!r}"
        require(owner, "usable_kwh", self.usable_kwh, 0.5, 2000.0)
        require(owner, "ac_kw", self.ac_kw, 0.5, 100.0)
        require(owner, "length_m", self.length_m, 1.0, 25.0)
        require(owner, "width_m", self.width_m, 0.4, 3.5)
        require(owner, "motor_kw", self.motor_kw, 1.0, 2000.0)
        require(owner, "regen_kw", self.regen_kw, 0.0, self.motor_kw)
        require(owner, "motor_peak", self.motor_peak, 0.5, 1.0)
        require(owner, "cells", self.cells, 4, 400)
        require(owner, "resistance_ohm", self.resistance_ohm, 1e-4, 2.0)
        for name, kind in (("heating", Heating), ("chemistry", Chemistry)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                allowed = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
                raise ValueError(f"{owner}.{name}: {value!r} is not allowed (allowed: {allowed})")
