"""What the tests of the site share: a browser, and a city with beliefs and vehicles to look at."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import h3
import numpy as np
from playwright.async_api import Browser, BrowserContext, Page

from fleet_sim.cloud import registry, site
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.target import Target
from fleet_sim.contract import RegistrySpot, SpotState, VehicleView
from fleet_sim.contract.registry import SPOT_CELL_RESOLUTION
from fleet_sim.contract.tables import (
    AttributeMap,
    Observation,
    SpotBelief,
    new_spot,
    text_attribute,
)
from fleet_sim.scenario.model import City as CitySpec
from fleet_sim.scenario.model import GeneratedCity
from fleet_sim.world import City
from fleet_sim.world.towns import street_network

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_S = 120.0
"""How long a page, and a browser on a busy machine, may take for anything."""
HOUR_MS = 3_600_000
FRESH_MS = 480_000
"""Beliefs are of this time to come: they must not fade while tests run."""
STATES: tuple[SpotState, ...] = ("free", "occupied", "unknown")


class Town(NamedTuple):
    """What is deployed, and what the pages should say of it."""

    target: Target
    outputs: StackOutputs
    city: City
    spots: list[RegistrySpot]
    states: dict[str, SpotState]

    def count(self, state: SpotState) -> int:
        return sum(told == state for told in self.states.values())

    def believe(self, spot_id: str, state: SpotState, p_occupied: float) -> None:
        """Change what the cloud believes of a stall."""
        spot = next(spot for spot in self.spots if spot.id == spot_id)
        self.target.client("dynamodb").put_item(
            TableName=self.outputs.spots_table, Item=item(spot, state, p_occupied)
        )


def item(spot: RegistrySpot, state: SpotState, p_occupied: float) -> AttributeMap:
    """Of the spots table, with one look behind it."""
    cell = h3.latlng_to_cell(spot.lat, spot.lon, SPOT_CELL_RESOLUTION)
    made = new_spot(spot.id, cell, spot.lat, spot.lon, spot.street)
    if state != "unknown":
        seen = int(time.time() * 1e3) + FRESH_MS
        made["belief"] = text_attribute(SpotBelief("r", state, p_occupied, 1, seen))
        llr = 2.0 if state == "occupied" else -2.0
        made["recent"] = text_attribute([Observation(seen, "1FSMZ91C0T0000001", 7, llr)])
    return made


def town(target: Target, outputs: StackOutputs, blocks: tuple[int, int], vehicles: int) -> Town:
    """A city of `blocks`, deployed with beliefs of all kinds, and vehicles that were just heard."""
    rng = np.random.default_rng(1)
    city = City.generate(GeneratedCity(blocks=blocks), 7, CitySpec())
    told = city.to_registry()
    registry.upload(target, outputs, told, street_network([city], told.city))
    site.publish_city(target, outputs.site_bucket, [city])
    chosen = rng.choice(3, len(told.spots), p=(0.25, 0.6, 0.15))
    states = {spot.id: STATES[k] for spot, k in zip(told.spots, chosen, strict=True)}
    puts: list[dict[str, Any]] = []
    for spot in told.spots:
        sure = round(float(rng.uniform(0.6, 0.99)), 3)
        p = {"free": 1 - sure, "occupied": sure, "unknown": 0.5}[states[spot.id]]
        puts.append({"PutRequest": {"Item": item(spot, states[spot.id], p)}})
    registry._write(target, outputs.spots_table, puts, lambda *_: None)
    registry.purge_vehicles(target, outputs)
    registry._write(
        target,
        outputs.vehicles_table,
        [{"PutRequest": {"Item": vehicle(city, k)}} for k in range(vehicles)],
        lambda *_: None,
    )
    return Town(target, outputs, city, told.spots, states)


def vehicle(city: City, k: int) -> AttributeMap:
    now = time.time() * 1e3
    # Of the hour to come: it must not go offline while tests run.
    heard_ms = now + HOUR_MS
    stall = 37 * k % city.stalls.n
    view = VehicleView(
        vin=f"1FSMZ91C0T{k:07d}",
        run="20260601T170000Z-1a2b",
        seq=10,
        applied="1-8,10",
        ts=int(now),
        lat=float(city.lat[stall]),
        lon=float(city.lon[stall]),
        speed_mps=7.0,
        heading_deg=float(k % 360),
        soc=0.5 + 0.4 * (k % 5) / 5,
        mode=("driving", "parked", "charging")[k % 3],
        fw="2.0.0",
        arrival_ms=heard_ms - 60,
        processed_ms=heard_ms - 40,
        stored_ms=heard_ms,
    )
    return {"vin": {"S": view.vin}, "state": text_attribute(view), "track": {"S": "[]"}}


class Visit:
    """A page that is open, and what it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str | None] = set()
        page.on("console", lambda m: m.type in ("error", "warning") and self._complain(m.text))
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    async def js(self, expression: str) -> Any:
        return await self.page.evaluate(expression)

    async def until(self, expression: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for an expression of the page's to be true.

        Not Playwright's own way, which evaluates in the page: the page's policy forbids that.
        """
        patience = time.monotonic() + timeout_s
        while not await self.js(f"Boolean({expression})"):
            assert time.monotonic() < patience, f"never true: {expression}"
            await asyncio.sleep(0.05)

    async def text(self, selector: str) -> str:
        return re.sub(r"\s+", " ", await self.page.inner_text(selector)).strip()

    async def at(self, spot_id: str) -> tuple[float, float]:
        """Where on the screen a stall is drawn."""
        found = await self.js(
            f"""(() => {{
                const {{ map, store }} = window.fleetSim, spot = store.byId.get("{spot_id}");
                const box = map.canvas.getBoundingClientRect();
                return [box.left + map.camera.sx(spot.x), box.top + map.camera.sy(spot.y)];
            }})()"""
        )
        return cast(tuple[float, float], tuple(found))

    async def settled(self, known: int) -> None:
        """Wait until so many stalls' states have arrived and are drawn."""
        await self.until(
            f"window.fleetSim?.store.spots.filter((spot) => spot.state).length === {known}"
        )
        await self.js("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


def says(selector: str, text: str) -> str:
    """Expression: whether an element's text has this in it."""
    return f"document.querySelector({selector!r})?.textContent.includes({text!r})"


@asynccontextmanager
async def visit(
    browser: Browser,
    url: str,
    *,
    before: Callable[[BrowserContext], Any] | None = None,
    **options: Any,
) -> AsyncIterator[Visit]:
    """Open the site in a fresh profile. Nothing may have been asked of another machine."""
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(1e3 * PATIENCE_S)
    if before is not None:
        await before(context)
    visited = Visit(await context.new_page())
    await visited.page.goto(url)
    try:
        yield visited
        assert visited.hosts <= {"127.0.0.1", "localhost"}
    finally:
        await context.close()
