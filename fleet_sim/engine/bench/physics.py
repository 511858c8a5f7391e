"""What the physics cost on this machine: `fleet-sim bench physics`."""

import math
import resource
import time
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from fleet_sim.scenario import loads
from fleet_sim.world import World

TICK_S = 0.1
"""Length of a step: what a run takes at the wall clock's speed."""
_SAMPLES = 40
"""Steps whose parts are timed one by one. The others are timed as a whole: a clock read around each
part costs as much as some parts at small sizes."""


class Physics(msgspec.Struct, frozen=True):
    """One fleet size. Times are CPU time of this process, us a vehicle and tick."""

    vehicles: int
    stalls: int
    simulated_s: float
    step_us: float
    """The whole step of the world."""
    observe_us: float
    """Observing a tenth of the vehicles, as a run at 1 Hz does each tick, by all vehicles."""
    parts_us: dict[str, float]
    """By subsystem: of the step; `fixes` (GNSS receivers) and `ultrasonic` of the observation."""
    bytes_a_vehicle: float
    """Growth of the process's resident memory from making the world, by vehicle: with its city."""
    faster_than_real_time: float
    """Simulated by CPU time, stepping and observing."""


def bench_physics(vehicles: int, seconds: float = 20.0) -> Physics:
    """Measure a world of `vehicles` in a city that is large enough for them.

    `ValueError` for a number that no city takes.
    """
    before = _resident_bytes()
    world = World(loads(_scenario(vehicles), name="bench physics"))
    grown = _resident_bytes() - before
    everyone = np.arange(world.n)
    ticks = max(1, round(seconds / TICK_S))
    for _ in range(10):  # first calls allocate
        world.step(TICK_S)
        world.observe(everyone[: max(1, world.n // 10)])
    step_s = observe_s = 0.0
    for tick in range(ticks):
        began = time.process_time()
        world.step(TICK_S)
        stepped = time.process_time()
        world.observe(everyone[tick % 10 :: 10])
        step_s += stepped - began
        observe_s += time.process_time() - stepped
    scale = 1e6 / (ticks * world.n)
    return Physics(
        vehicles=world.n,
        stalls=world.city.stalls.n,
        simulated_s=ticks * TICK_S,
        step_us=step_s * scale,
        observe_us=observe_s * scale,
        parts_us=_parts(world),
        bytes_a_vehicle=grown / world.n,
        faster_than_real_time=ticks * TICK_S / max(step_s + observe_s, 1e-9),
    )


def physics_table(results: list[Physics]) -> Table:
    """For a terminal."""
    table = Table(title="CPU time, µs a vehicle and tick of 0.1 s", title_justify="left", box=None)
    parts = sorted({part for result in results for part in result.parts_us})
    for heading in ("vehicles", "step", "observe", *parts, "B/vehicle", "× real"):
        table.add_column(heading, justify="right")
    for r in results:
        table.add_row(
            f"{r.vehicles:,}",
            f"{r.step_us:.3f}",
            f"{r.observe_us:.3f}",
            *(f"{r.parts_us.get(part, 0.0):.3f}" for part in parts),
            f"{r.bytes_a_vehicle:,.0f}",
            f"{r.faster_than_real_time:,.0f}",
        )
    return table


def _scenario(vehicles: int) -> str:
    """A square city with some 60 m of lane a vehicle, in longer blocks where the crossings' limit
    would be met."""
    side = max(3, math.ceil(math.sqrt(vehicles * 60.0 / 400.0)))
    length = 100
    if side > 62:
        length, side = min(1_000, math.ceil(100 * side / 62)), 62
    return (
        f"name: bench\nseed: 1\ncity: {{generate: {{blocks: [{side}, {side}], "
        f"block_length: {length}m}}}}\n"
        f"fleet: [{{group: cars, count: {vehicles}, parked: 5%}}]\n"
        "phases: [{name: all, duration: 1h, parking: {occupancy: 60%}}]\n"
    )


def _parts(world: World) -> dict[str, float]:
    """CPU time of the subsystems over some ticks, us a vehicle and tick."""
    spent: dict[str, float] = {}
    parts = (
        ("demand", world.demand, "step"),
        ("motion", world.fleet, "drive"),
        ("battery", world.fleet.battery, "drive_j"),
        ("trips", world._trips, "step"),
        ("gnss", world._gnss, "step"),
        ("gnss", world, "_track"),
        ("radio", world._signal, "step"),
        ("fixes", world._gnss, "observe"),
        ("ultrasonic", world._sensors, "sense"),
    )
    everyone = np.arange(world.n)
    # Wrapped on the instance, for these steps only: the world itself carries no timers.
    for name, owner, method in parts:
        _time_calls(owner, method, name, spent)
    try:
        for tick in range(_SAMPLES):
            world.step(TICK_S)
            world.observe(everyone[tick % 10 :: 10])
    finally:
        for _, owner, method in parts:
            del owner.__dict__[method]
    return {name: seconds * 1e6 / (_SAMPLES * world.n) for name, seconds in spent.items()}


def _time_calls(owner: Any, method: str, name: str, spent: dict[str, float]) -> None:
    original = getattr(owner, method)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - began

    owner.__dict__[method] = timed


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
