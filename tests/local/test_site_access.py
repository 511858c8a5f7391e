"""The site with keys, a screen reader, a phone, in the dark."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from axe_playwright_python.async_playwright import Axe
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from playwright.async_api import Browser, BrowserContext, Route, async_playwright
from site_harness import ARGUMENTS, CHROMIUM, PATIENCE_S, Town, Visit, says, town, visit

from fleet_sim.cloud import deploy, stacks
from fleet_sim.cloud.target import Target
from fleet_sim.contract import FleetSummary
from fleet_sim.contract.trends import (
    ALL_STREETS,
    HOURS_A_WEEK,
    HourTrend,
    StreetTrend,
    TrendIndex,
    trend_item,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PAGES = ("map", "fleet", "trends", "campaigns")
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


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
    return town(*deployed, (4, 3), vehicles=12)


@pytest.fixture
def known(place: Town) -> int:
    return place.count("free") + place.count("occupied")


async def focused(page: Visit) -> str:
    found: str = await page.js("document.activeElement.id || document.activeElement.textContent")
    return found


async def test_with_keys_alone(browser: Browser, place: Town, known: int) -> None:
    async with visit(browser, place.outputs.site_url) as page:
        await page.settled(known)
        keyboard = page.page.keyboard
        await keyboard.press("Tab")
        assert await focused(page) == "skip"
        await keyboard.press("Enter")
        assert await focused(page) == "content"
        await keyboard.press("Tab")
        assert await focused(page) == "canvas"
        assert await page.js("window.fleetSim.map.scene.crosshair")
        before = await page.js("window.fleetSim.map.camera.x")
        await keyboard.press("ArrowRight")
        assert await page.js("window.fleetSim.map.camera.x") > before
        for _ in range(4):
            await keyboard.press("+")
        zoomed = await page.js("window.fleetSim.map.camera.scale")
        await keyboard.press("-")
        assert await page.js("window.fleetSim.map.camera.scale") < zoomed
        await page.js("(({map, store}) => map.goTo(store.spots[9].x, store.spots[9].y))(fleetSim)")
        await keyboard.press("Enter")
        assert await focused(page) == "details"
        assert await page.text("#details-title") == f"Stall {place.spots[9].id}"
        await keyboard.press("Escape")
        assert await focused(page) == "canvas"
        await keyboard.press("0")
        await page.page.focus("#list button")
        await keyboard.press("Enter")
        assert await focused(page) == "details"
        chosen = await page.js("window.fleetSim.map.scene.selected.id")
        assert await page.text("#details-title") == f"Stall {chosen}"


async def test_a_list_says_the_same_as_the_map(browser: Browser, place: Town, known: int) -> None:
    async with visit(browser, place.outputs.site_url) as page:
        await page.settled(known)
        await page.until(
            "document.querySelector('#list button')?.getAttribute('aria-label').includes('free')"
        )
        labels = await page.js(
            "[...document.querySelectorAll('#list button')].map((b) => b.ariaLabel)"
        )
        for label in labels:
            street, state = label.split(", ")[:2]
            assert state == "free"
            assert any(street.startswith(spot.street) for spot in place.spots)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(browser: Browser, place: Town, known: int, scheme: str) -> None:
    """axe-core's rules: landmarks, names, roles, contrast. On all pages, with details open."""
    async with visit(browser, place.outputs.site_url, color_scheme=scheme) as page:
        await page.settled(known)
        await page.js("window.fleetSim.map.select(window.fleetSim.store.spots[3])")
        # Asked for by the tests alone: the policy of the page forbids scripts from elsewhere.
        found = {}
        for name in PAGES:
            await page.js(f"location.hash = '{name}'")
            await page.page.wait_for_selector(f"#page-{name}:visible")
            await page.page.wait_for_timeout(700)
            results = await Axe().run(page.page)
            found[name] = [
                f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in results.response["violations"]
            ]
        assert found == {name: [] for name in PAGES}


async def test_axe_finds_nothing_while_the_api_is_away(
    browser: Browser, place: Town, known: int
) -> None:
    async def refuse(route: Route) -> None:
        await route.abort("connectionrefused")

    async with visit(browser, place.outputs.site_url) as page:
        await page.settled(known)
        await page.page.context.route("**/_aws/execute-api/**", refuse)
        await page.page.wait_for_selector("#banner:visible")
        results = await Axe().run(page.page)
        assert [found["id"] for found in results.response["violations"]] == []
        await page.page.context.unroute_all(behavior="ignoreErrors")


async def test_dark_and_light_follow_the_system_or_the_button(
    browser: Browser, place: Town
) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    drawn = "window.fleetSim.map.painter.colours.land"
    async with visit(browser, place.outputs.site_url, color_scheme="light") as page:
        await page.until("window.fleetSim")
        light, land = await page.js(colour), await page.js(drawn)
        await page.page.emulate_media(color_scheme="dark")
        await page.until(f"{colour} !== '{light}'")
        await page.until(f"{drawn} !== '{land}'")
        button = page.page.locator("#theme")
        await button.click()
        assert await button.inner_text() == "Theme: light"
        await page.until(f"{colour} === '{light}'")
        await page.until(f"{drawn} === '{land}'")
        await page.page.reload()
        await page.until("window.fleetSim")
        assert await page.js(colour) == light  # it remembers


async def test_on_a_phone(browser: Browser, place: Town, known: int) -> None:
    async with visit(browser, place.outputs.site_url, **PHONE) as page:
        await page.settled(known)
        for name in PAGES:
            await page.js(f"location.hash = '{name}'")
            await page.page.wait_for_selector(f"#page-{name}:visible")
            assert await page.js("document.documentElement.scrollWidth") <= 390, name
        await page.js("location.hash = 'map'")
        await page.until("window.fleetSim.map.canvas.clientWidth === 390")
        spot = place.spots[len(place.spots) // 2]
        await page.js(
            f"(({{map, store}}) => {{ const s = store.byId.get('{spot.id}');"
            "map.goTo(s.x, s.y, 4); })(fleetSim)"
        )
        await page.page.touchscreen.tap(*await page.at(spot.id))
        await page.page.wait_for_selector("#details:visible")
        assert await page.text("#details-title") == f"Stall {spot.id}"
        await page.js("scrollTo(0, 0)")  # the details were scrolled to
        before = await page.js("window.fleetSim.map.camera.scale")
        touches = await page.page.context.new_cdp_session(page.page)
        for apart in (40, 60, 80):
            fingers = [{"x": 195 - apart, "y": 300, "id": 0}, {"x": 195 + apart, "y": 300, "id": 1}]
            kind = "touchStart" if apart == 40 else "touchMove"
            await touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        await touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await page.until(f"window.fleetSim.map.camera.scale > 1.9 * {before}")  # pinched
        small = await page.js(
            "[...document.querySelectorAll('button, nav a')].filter((b) => b.offsetHeight"
            " && (b.offsetHeight < 24 || b.offsetWidth < 24)).map((b) => b.outerHTML)"
        )
        assert small == []  # WCAG 2.2, target size


def counted(online: int) -> Callable[[BrowserContext], Awaitable[None]]:
    """The API says so many of 12 vehicles are online: the processor counts, and there was none."""
    told = FleetSummary(12, online, 4, 4, 4, 0.66, 100, 60, 30, 10, int(time.time() * 1e3))

    async def route(context: BrowserContext) -> None:
        async def answer(asked: Route) -> None:
            await asked.fulfill(body=msgspec.json.encode(told), content_type="application/json")

        await context.route("**/fleet/summary", answer)

    return route


async def test_the_fleet_s_page(browser: Browser, place: Town) -> None:
    url = f"{place.outputs.site_url}#fleet"
    async with visit(browser, url, before=counted(online=11)) as page:
        await page.until("document.querySelectorAll('#vehicles tbody tr').length === 12")
        await page.until(says("#tiles", "11 of 12"))
        tiles = await page.text("#tiles")
        assert "Driving 4" in tiles
        assert "Data points 108" in tiles  # 9 each
        assert "Stream to table, p95 60 ms" in tiles
        await page.page.fill("#vehicle-find", "0000007")
        await page.until("document.querySelectorAll('#vehicles tbody tr').length === 1")
        assert "1FSMZ91C0T0000007" in await page.text("#vehicles tbody")
        assert page.complaints == []


async def test_trends_of_all_streets_and_of_one(
    browser: Browser, deployed: tuple[Target, deploy.StackOutputs], place: Town
) -> None:
    target, outputs = deployed
    street = place.spots[0].street
    hours = [HourTrend(10, 0.25 if hour % 24 < 8 else None) for hour in range(HOURS_A_WEEK)]
    one = [HourTrend(4, 0.75)] * HOURS_A_WEEK
    index = TrendIndex("c", "Europe/Berlin", [street], 560, 1_780_000_000_000, None, 0, hours)
    items = trend_item(ALL_STREETS, index), trend_item(street, StreetTrend(street, "UTC", one))
    dynamodb = target.client("dynamodb")
    table = stacks.outputs(target, deploy.stack_name(target, "trends"))["TrendsTable"]
    # Ten minutes past the hour it would clear the table of what no archive speaks of.
    function = target.client("lambda").get_function_configuration(
        FunctionName=outputs.trends_function
    )
    events = target.client("events")
    [hourly] = events.list_rule_names_by_target(TargetArn=function["FunctionArn"])["RuleNames"]
    events.disable_rule(Name=hourly)
    for made in items:
        dynamodb.put_item(TableName=table, Item=made)
    try:
        async with visit(browser, f"{outputs.site_url}#trends") as page:
            await page.page.wait_for_selector(".heat")
            rows = await page.js(
                "[...document.querySelectorAll('.heat tbody tr')].map((tr) => tr.innerText)"
            )
            assert len(rows) == 7
            assert rows[0].split("\t") == ["Monday", *["25"] * 8, *[""] * 16]
            assert "Europe/Berlin" in await page.text(".heat caption")
            await page.page.select_option("#trend-street", street)
            await page.until(says("#trends", "75 % taken on average"))
            assert (await Axe().run(page.page)).violations_count == 0
            assert page.complaints == []
    finally:
        events.enable_rule(Name=hourly)
        for made in items:
            dynamodb.delete_item(TableName=table, Key={"street": made["street"]})


async def test_a_page_without_data_says_so(browser: Browser, place: Town) -> None:
    async with visit(browser, f"{place.outputs.site_url}#trends") as page:
        await page.until(says("#trends", "trends"))
        await page.js("location.hash = 'campaigns'")
        await page.page.wait_for_selector("#sign-in:visible")
        assert "API" not in await page.text("#banner-text")


@pytest.mark.parametrize(
    ("method", "path", "token"),
    [
        ("GET", "/campaigns", ""),
        ("POST", "/campaigns/a-1/pause", "a/token+with=signs"),
        ("GET", "/_aws/execute-api/x/campaigns/a%20b/vehicles?next=a%2Fb%3D&limit=5", ""),
    ],
)
async def test_requests_are_signed_as_botocore_signs_them(
    browser: Browser, place: Town, method: str, path: str, token: str
) -> None:
    url = f"https://abc.execute-api.eu-west-1.amazonaws.com{path}"
    keys = {"key": "AKIDEXAMPLE", "secret": "wJalr/XUtnFEMI+K7MDENG", "token": token}
    async with visit(browser, place.outputs.site_url) as page:
        found = await page.js(
            f"""(async () => {{
                const at = document.querySelector("script").src.replace("main.js", "sigv4.js");
                const {{ signed }} = await import(at);
                return signed({json.dumps(keys)}, "eu-west-1", "{method}", "{url}");
            }})()"""
        )
    request = AWSRequest(method, url, data=b"")
    request.context["timestamp"] = found["x-amz-date"]
    signer = SigV4Auth(
        Credentials(keys["key"], keys["secret"], token or None), "execute-api", "eu-west-1"
    )
    request.headers["X-Amz-Date"] = found["x-amz-date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert found["Authorization"].endswith(f"Signature={signer.signature(text, request)}")


async def test_another_city_is_drawn_without_a_reload(
    browser: Browser, deployed: tuple[Target, deploy.StackOutputs], place: Town, known: int
) -> None:
    """The last test here: the town that the others know is gone afterwards."""
    async with visit(browser, place.outputs.site_url) as page:
        await page.settled(known)
        other = town(*deployed, (5, 2), vehicles=0)
        assert len(other.spots) != len(place.spots)
        await page.settled(other.count("free") + other.count("occupied"))
        assert await page.js("window.fleetSim.store.spots.length") == len(other.spots)
        assert page.complaints == []


async def test_a_fleet_that_fell_silent_is_said(browser: Browser, place: Town) -> None:
    async with visit(browser, place.outputs.site_url, before=counted(online=0)) as page:
        await page.until(says("#banner-text", "No vehicle has reported"))
        assert await page.text("#banner-age") == ""
