"""Holds the side-looking sensor itself against published figures."""

from typing import Any

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.ultrasonic import footprint_half_m, measure_cm, ultrasonic
from fleet_sim.models.ultrasonic_air import Air, absorption_db_per_m, uncompensated_scale
from fleet_sim.validation._drive_by import (
    BLOCKS,
    DIP_DEPTH_CM,
    KMH,
    OCCUPANCY,
    SPEEDS_KMH,
    Street,
    draw_pass,
    drive,
)
from fleet_sim.validation.check import Check, Outcome
from fleet_sim.world.truth import BACKGROUND

ABSORPTION = {(48e3, 0.0): 0.56, (48e3, 20.0): 1.60, (58e3, 0.0): 0.72, (58e3, 20.0): 1.92}
"""dB/m at 50 % humidity by an independent implementation of ISO 9613-1."""
SCALE = {-20.0: 7.6, 0.0: 3.6, 40.0: -3.25}
"""Error of an uncompensated sensor, %."""


def air(scale: float) -> Outcome:
    ours = {key: absorption_db_per_m(key[0], Air(key[1], 50.0)) for key in ABSORPTION}
    errors = {t: 100 * (float(uncompensated_scale(t)) - 1) for t in SCALE}
    worst = max(abs(ours[key] - value) for key, value in ABSORPTION.items())
    off = max(abs(errors[t] - value) for t, value in SCALE.items())
    told = ", ".join(f"{f / 1e3:g} kHz {t:g} °C {a:.3f}" for (f, t), a in ours.items())
    bias = ", ".join(f"{t:g} °C {e:+.2f} %" for t, e in errors.items())
    return Outcome(f"{told} dB/m; {bias}", worst <= 0.0051 and off <= 0.051)


def _isolated(edges: int, kmh: float, seed: int) -> tuple[float, float, float]:
    """Of cars two stalls apart: mean of apparent length less (length + footprint), m, of those
    that were seen; v/f, m; and the share of which no sample was heard."""
    street = Street(BLOCKS, 0.0, seed)
    kerb, stalls = street.kerb, street.city.stalls
    kerb.things.cell[:] = -1
    order = np.arange(stalls.n) - stalls.first[stalls.edge]
    alone = np.flatnonzero((order % 3 == 1) & (np.abs(stalls.offset - 50.0) < 33.0))
    kerb.fill(alone, np.full(alone.size, BACKGROUND))
    passes = drive(street, street.edges[:edges], kmh * KMH, reception=None)
    near = (passes.cm > 0) & (passes.cm < DIP_DEPTH_CM)
    cars = alone[stalls.edge[alone] < edges]
    excess = []
    for car in cars:
        edge = stalls.edge[car]
        s = passes.s[edge]
        reach = kerb.half[0, car] + 1.0
        hit = s[near[edge] & (np.abs(s - kerb.centre[0, car]) < reach)]
        if not hit.size:
            continue
        range_m = kerb.side[0, car] - passes.sensor_m[edge]
        length = 2 * kerb.half[0, car] + 2 * float(footprint_half_m(np.array(range_m)))
        excess.append(hit.max() - hit.min() + passes.spacing_m - length)
    return float(np.mean(excess)), passes.spacing_m, 1.0 - len(excess) / cars.size


def apparent_length(scale: float) -> Outcome:
    edges = max(40, round(440 * scale))
    found = [_isolated(edges, kmh, 1) for kmh in SPEEDS_KMH]
    told = ", ".join(
        f"{excess:+.2f} m at {kmh} km/h (±{spacing:.2f}; {100 * unheard:.1f} % of cars unheard)"
        for kmh, (excess, spacing, unheard) in zip(SPEEDS_KMH, found, strict=True)
    )
    return Outcome(
        f"{told} off L + footprint",
        all(abs(excess) <= spacing for excess, spacing, _ in found),
    )


def cold_bias(scale: float) -> Outcome:
    preset, n = ultrasonic("parknet"), max(2000, round(200_000 * scale))
    true_m = np.random.default_rng(1).uniform(0.5, 3.5, n)
    cm = measure_cm(true_m, np.random.default_rng(2), preset, air=Air(-10.0, 50.0))
    # Cross-talk and missed echoes are no ranges of this surface.
    bias = 100 * (float(np.median(cm[cm > 0] / 100 / true_m[cm > 0])) - 1)
    return Outcome(f"{bias:+.2f} %", abs(bias - 5.5) <= 0.3)


def plot_absorption(axes: Any) -> None:
    celsius: FloatArray = np.linspace(-20, 40, 61, dtype=np.float64)
    for khz in (48, 58):
        alpha = [absorption_db_per_m(khz * 1e3, Air(float(t), 50.0)) for t in celsius]
        axes.plot(celsius, alpha, label=f"{khz} kHz")
    for (_, t), value in ABSORPTION.items():
        axes.plot(t, value, "ko", ms=4)
    axes.set(xlabel="temperature, °C", ylabel="absorption, dB/m", title="ISO 9613-1, 50 % humidity")
    axes.legend()


def plot_pass(axes: Any) -> None:
    draw_pass(axes, Street((3, 3), OCCUPANCY, 4), 2, 30)


CHECKS = (
    Check(
        "ultrasonic.air",
        "sound in air: absorption, and error without a thermometer",
        "ISO 9613-1 figures ± 0.005 dB/m; +7.6 / +3.6 / -3.25 % at -20 / 0 / 40 °C ± 0.05",
        air,
        plot_absorption,
    ),
    Check("ultrasonic.1", "apparent car length", "L + footprint ± v/f", apparent_length, plot_pass),
    Check("ultrasonic.2", "bias at -10 °C, uncompensated", "+5.5 % ± 0.3", cold_bias),
)
