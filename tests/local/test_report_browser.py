"""The report in a browser: the slider through the map, one cursor on one axis, and a phone."""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.async_api import Page, async_playwright
from site_harness import CHROMIUM

from fleet_sim.engine.bench.made_up import Size
from fleet_sim.engine.bench.report import write_run
from fleet_sim.report.render import render

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PATIENCE_MS = 120_000
"""How long a browser on a busy machine may take for anything."""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

COUNTS = """() => [...document.querySelectorAll(".stall")].map(
    (path) => (path.getAttribute("d").match(/M/g) || []).length)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report") / "run"
    write_run(made, Size(vehicles=40, seconds=120, period_s=1.0, stalls=400))
    render(made)
    return made


def browse(folder: Path, width: int, scheme: Any, look: Any) -> None:
    """Open the report at a width and colour scheme, and `look(page)`; an error in it fails."""

    async def whole() -> None:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS
            )
            size: Any = {"width": width, "height": 900}
            page = await browser.new_page(viewport=size, color_scheme=scheme)
            page.set_default_timeout(PATIENCE_MS)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda said: errors.append(said.text))
            page.on("request", lambda asked: errors.append(asked.url))
            await page.goto((folder / "index.html").as_uri())
            steps: Coroutine[Any, Any, None] = look(page)
            await steps
            await browser.close()
            assert errors == [(folder / "index.html").as_uri()]

    asyncio.run(whole())


def states_of(folder: Path, shot: int) -> list[int]:
    """How many stalls each pair of truth and answer has in a shot, as the file says."""
    history = json.loads((folder / "map_history.json").read_text())
    counted = Counter(history["shots"][shot]["states"])
    return [counted[str(pair)] for pair in range(9)]


def test_the_slider_shows_the_map_as_it_was(folder: Path) -> None:
    async def look(page: Page) -> None:
        at_end = await page.evaluate(COUNTS)
        stalls = json.loads((folder / "map.json").read_text())["spots"]
        assert sum(at_end) == len(stalls) > 300
        slider = page.locator("#map-time")
        await slider.focus()
        await page.keyboard.press("Home")
        assert await page.evaluate(COUNTS) == states_of(folder, 0)
        assert await page.locator(".time output").text_content() == "0:10 min"
        assert await slider.get_attribute("aria-valuetext") == "0:10 min"
        await page.keyboard.press("ArrowRight")
        assert await page.evaluate(COUNTS) == states_of(folder, 1)
        await page.keyboard.press("End")
        assert await page.evaluate(COUNTS) == at_end
        assert await page.locator(".time output").text_content() == "end of the run"

    browse(folder, 1100, "light", look)


def test_one_moment_is_marked_in_every_chart_of_the_axis(folder: Path) -> None:
    async def look(page: Page) -> None:
        await page.locator("#throughput-chart .plot").focus()
        await page.keyboard.press("PageDown")
        marked = page.locator('figure[data-axis="time"] svg.wide .cursor.on')
        at = [await one.get_attribute("x1") for one in await marked.all()]
        assert len(at) == await page.locator('figure[data-axis="time"]').count() > 5
        assert len(set(at)) == 1
        await page.keyboard.press("Escape")
        assert await page.locator(".cursor.on").count() == 0

    browse(folder, 1100, "dark", look)


def test_a_phone_shows_it_without_scrolling_sideways(folder: Path) -> None:
    async def look(page: Page) -> None:
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not await page.locator("#throughput-chart svg.wide").is_visible()
        assert await page.locator("#throughput-chart svg.narrow").is_visible()
        assert await page.locator("#map-time").is_visible()

    browse(folder, 390, "dark", look)


def test_on_paper_everything_is_open_and_nothing_waits_for_a_hand(folder: Path) -> None:
    async def look(page: Page) -> None:
        hidden = page.locator("details:not([open]) table").first
        await page.emulate_media(media="print")
        assert await hidden.evaluate("table => table.checkVisibility()")
        for control in ("#map-time", "nav", ".map .tools", ".screen"):
            assert not await page.locator(control).first.is_visible()
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        assert await page.evaluate("document.documentElement.scrollWidth") <= 718

    browse(folder, 718, "dark", look)
