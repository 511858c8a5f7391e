"""Checks of driving: queue discharge at a signal, safety and comfort in an hour of rush, turns."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fleet_sim.models import motion
from fleet_sim.models.arrays import FloatArray, IntArray
from fleet_sim.models.motion import IDM
from fleet_sim.scenario import Scenario
from fleet_sim.scenario.model import City, GeneratedCity, Parking, Phase, VehicleGroup
from fleet_sim.scenario.units import Duration, Fraction, Length, Speed
from fleet_sim.validation import _sumo
from fleet_sim.validation.check import Check, Outcome
from fleet_sim.world import World
from fleet_sim.world.fleet import CRUISING, PARKED, Fleet
from fleet_sim.world.traffic import STOP_LINE_M, Signals

_STEP_S = 0.1
_FIRST = 4
"""Saturation counts from the fifth vehicle on (Highway Capacity Manual: the first ones start)."""
_LIMIT_MPS = 54 / 3.6


def platoon(dt_s: float, n: int = 30, length_m: float = 5.0) -> tuple[FloatArray, FloatArray]:
    """A queue of `n` that may go at 0 s on a free road with 54 km/h: when each front passes the
    line, s [n], and all speeds, m/s [steps, n]."""
    x: FloatArray = np.arange(0, -n, -1, dtype=np.float64) * (length_m + IDM.standstill_m)
    v, accel = np.zeros(n), np.zeros(n)
    passed, speeds = np.full(n, np.nan), []
    for k in range(round(3.0 * n / dt_s)):
        gap = np.append(motion.FREE_M, x[:-1] - x[1:] - length_m)
        lead = np.append(v[0], v[:-1])
        wanted = motion.acceleration(v, np.full(n, _LIMIT_MPS), motion.interaction(v, gap, lead))
        wanted = motion.foresee(wanted, accel, v, gap, lead)
        accel = motion.with_jerk(wanted, accel, v, dt_s)
        v, way = motion.advance(v, accel, dt_s)
        new = np.flatnonzero(np.isnan(passed) & (x + way > 0.0))
        passed[new] = dt_s * (k - x[new] / way[new])
        x = x + way
        speeds.append(v.copy())
    return passed, np.array(speeds)


def _scenario(city: GeneratedCity, vehicles: int, seconds: float, seed: int) -> Scenario:
    group = VehicleGroup(
        group="a", count=vehicles, parked=Fraction(0.0), max_speed_mps=Speed(_LIMIT_MPS)
    )
    phase = Phase(name="a", duration_s=Duration(seconds), parking=Parking(occupancy=Fraction(0.7)))
    return Scenario(
        name="m", seed=seed, city=City(generate=city, cars=0), fleet=(group,), phases=(phase,)
    )


def discharge(seed: int, dt_s: float = _STEP_S) -> FloatArray:
    """A queue on a signalled arterial (50 km/h) of the world, all straight on: headways at the
    stop line, s, from the fifth vehicle to the last that leaves in the first green."""
    spec = GeneratedCity(blocks=(4, 4), block_length_m=Length(300), legal_kerb=Fraction(0.0))
    world = World(_scenario(spec, 30, 60.0, seed))
    fleet, roads = world.fleet, world.city.roads
    edge = int(np.flatnonzero((roads.signal == 1) & roads.arterial)[0])
    onward = (roads.tail == roads.head[edge]) & (roads.bearing_deg == roads.bearing_deg[edge])
    ahead = int(np.flatnonzero(onward)[0])
    everyone: IntArray = np.arange(world.n)
    spacing = 2.0 * fleet.half + IDM.standstill_m
    fleet.edge[:], fleet.lane[:] = edge, fleet.lanes.first[edge]
    fleet.x[:] = roads.length[edge] - STOP_LINE_M - fleet.half - spacing * everyone
    fleet.v[:] = fleet.accel[:] = 0.0
    fleet.next_edge[:], fleet.next_lane[:] = ahead, fleet.lanes.first[ahead]
    fleet.v_turn[:] = 50.0
    fleet.goal_edge[:], fleet.goal_x[:] = ahead, 1e6
    passed = np.full(world.n, np.nan)
    signals = Signals(roads)
    now_s = 0.0
    while not signals.red(now_s)[edge] or signals.red(now_s + dt_s)[edge]:
        now_s += dt_s
    for _ in range(round(signals.cycle_s[edge] / 2 / dt_s)):
        now_s += dt_s
        before = _past_line(fleet, edge)
        fleet.drive(dt_s, now_s)
        after = _past_line(fleet, edge)
        # They would turn round and come back to the crossing.
        fleet.mode[after > 150.0] = PARKED
        new = np.flatnonzero(np.isnan(passed) & (after > 0.0))
        passed[new] = now_s - dt_s * after[new] / (after[new] - before[new])
    return np.asarray(np.diff(passed[np.isfinite(passed)])[_FIRST:])


def _past_line(fleet: Fleet, edge: int) -> FloatArray:
    """How far each front is past a metre beyond the edge's stop line, m: who waits stands at it."""
    length = fleet.city.roads.length
    x = fleet.x + np.where(fleet.edge == edge, 0.0, length[edge])
    return np.asarray(x + fleet.half + STOP_LINE_M - 1.0 - length[edge])


def _saturation(scale: float) -> Outcome:
    free = float(np.diff(platoon(_STEP_S)[0])[_FIRST:].mean())
    runs = [discharge(seed) for seed in range(max(round(20 * scale), 2))]
    world = float(np.concatenate(runs).mean())
    coarse = float(np.diff(platoon(0.5)[0])[_FIRST:].mean())
    return Outcome(
        f"{world:.3f} s in the world ({np.concatenate(runs).size} headways, 50 km/h); "
        f"{free:.3f} s on a free road with 54 km/h ({coarse:.3f} s with steps of 0.5 s)",
        all(abs(h - 1.9) <= 0.1 for h in (world, free, coarse)),
    )


SUMO_HEADWAY_S = 1.836
"""What `_sumo.discharge` gave with Eclipse SUMO 1.28.0."""


def _against_sumo(scale: float) -> Outcome:
    ours = float(np.diff(platoon(_STEP_S)[0])[_FIRST:].mean())
    sumo, note = SUMO_HEADWAY_S, f"Only the recorded figure: {_sumo.MISSING}"
    if _sumo.available():
        sumo, note = float(np.diff(_sumo.discharge(_LIMIT_MPS))[_FIRST:].mean()), ""
    return Outcome(
        f"{ours:.3f} s, SUMO {sumo:.3f} s (a queue of 30 on a free road with 54 km/h)",
        abs(ours - sumo) <= 0.05,
        note,
    )


class Rush(NamedTuple):
    """What a rush hour had."""

    crossings: int
    least_gap_m: float
    """Between vehicles on one lane."""
    beside: int
    """Vehicle-steps in the mouth of a crossing beside another that enters the same edge."""
    clamps: int
    emergencies: int
    accel_mps2: tuple[float, float]
    jerk_mps3: float
    hard: float
    """Share of driving time with braking above 3 m/s²."""
    over_mps: FloatArray
    """[turns] speed above the turn's own where it is made."""


@cache
def rush(seconds: float, vehicles: int = 700, dt_s: float = _STEP_S, seed: int = 1) -> Rush:
    """Vehicles on 12 x 9 blocks, parking and pulling out at 70 % occupancy."""
    world = World(_scenario(GeneratedCity(blocks=(12, 9)), vehicles, seconds, seed))
    fleet, length = world.fleet, world.city.roads.length
    crossings = beside = driven = hard = 0
    least = most = jerk = 0.0
    gap_m = float("inf")
    over = []
    for _ in range(round(seconds / dt_s)):
        edge, accel, v, turn = (a.copy() for a in (fleet.edge, fleet.accel, fleet.v, fleet.v_turn))
        drove = fleet.mode <= CRUISING
        world.step(dt_s)
        drives = drove & (fleet.mode <= CRUISING)
        passed = drives & (fleet.edge != edge)
        crossings += int(passed.sum())
        over.append((v - turn)[passed & (turn < _LIMIT_MPS)])
        now = fleet.accel[drives]
        least, most = min(least, float(now.min())), max(most, float(now.max()))
        jerk = max(jerk, float(np.abs(now - accel[drives]).max()) / dt_s)
        hard += int((now < -3.0).sum())
        driven += now.size
        r = fleet.on_road()
        same = fleet.lane[r][1:] == fleet.lane[r][:-1]
        gaps = np.diff(fleet.x[r]) - fleet.half[r][1:] - fleet.half[r][:-1]
        gap_m = min(gap_m, float(gaps[same].min(initial=np.inf)))
        mouth = r[length[fleet.edge[r]] - fleet.x[r] - fleet.half[r] < 3.0]
        mouth = mouth[np.argsort(fleet.next_lane[mouth], kind="stable")]
        ways = length[fleet.edge[mouth]] - fleet.x[mouth]
        pair = fleet.next_lane[mouth][1:] == fleet.next_lane[mouth][:-1]
        pair &= fleet.edge[mouth][1:] != fleet.edge[mouth][:-1]
        beside += int((pair & (np.abs(np.diff(ways)) < 4.0)).sum())
    return Rush(
        crossings,
        gap_m,
        beside,
        fleet.clamps,
        fleet.emergencies,
        (least, most),
        jerk,
        hard / max(driven, 1),
        np.concatenate(over),
    )


def _safety(scale: float) -> Outcome:
    seen = rush(max(3600.0 * scale, 60.0))
    least, most = seen.accel_mps2
    return Outcome(
        f"{seen.crossings} crossings: smallest gap {seen.least_gap_m:.2f} m, {seen.beside} beside "
        f"another, {seen.clamps} held back; acceleration {least:.2f} to {most:.2f} m/s², jerk "
        f"{seen.jerk_mps3:.2f} m/s³ ({seen.emergencies} emergencies), above 3 m/s² of braking "
        f"{seen.hard:.3%} of the time",
        seen.least_gap_m > 0.0
        and seen.beside == seen.clamps == 0
        and least >= -IDM.hardest_mps2
        and most <= IDM.accel_mps2 + 1e-9
        and seen.jerk_mps3 <= IDM.jerk_mps3 + 1e-6,
        "paths that cross without merging are not looked at: the model leaves them out",
    )


def _turns(scale: float) -> Outcome:
    over = rush(max(3600.0 * scale, 60.0)).over_mps
    p50, p95 = np.percentile(over, [50, 95])
    return Outcome(f"median {p50:+.2f}, p95 {p95:+.2f} m/s in {over.size} turns", bool(p95 <= 1.0))


def _plot_discharge(axes: Any) -> None:
    _, speeds = platoon(_STEP_S, n=15)
    t = _STEP_S * np.arange(1, len(speeds) + 1)
    for i in range(15):
        axes.plot(t, speeds[:, i], c=str(0.05 * i))
    axes.set_xlim(0.0, 40.0)
    axes.set_xlabel("s since green (first to fifteenth vehicle, dark to light)")
    axes.set_ylabel("speed, m/s")


CHECKS = (
    Check(
        "motion.1",
        "saturation headway at the stop line of a discharging queue",
        "1.9 ± 0.1 s (Highway Capacity Manual: 1900 veh/h; SUMO with these parameters: 1906)",
        _saturation,
        _plot_discharge,
    ),
    Check(
        "motion.1b",
        "the same queue discharges as in Eclipse SUMO, which has its own IDM and no jerk limit",
        "headways within 0.05 s of each other",
        _against_sumo,
    ),
    Check(
        "motion.2",
        "an hour of rush without a collision; acceleration and jerk keep their limits",
        "gaps above 0, nobody held back, -8 to 2 m/s², 2 m/s³",
        _safety,
    ),
    Check(
        "motion.2b",
        "vehicles turn at the speed of the turn",
        "p95 at most 1 m/s above it",
        _turns,
    ),
)
