"""Receivers and ultrasonic sensors of a scenario's own, and the built-in ones in its terms."""

from dataclasses import replace

from fleet_sim.models.gnss_presets import Receiver
from fleet_sim.models.ultrasonic import ULTRASONIC, UltrasonicPreset
from fleet_sim.scenario.presets import OwnReceiver, OwnSensor
from fleet_sim.scenario.units import Duration, Length
from fleet_sim.world.own_presets import UnfitError, described, given, require_given, same, source_of

_RECEIVER = {
    "noise_m": "noise_m",
    "noise_correlation_s": "noise_tau_s",
    "hot_start_s": "hot_s",
    "cold_start_s": "cold_s",
    "dead_reckoning": "dead_reckoning",
}
_SENSOR = {
    "frequency_hz": "frequency_hz",
    "min_range_m": "min_m",
    "max_range_m": "max_m",
    "beam_deg": "beam_deg",
    "compensated": "compensated",
    "sigma_m": "sigma_m",
    "sigma_share": "sigma_share",
    "dropout": "dropout",
    "dropout_oblique": "dropout_oblique",
    "crosstalk": "crosstalk",
}
NEAREST_M = 0.1
"""Between the ends of a sensor's range lies at least this."""


def make_receiver(name: str, own: OwnReceiver, base: Receiver | None) -> Receiver:
    """The receiver that `own` describes; `UnfitError` when its fields do not fit together."""
    have = given(own)
    if base is None:
        require_given(OwnReceiver, have, _RECEIVER)
    figures = same(_RECEIVER, have)
    hot_s = figures["hot_s"] if base is None else figures.get("hot_s", base.hot_s)
    cold_s = figures["cold_s"] if base is None else figures.get("cold_s", base.cold_s)
    if cold_s < hot_s:
        problem = f"{Duration(cold_s)} is not allowed (allowed: at least hot_start, "
        raise UnfitError([(("cold_start",), f"{problem}{Duration(hot_s)})")])
    source = source_of(own)
    if base is None:
        return Receiver(name=name, source=source, **figures)
    return replace(base, name=name, source=source, **figures)


def make_sensor(name: str, own: OwnSensor, base: UltrasonicPreset | None) -> UltrasonicPreset:
    """The sensor that `own` describes; `UnfitError` when its fields do not fit together."""
    figures = same(_SENSOR, given(own))
    start = ULTRASONIC if base is None else base
    low, high = figures.get("min_m", start.min_m), figures.get("max_m", start.max_m)
    if high < low + NEAREST_M:
        problem = f"{Length(high)} is not allowed (allowed: at least {Length(NEAREST_M)} beyond "
        raise UnfitError([(("max_range",), f"{problem}min_range, {Length(low)})")])
    source = source_of(own)
    return replace(start, name=name, source=source, **figures)


def describe_receiver(preset: Receiver) -> OwnReceiver:
    """Every figure of a receiver as a scenario gives it."""
    return OwnReceiver(**described(OwnReceiver, _RECEIVER, preset), source=preset.source)


def describe_sensor(preset: UltrasonicPreset) -> OwnSensor:
    """Every figure of a sensor as a scenario gives it."""
    return OwnSensor(**described(OwnSensor, _SENSOR, preset), source=preset.source)
