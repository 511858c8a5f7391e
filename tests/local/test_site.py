"""The live map in a real browser, against the local AWS."""

import http.client
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Route, async_playwright
from site_harness import ARGUMENTS, CHROMIUM, PATIENCE_S, Town, Visit, says, town, visit

from fleet_sim.cloud import deploy
from fleet_sim.cloud.target import Target

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

BLOCKS = (19, 14)
"""5,000 stalls and some."""
MOVES = 120


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=1e3 * PATIENCE_S
        )
        yield running
        await running.close()


@pytest.fixture(scope="module")
def place(deployed: tuple[Target, deploy.StackOutputs]) -> Town:
    return town(*deployed, BLOCKS, vehicles=60)


@pytest.fixture(scope="module")
def url(place: Town) -> str:
    return place.outputs.site_url


@pytest.fixture
def known(place: Town) -> int:
    return place.count("free") + place.count("occupied")


@pytest.fixture
async def map_(browser: Browser, url: str, known: int) -> AsyncIterator[Visit]:
    """The map, when all states have arrived; it may not have complained of anything."""
    async with visit(browser, url) as page:
        await page.settled(known)
        yield page
        assert page.complaints == []


CAMERA = "(({x, y, scale}) => [x, y, scale])(window.fleetSim.map.camera)"


class TestMap:
    async def test_all_stalls_are_drawn_in_the_colour_of_their_state(
        self, map_: Visit, place: Town
    ) -> None:
        assert len(place.spots) >= 5_000
        assert await map_.js("window.fleetSim.store.spots.length") == len(place.spots)
        free = place.count("free")
        await map_.until(says("#list-note", f"{len(place.spots)} stalls, {free} of them free"))
        pixels = await painted(map_)
        assert pixels["free"] > 2 * free
        assert pixels["occupied"] > 2 * place.count("occupied")

    async def test_it_is_dragged_and_zoomed_and_every_frame_is_drawn(self, map_: Visit) -> None:
        x, y, scale = await map_.js(CAMERA)
        await map_.page.mouse.move(400, 400)
        await map_.page.mouse.down()
        await map_.page.mouse.move(300, 430, steps=4)
        await map_.page.mouse.up()
        moved_x, moved_y, same = await map_.js(CAMERA)
        assert same == scale
        assert (moved_x - x) * scale == pytest.approx(100, abs=1)
        assert (moved_y - y) * scale == pytest.approx(30, abs=1)
        await map_.page.mouse.wheel(0, -400)
        assert (await map_.js(CAMERA))[2] > 1.5 * scale
        await map_.page.click("#fit")
        assert await map_.js(CAMERA) == [x, y, scale]

    async def test_frames_of_5_000_stalls(
        self, map_: Visit, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Prints their times; how fast a machine is, is no test."""
        found = await map_.js(
            f"""(async () => {{
                const {{ camera, painter }} = window.fleetSim.map, apart = [];
                const before = painter.frames;
                painter.frameMs.length = 0;
                const frame = () => new Promise(requestAnimationFrame);
                let last = await frame();
                for (let k = 0; k < {MOVES}; k += 1) {{
                    camera.pan(k % 40 < 20 ? 6 : -6, k % 2);
                    camera.zoom(k % 60 < 30 ? 1.02 : 1 / 1.02);
                    window.fleetSim.map.moved();
                    const now = await frame();
                    apart.push(now - last);
                    last = now;
                }}
                await frame();
                const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
                return {{ drawn: painter.frames - before, apart: middle(apart),
                          cpu: middle([...painter.frameMs]) }};
            }})()"""
        )
        line = f"{MOVES} frames, median: {found['apart']:.1f} ms apart, {found['cpu']:.1f} ms CPU"
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")
        assert found["drawn"] >= MOVES - 1  # one may be drawn with the next

    async def test_a_filter_leaves_only_what_is_asked_for(self, map_: Visit, place: Town) -> None:
        await map_.page.check("#only-free")
        await map_.until(says("#list-note", f"{place.count('free')} stalls"))
        pixels = await painted(map_)
        assert pixels["occupied"] == 0 < pixels["free"]
        await map_.page.fill("#confidence", "90")
        await map_.until(
            "!document.querySelector('#list').textContent.match(/free, [1-8]?[0-9] %/)"
        )
        fewer = int((await map_.text("#list-note")).split()[0])
        assert 0 < fewer < place.count("free")

    async def test_a_click_on_a_stall_opens_what_is_known_of_it(
        self, map_: Visit, place: Town
    ) -> None:
        spot = next(spot for spot in place.spots if place.states[spot.id] == "occupied")
        await close_to(map_, spot.id)
        await map_.page.mouse.click(*await map_.at(spot.id))
        assert await map_.text("#details-title") == f"Stall {spot.id}"
        facts = await map_.text("#details-facts")
        assert f"street {spot.street}" in facts
        assert "state occupied" in facts
        await map_.until("document.querySelectorAll('.looks li').length === 1")
        assert "occupied, 88 %, by 1FSMZ91C0T0000001" in await map_.text("#details-history")
        await map_.page.click("#details-close")
        assert await map_.page.is_hidden("#details")

    async def test_what_changes_shows_without_a_reload(self, map_: Visit, place: Town) -> None:
        spot = next(spot for spot in place.spots if place.states[spot.id] == "free")
        await close_to(map_, spot.id)
        await map_.page.mouse.click(*await map_.at(spot.id))
        assert "state free" in await map_.text("#details-facts")
        place.believe(spot.id, "occupied", 0.97)
        try:
            await map_.until(says("#details-facts", "97 %"))
            assert "state occupied" in await map_.text("#details-facts")
        finally:
            place.believe(spot.id, "free", 0.05)

    async def test_an_unchanged_answer_crosses_the_network_as_304(self, map_: Visit) -> None:
        statuses: list[int] = []
        network = await map_.page.context.new_cdp_session(map_.page)
        network.on("Network.responseReceivedExtraInfo", lambda e: statuses.append(e["statusCode"]))
        await network.send("Network.enable")
        drawn = await map_.js("window.fleetSim.map.painter.frames")
        before = await map_.js("window.fleetSim.api.times.length")
        await map_.until(f"window.fleetSim.api.times.length > {before} + 12")
        assert statuses.count(304) >= 6
        # Nothing moved, so nothing but vehicles had to be drawn again.
        assert await map_.js("window.fleetSim.map.painter.frames") - drawn <= 3


async def painted(map_: Visit) -> dict[str, int]:
    """Pixels of the map near the full colour of each state; once a page, or the browser warns."""
    found: dict[str, int] = await map_.js(
        """(() => {
            const { painter, canvas } = window.fleetSim.map;
            const probe = document.createElement("canvas");
            const c = probe.getContext("2d", { willReadFrequently: true });
            const colours = ["free", "occupied"].map((name) => {
                c.fillStyle = painter.colours[name];
                c.fillRect(0, 0, 1, 1);
                return [name, [...c.getImageData(0, 0, 1, 1).data]];
            });
            const { data } = painter.context.getImageData(0, 0, canvas.width, canvas.height);
            const near = ([r, g, b], i) =>
                Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 60;
            return Object.fromEntries(colours.map(([name, colour]) => {
                let count = 0;
                for (let i = 0; i < data.length; i += 4) count += near(colour, i);
                return [name, count];
            }));
        })()"""
    )
    return found


async def close_to(map_: Visit, spot_id: str) -> None:
    await map_.js(
        f"""(() => {{ const {{ map, store }} = window.fleetSim, s = store.byId.get("{spot_id}");
                      map.goTo(s.x, s.y, 4); }})()"""
    )
    await map_.js("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


class TestSearch:
    async def test_near_a_street_free_stalls_come_in_walking_order(
        self, map_: Visit, place: Town
    ) -> None:
        street = place.spots[len(place.spots) // 2].street
        await map_.page.fill("#place", street)
        await map_.page.press("#place", "Enter")
        await map_.until("window.fleetSim.map.scene.found.length === 12")
        note = await map_.text("#near-note")
        assert f"12 free within 500 m of {street}, on foot along the streets" in note
        walks = await map_.js(
            "[...document.querySelectorAll('#list small')].map((n) => parseInt(n.textContent))"
        )
        assert len(walks) == 12
        assert walks == sorted(walks)
        ids = await map_.js("window.fleetSim.map.scene.found.map((spot) => spot.id)")
        assert {place.states[spot_id] for spot_id in ids} == {"free"}
        await map_.page.click("#list-clear")
        assert await map_.text("#list-title") == "Stalls in view"

    async def test_near_a_click(self, map_: Visit) -> None:
        await map_.page.click("#point")
        assert await map_.page.get_attribute("#point", "aria-pressed") == "true"
        await map_.page.mouse.click(450, 420)
        await map_.until("window.fleetSim.map.scene.found.length > 0")
        assert "of the place you clicked" in await map_.text("#near-note")
        assert await map_.page.get_attribute("#point", "aria-pressed") == "false"

    async def test_near_me(self, browser: Browser, url: str, place: Town, known: int) -> None:
        spot = place.spots[0]
        here = {"latitude": spot.lat, "longitude": spot.lon}
        async with visit(browser, url, geolocation=here, permissions=["geolocation"]) as page:
            await page.settled(known)
            await page.page.click("#here")
            await page.until("window.fleetSim.map.scene.found.length > 0")
            assert "of you" in await page.text("#near-note")
            await page.page.context.set_geolocation({"latitude": 52.5, "longitude": 13.4})
            before = await page.js(CAMERA)
            await page.page.click("#here")
            await page.until(says("#near-note", "km away from you"))
            assert await page.js(CAMERA) == before
            await page.page.context.clear_permissions()
            await page.page.click("#here")
            await page.until(says("#near-note", "Your position is not known"))

    async def test_a_street_that_is_not_there_is_said(self, map_: Visit) -> None:
        await map_.page.fill("#place", "Nowhere Lane")
        await map_.page.press("#place", "Enter")
        assert await map_.text("#near-note") == "No street here is called “Nowhere Lane”."


async def no_api(context: BrowserContext, answer: Any) -> None:
    await context.route("**/_aws/execute-api/**", answer)


class TestTrouble:
    async def test_an_api_that_is_down_is_said_with_the_age_and_comes_back_by_itself(
        self, map_: Visit, known: int
    ) -> None:
        async def refuse(route: Route) -> None:
            await route.abort("connectionrefused")

        context = map_.page.context
        assert "API" not in await map_.text("#banner-text")
        await no_api(context, refuse)
        await map_.until(says("#banner-text", "API"))
        assert await map_.page.is_visible("#banner")
        await map_.until("/ old\\.$/.test(document.querySelector('#banner-age').textContent)")
        assert await map_.text("#banner-text") == "The API does not answer: no connection."
        # What was known is still there.
        assert await map_.js("window.fleetSim.store.spots.filter((s) => s.state).length") == known
        await context.unroute_all(behavior="ignoreErrors")
        await map_.until(f"!{says('#banner-text', 'API')}")
        assert (await map_.text("#pulse")).startswith("live, ")
        map_.complaints.clear()  # the browser's own, about each refused connection

    async def test_an_api_that_fails_says_what(self, browser: Browser, url: str) -> None:
        async def fail(route: Route) -> None:
            problem = '{"title": "x", "status": 503, "detail": "a table does not answer"}'
            await route.fulfill(status=503, body=problem, content_type="application/problem+json")

        async with visit(browser, url, before=lambda context: no_api(context, fail)) as page:
            await page.page.wait_for_selector("#banner:visible")
            assert await page.text("#banner") == (
                "The API does not answer: a table does not answer. There is no data yet."
            )
            # The city is drawn all the same.
            assert await page.js("window.fleetSim.store.spots.length") >= 5_000

    async def test_silence_makes_data_stale(self, browser: Browser, url: str, known: int) -> None:
        async def impatient(context: BrowserContext) -> None:
            async def config(route: Route) -> None:
                answer = await route.fetch()
                settings = {**await answer.json(), "stale_s": 2}
                await route.fulfill(response=answer, json=settings)

            await context.route("**/config.json", config)

        async with visit(browser, url, before=impatient) as page:
            await page.settled(known)
            await no_api(page.page.context, lambda _: None)  # never answered
            await page.page.wait_for_selector("#banner:visible")
            assert await page.text("#banner-text") == "The API has not been heard of."


class TestServing:
    async def test_across_origins(self, browser: Browser, url: str, known: int) -> None:
        """As on AWS, where the API is another host."""
        async with visit(browser, url.replace("127.0.0.1", "localhost")) as page:
            assert "//127.0.0.1" in (await page.js("fetch('config.json').then((r) => r.text())"))
            # The policy names the API, so that it may be asked, and nobody else.
            await page.settled(known)
            assert page.complaints == []
            refused = await page.js("fetch('http://127.0.0.2:1/').catch((e) => e.message)")
            assert refused == "Failed to fetch"
            assert "Content Security Policy" in "".join(page.complaints)

    def test_headers(self, url: str) -> None:
        answer = _get(url)
        assert answer.status == 200
        policy = answer.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Permissions-Policy") == "geolocation=(self)"

    def test_the_bucket_itself_is_private(self, place: Town) -> None:
        bucket = place.outputs.site_bucket
        assert _get(f"{place.target.endpoint_url}/{bucket}/index.html").status == 403


def _get(url: str) -> http.client.HTTPResponse:
    where = urlsplit(url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    connection.request("GET", where.path)
    answer = connection.getresponse()
    answer.read()
    return answer
