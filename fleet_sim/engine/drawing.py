"""Draw the city of a scenario, as it is or with its vehicles after some simulated time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fleet_sim.engine.catalog import load_scenario
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario import Duration, Scenario
from fleet_sim.world import City, World, drawing
from fleet_sim.world.fleet import CRUISING

STEP_S = 0.1
"""As a run steps its world."""
SUFFIXES = (".svg", ".html")


def build_city(path: Path, scenario: Scenario) -> City:
    """The city of the scenario in `path`; `PreflightError` when it cannot be built."""
    try:
        return City.build(scenario.city, scenario.seed)
    except ValueError as error:
        raise PreflightError(f"{path}: {error}") from None


def draw(path: Path, out: Path, *, overrides: Sequence[str] = (), after: str | None = None) -> str:
    """Write the drawing to `out`; the answer says what the city has and what was left out.

    `after`: simulated time until the vehicles are drawn; None draws the city alone.
    `ScenarioError`, `PreflightError` for what keeps it from being drawn.
    """
    if out.suffix not in SUFFIXES:
        raise PreflightError(
            f"--out: {out} is not allowed (allowed: a name ending with .svg, .html)"
        )
    try:
        after_s = None if after is None else float(Duration.parse(after))
    except ValueError as error:
        raise PreflightError(f"--after: {error}") from None
    scenario = load_scenario(path, overrides=overrides)
    title = scenario.name
    if after_s is None:
        city = build_city(path, scenario)
        picture = drawing.svg(city, title)
    else:
        try:
            world = World(scenario)
        except ValueError as error:
            raise PreflightError(f"{path}: {error}") from None
        city = world.city
        for _ in range(round(after_s / STEP_S)):
            world.step(STEP_S)
        title = f"{title}, {world.n} vehicles after {after}"
        picture = drawing.svg(city, title, vehicles=_vehicles(world), occupied=world.truth.occupied)
    text = picture if out.suffix == ".svg" else drawing.html(picture, title)
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise PreflightError(f"--out: {out}: cannot be written: {error.strerror}") from None
    return f"{out}: {describe(city)}"


def describe(city: City) -> str:
    """What a city has, and what of a map it has not, in one line."""
    roads = city.roads
    pairs = np.unique(np.sort(np.stack((roads.tail, roads.head), axis=1), axis=1), axis=0)
    ends = np.hypot(
        roads.node_x[pairs[:, 0]] - roads.node_x[pairs[:, 1]],
        roads.node_y[pairs[:, 0]] - roads.node_y[pairs[:, 1]],
    )
    signals = np.unique(roads.head[roads.signal > 0]).size
    text = (
        f"{ends.sum() / 1000:.1f} km of street, {int((~roads.bend).sum())} crossings, {signals} "
        f"with signals, {city.stalls.n} stalls"
    )
    return f"{text}; left out: {city.dropped}" if city.dropped else text


def _vehicles(world: World) -> drawing.Vehicles:
    fleet, roads = world.fleet, world.city.roads
    rows = np.arange(fleet.rows)
    rows = rows[(rows < world.n) | (fleet.mode <= CRUISING)]
    x, y = fleet.position(rows)
    edge, mode = fleet.edge[rows], fleet.mode[rows]
    mode[rows >= world.n] = drawing.CAR
    return drawing.Vehicles(x, y, roads.ux[edge], roads.uy[edge], mode)
