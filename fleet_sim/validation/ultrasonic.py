"""Holds the side-looking sensor against published figures: drive-by passes and a plain map."""

from functools import cache
from typing import Any

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.gnss import OPEN, STREET
from fleet_sim.models.gnss_presets import ATM_TAU_S
from fleet_sim.models.ultrasonic import (
    footprint_half_m,
    measure_cm,
    ultrasonic,
)
from fleet_sim.models.ultrasonic_air import Air, absorption_db_per_m, uncompensated_scale
from fleet_sim.validation import _parking_map as parking
from fleet_sim.validation._drive_by import (
    DIP_DEPTH_CM,
    KMH,
    Matcher,
    Passes,
    Street,
    carry,
    draw_pass,
    drive,
    find_dips,
    judge,
)
from fleet_sim.validation.check import Check, Outcome
from fleet_sim.world.truth import BACKGROUND

OCCUPANCY = 0.7
"""Middle of SFpark's target of 60-80 %."""
BLOCKS = (10, 10)
SPEEDS_KMH = (20, 30, 50)
_ATMOSPHERES = 4
"""Passes of each city, so far apart that the error all vehicles share is a new one."""

ABSORPTION = {(48e3, 0.0): 0.56, (48e3, 20.0): 1.60, (58e3, 0.0): 0.72, (58e3, 20.0): 1.92}
"""dB/m at 50 % humidity by an independent implementation of ISO 9613-1."""
SCALE = {-20.0: 7.6, 0.0: 3.6, 40.0: -3.25}
"""Error of an uncompensated sensor, %."""


def _streets(scale: float, full: int, occupancy: float = OCCUPANCY) -> list[Street]:
    return [Street(BLOCKS, occupancy, seed) for seed in range(max(1, round(full * scale)))]


def air(scale: float) -> Outcome:
    ours = {key: absorption_db_per_m(key[0], Air(key[1], 50.0)) for key in ABSORPTION}
    errors = {t: 100 * (float(uncompensated_scale(t)) - 1) for t in SCALE}
    worst = max(abs(ours[key] - value) for key, value in ABSORPTION.items())
    off = max(abs(errors[t] - value) for t, value in SCALE.items())
    told = ", ".join(f"{f / 1e3:g} kHz {t:g} °C {a:.3f}" for (f, t), a in ours.items())
    bias = ", ".join(f"{t:g} °C {e:+.2f} %" for t, e in errors.items())
    return Outcome(f"{told} dB/m; {bias}", worst <= 0.0051 and off <= 0.051)


def _isolated(edges: int, kmh: float, seed: int) -> tuple[float, float]:
    """Mean of apparent length less (length + footprint), and v/f, m; cars two stalls apart."""
    street = Street(BLOCKS, 0.0, seed)
    kerb, stalls = street.kerb, street.city.stalls
    kerb.things.cell[:] = -1
    order = np.arange(stalls.n) - stalls.first[stalls.edge]
    alone = np.flatnonzero((order % 3 == 1) & (np.abs(stalls.offset - 50.0) < 33.0))
    kerb.fill(alone, np.full(alone.size, BACKGROUND))
    passes = drive(street, street.edges[:edges], kmh * KMH, reception=None)
    near = (passes.cm > 0) & (passes.cm < DIP_DEPTH_CM)
    excess = []
    for car in alone[stalls.edge[alone] < edges]:
        edge = stalls.edge[car]
        s = passes.s[edge]
        reach = kerb.half[0, car] + 1.0
        hit = s[near[edge] & (np.abs(s - kerb.centre[0, car]) < reach)]
        range_m = kerb.side[0, car] - passes.sensor_m[edge]
        length = 2 * kerb.half[0, car] + 2 * float(footprint_half_m(np.array(range_m)))
        excess.append(hit.max() - hit.min() + passes.spacing_m - length)
    return float(np.mean(excess)), passes.spacing_m


def apparent_length(scale: float) -> Outcome:
    edges = max(40, round(440 * scale))
    found = [_isolated(edges, kmh, 1) for kmh in SPEEDS_KMH]
    told = ", ".join(
        f"{excess:+.2f} m at {kmh} km/h (±{spacing:.2f})"
        for kmh, (excess, spacing) in zip(SPEEDS_KMH, found, strict=True)
    )
    return Outcome(
        f"{told} off L + footprint",
        all(abs(excess) <= spacing for excess, spacing in found),
    )


def cold_bias(scale: float) -> Outcome:
    preset, n = ultrasonic("parknet"), max(2000, round(200_000 * scale))
    true_m = np.random.default_rng(1).uniform(0.5, 3.5, n)
    cm = measure_cm(true_m, np.random.default_rng(2), preset, air=Air(-10.0, 50.0))
    # Cross-talk and missed echoes are no ranges of this surface.
    bias = 100 * (float(np.median(cm[cm > 0] / 100 / true_m[cm > 0])) - 1)
    return Outcome(f"{bias:+.2f} %", abs(bias - 5.5) <= 0.3)


def _error(streets: list[Street], kmh: float, reception: int | None, how: str = "fix") -> float:
    """Share of stalls that one pass judges wrongly; `how` as in `_placed`, or `bridged`."""
    wrong = []
    for street in streets:
        for _ in range(_ATMOSPHERES):
            street.gnss.step(100 * ATM_TAU_S)
            passes = drive(street, street.edges, kmh * KMH, reception=reception)
            dips = find_dips(_placed(street, passes, how), bridge=int(how == "bridged"))
            looks = judge(street, passes, dips)
            wrong.append((looks.occupied != street.kerb.truth.occupied[looks.stall]).mean())
    return float(np.mean(wrong))


def _placed(street: Street, passes: Passes, how: str) -> Passes:
    if how == "matched":
        return Matcher(street)(carry(passes))
    return carry(passes) if how == "odometer" else passes


def single_pass(scale: float) -> Outcome:
    streets = _streets(scale, 8)
    street = _error(streets, 30, STREET)
    by = {
        "perfect positions": _error(streets, 30, None),
        "the same, one lost sample bridged": _error(streets, 30, None, "bridged"),
        "open class": _error(streets, 30, OPEN),
        "street class, odometer's mean over the block": _error(streets, 30, STREET, "odometer"),
        "street class, matched to the stalls along the track": _error(
            streets, 30, STREET, "matched"
        ),
    }
    parts = "; ".join(f"{name} {100 * error:.1f} %" for name, error in by.items())
    return Outcome(
        f"street class {100 * street:.1f} % ({parts})",
        0.08 <= street <= 0.16,
        "The along-track error of class street (CEP50 4 m, CEP95 12 m, both assumptions) carries "
        "it: its RMS exceeds half a stall, 3.35 m, so that dips fall to a neighbour. The sensor "
        "alone errs in a few per cent, nearly all of them dips that one lost echo cuts in two (2 % "
        "dropout, assumption); bridging one sample leaves next to none, so alone it is cleaner "
        "than ParkNet's. Cars outside stalls make errors only where positions do. Class open comes "
        "into the range, and nearly so does class street once matched to the registry along the "
        "track. No figure was fitted to bring it there.",
    )


def _count_accuracy(street: Street, passes: Passes) -> float:
    """1 less the mean miscount of an edge's cars over the mean count: one dip, one car or more."""
    dips = find_dips(passes)
    cars = np.maximum(1, np.rint(dips.width_m / street.city.stalls.length.mean()))
    told = np.bincount(dips.row, cars, passes.edge.size)
    taken = street.kerb.truth.occupied.astype(np.float64)
    true = np.bincount(street.city.stalls.edge, taken, street.edges.size)[passes.edge]
    return 1.0 - float(np.abs(told - true).sum() / true.sum())


def _learn(how: str) -> parking.LookError:
    """Look errors from a city that is not judged."""
    street = Street((6, 6), OCCUPANCY, 999)
    passes = drive(street, np.tile(street.edges, 10), 30 * KMH)
    looks = judge(street, passes, find_dips(_placed(street, passes, how)))
    return parking.look_error(street, looks)


def pipeline(scale: float) -> Outcome:
    right: dict[str, list[float]] = {"matched": [], "fix": []}
    counts, legal = [], []
    learnt = {how: _learn(how) for how in right}
    for street in _streets(scale, 4):
        maps = {
            how: parking.BayesMap(street.city.stalls.n, OCCUPANCY, learnt[how]) for how in right
        }
        for k in range(5):
            street.gnss.step(120.0)
            street.demand.step(120.0, 120.0 * (k + 1))
            passes = drive(street, street.edges, 30 * KMH)
            counts.append(_count_accuracy(street, passes))
            for how, believed in maps.items():
                believed.wait(120.0)
                believed.look(judge(street, passes, find_dips(_placed(street, passes, how))))
        # The things stay in the city but leave the sensor's sight.
        street.kerb.things.cell[:] = -1
        legal.append(_count_accuracy(street, drive(street, street.edges, 30 * KMH)))
        for how, believed in maps.items():
            right[how].append(((believed.p > 0.5) == street.kerb.truth.occupied).mean())
    figures = (counts, legal, right["matched"], right["fix"])
    count, without, matched, raw = (100 * float(np.mean(v)) for v in figures)
    return Outcome(
        f"counts {count:.1f} % ({without:.1f} % were no car outside stalls), occupancy "
        f"{matched:.1f} %, without matching {raw:.1f} %",
        count >= 95 and matched >= 90 and raw <= matched - 5,
        "A plain map in this room, five passes in 10 min; not the cloud's own pipeline, which "
        "matches to the street and side but not along the track. Counts are of single passes, a "
        "block at a time. What they lack: cars in driveways and corners (12 % of such places, "
        "assumption) count as parked, as no position tells them apart; and a lost echo cuts a "
        "car's dip into pieces, which count twice or not at all.",
    )


def speeds(scale: float) -> Outcome:
    streets = _streets(scale, 8)
    found = {
        name: [_error(streets, kmh, reception, how) for kmh in SPEEDS_KMH]
        for name, reception, how in (
            ("street class", STREET, "fix"),
            ("perfect positions", None, "fix"),
            ("perfect positions, one lost sample bridged", None, "bridged"),
        )
    }
    told = "; ".join(
        f"{name} " + " / ".join(f"{100 * e:.2f}" for e in errors) + " %"
        for name, errors in found.items()
    )
    slow, middle, fast = found["street class"]
    return Outcome(
        f"error at 20 / 30 / 50 km/h: {told}",
        slow < middle < fast,
        "The model has nothing that gets worse with speed below 55 km/h: a car of 4.6 m still "
        "gives seven samples at 50 km/h. The dip detector errs less when faster, because each "
        "sample has its own chance of dropping out and fewer samples cut fewer dips in two. "
        "Wind and tyre noise, and the delay between fix and samples (0.1 s are 1.4 m at 50 km/h), "
        "could turn this; neither is modelled, as no published figure was at hand.",
    )


@cache
def _histories(hours: float) -> dict[float, parking.History]:
    learnt = _learn("matched")
    return {
        share: parking.run(Street((7, 7), OCCUPANCY, 5), OCCUPANCY, share, hours, learnt)
        for share in (0.01, 0.02, 0.04, 0.06)
    }


def penetration(scale: float) -> Outcome:
    briers = {share: h.brier(h.p) for share, h in _histories(max(0.5, 6 * scale)).items()}
    told = ", ".join(f"{share:.0%} {brier:.3f}" for share, brier in briers.items())
    return Outcome(
        f"Brier score {told}",
        bool((np.diff(list(briers.values())) < 0).all()),
        "A plain map in this room, 120 cars an hour pass each kerb (assumption); not the cloud's.",
    )


def calibration(scale: float) -> Outcome:
    history = _histories(max(0.5, 6 * scale))[0.06]
    ours, last = history.brier(history.p), history.brier(history.last)
    mean = history.brier(OCCUPANCY)
    return Outcome(
        f"calibration error {history.calibration_error:.3f}; Brier {ours:.3f}, last observation "
        f"{last:.3f}, historical mean {mean:.3f}",
        history.calibration_error < 0.05 and ours < min(last, mean),
        "A plain map in this room at 6 % penetration; the cloud's is judged by a run's report.",
    )


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


def plot_reliability(axes: Any) -> None:
    told, true, weight = _histories(2.0)[0.06].reliability()
    axes.plot([0, 1], [0, 1], color="0.7")
    axes.scatter(told, true, s=20 + 600 * weight)
    axes.set(xlabel="p_occupied", ylabel="share taken", title="Plain map, 6 % penetration")


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
    Check(
        "ultrasonic.3",
        "single-pass error of a dip-threshold detector, 30 km/h, class street",
        "8-16 % (ParkNet: 12.4 %)",
        single_pass,
    ),
    Check(
        "ultrasonic.4",
        "map from passes, class street",
        "counts ≥ 95 %, occupancy ≥ 90 %; 5 points or more less without map matching",
        pipeline,
    ),
    Check("ultrasonic.5", "error grows with speed", "20 < 30 < 50 km/h", speeds),
    Check("ultrasonic.6", "more sensors, better map", "Brier falls from 1 to 6 %", penetration),
    Check(
        "ultrasonic.7",
        "the map's probabilities mean what they say",
        "calibration error < 0.05; Brier below last observation's and historical mean's",
        calibration,
        plot_reliability,
    ),
)
