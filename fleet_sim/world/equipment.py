"""What each group of a scenario drives with: built-in presets and the scenario's own, resolved."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from fleet_sim.models import RADIOS, VEHICLES
from fleet_sim.models.battery_vehicle import VehiclePreset
from fleet_sim.models.gnss_presets import RECEIVERS, Receiver
from fleet_sim.models.presets import WIRED
from fleet_sim.models.radio import RadioPreset
from fleet_sim.models.ultrasonic import ULTRASONICS, UltrasonicPreset
from fleet_sim.scenario.model import Scenario
from fleet_sim.world.own_devices import (
    describe_receiver,
    describe_sensor,
    make_receiver,
    make_sensor,
)
from fleet_sim.world.own_presets import UnfitError
from fleet_sim.world.own_radios import describe_radio, make_radio
from fleet_sim.world.own_vehicles import Car, describe_vehicle, make_vehicle

NO_RADIO = NO_SENSOR = "none"
"""Name of the radio and of the sensor that are none."""

_T = TypeVar("_T")
Finding = tuple[tuple[str | int, ...], str]


class _Kind(NamedTuple):
    """One kind of preset: `presets.FIELD` of a scenario, and how one is made."""

    field: str
    what: str
    built_in: Mapping[str, Any]
    make: Callable[[str, Any, Any], Any]
    describe: Callable[[Any], Any]


def _kinds() -> tuple[_Kind, ...]:
    cars = {name: Car(preset, {}) for name, preset in VEHICLES.items()}
    radios = {**RADIOS, NO_RADIO: WIRED}
    sensors = {**ULTRASONICS, NO_SENSOR: None}
    return (
        _Kind("vehicles", "vehicle", cars, make_vehicle, lambda car: describe_vehicle(car.preset)),
        _Kind("radios", "radio", radios, make_radio, describe_radio),
        _Kind("receivers", "receiver", RECEIVERS, make_receiver, describe_receiver),
        _Kind("sensors", "sensor", sensors, make_sensor, describe_sensor),
    )


class Equipment(NamedTuple):
    """Of each group of a scenario, in its order."""

    vehicles: tuple[VehiclePreset, ...]
    radios: tuple[RadioPreset, ...]
    receivers: tuple[Receiver, ...]
    sensors: tuple[UltrasonicPreset | None, ...]
    """None for no sensor."""

    @classmethod
    def of(cls, scenario: Scenario) -> "Equipment":
        """`ValueError` for a name that is no preset, and for a preset that does not fit."""
        chosen: dict[str, tuple[Any, ...]] = {}
        for kind in _kinds():
            maker = _Maker(kind, getattr(scenario.presets, kind.field))
            chosen[kind.field] = tuple(
                maker.made(getattr(group, kind.what)) for group in scenario.fleet
            )
        chosen["vehicles"] = tuple(car.preset for car in chosen["vehicles"])
        return cls(**chosen)


def names_of_presets() -> dict[str, tuple[str, ...]]:
    """Of the built-in ones, by kind: `vehicles`, `radios`, `receivers`, `sensors`."""
    return {kind.field: tuple(kind.built_in) for kind in _kinds()}


def describe_presets(scenario: Scenario | None = None) -> dict[str, dict[str, Any]]:
    """By kind and name: the built-in presets and a scenario's own in a scenario's terms
    (`OwnVehicle`, …), every figure filled in. `none` is not among them."""
    found: dict[str, dict[str, Any]] = {}
    for kind in _kinds():
        own = {} if scenario is None else getattr(scenario.presets, kind.field)
        maker = _Maker(kind, own)
        names = [name for name in (*kind.built_in, *own) if name not in (NO_RADIO, NO_SENSOR)]
        found[kind.field] = {name: kind.describe(maker.made(name)) for name in names}
    return found


def check_presets(scenario: Scenario) -> list[Finding]:
    """What does not fit in a scenario's own presets: the path of the field, and one line."""
    return [finding for kind in _kinds() for finding in _findings(kind, scenario)]


def _findings(kind: _Kind, scenario: Scenario) -> Iterator[Finding]:
    own = getattr(scenario.presets, kind.field)
    maker = _Maker(kind, own)
    for name, preset in own.items():
        path = ("presets", kind.field, name)
        if (kind.what, preset.base) in (("radio", NO_RADIO), ("sensor", NO_SENSOR)):
            yield (*path, "base"), f"'none' is no {kind.what} (allowed: a {kind.what})"
            continue
        try:
            base = None if preset.base is None else maker.made(preset.base)
        except ValueError:
            continue  # the base has a finding of its own
        try:
            kind.make(name, preset, base)
        except UnfitError as error:
            yield from (((*path, *field), message) for field, message in error.problems)
        except ValueError as error:
            yield path, str(error)


class _Maker:
    def __init__(self, kind: _Kind, own: Mapping[str, Any]) -> None:
        self._kind, self._own = kind, own

    def made(self, name: str, below: tuple[str, ...] = ()) -> Any:
        """The preset of this name, its bases first."""
        kind = self._kind
        if name in below:
            raise ValueError(f"{kind.what}: {name!r} is based on itself")
        if name in self._own:
            own = self._own[name]
            base = None if own.base is None else self.made(own.base, (*below, name))
            return kind.make(name, own, base)
        if name not in kind.built_in:
            known = ", ".join(sorted({*self._own, *kind.built_in}))
            raise ValueError(f"{kind.what}: {name!r} is not a preset (allowed: {known})")
        return kind.built_in[name]
