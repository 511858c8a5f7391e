"""An operator steers a campaign in the browser, with IAM enforced."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser, async_playwright
from site_harness import ARGUMENTS, CHROMIUM, PATIENCE_S, Visit, says, visit
from test_campaigns import Caller, Deployed, call, new_caller

from fleet_sim.cloud import identities
from fleet_sim.contract.campaign_records import AuditLog

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

VINS = [f"1FSMZ91C0T00002{i:02d}" for i in range(3)]
SOMEWHERE = "https://s3.us-east-1.amazonaws.com/none/a.img"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=1e3 * PATIENCE_S
        )
        yield running
        await running.close()


@pytest.fixture(scope="module")
def operator(deployed: Deployed) -> Caller:
    target, outputs = deployed
    return new_caller(target, "site-operator", outputs.operator_policy)


@pytest.fixture(scope="module")
def campaign(deployed: Deployed, operator: Caller, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of one that runs for as long as nobody stops it: its vehicles never come."""
    target, outputs = deployed
    folder: Path = tmp_path_factory.mktemp("identities")
    identities.provision(target, VINS, folder, policy_name=outputs.vehicle_policy)
    image = {"target": "a.img", "image_url": SOMEWHERE, "metadata_url": SOMEWHERE}
    asked = {
        "id": "in-a-browser",
        "firmware": {"version": "1.1.0", "images": {"": image}},
        "vehicles": [{"thing": vin, "version": "1.0.0"} for vin in VINS],
    }
    status, body = call(outputs, operator, "POST", "/campaigns", asked)
    assert status in (201, 202), body
    return "in-a-browser"


async def sign_in(page: Visit, caller: Caller) -> None:
    await page.page.fill("#key", caller.key)
    await page.page.fill("#secret", caller.secret)
    await page.page.click("#sign-in button")


async def test_an_operator_pauses_resumes_and_aborts(
    browser: Browser, deployed: Deployed, operator: Caller, campaign: str
) -> None:
    outputs = deployed[1]
    # Across origins, as on AWS: the signed calls need a preflight, which nobody can sign.
    url = outputs.site_url.replace("127.0.0.1", "localhost") + "#campaigns"
    card = f"section[aria-label='Campaign {campaign}']"
    async with visit(browser, url) as page:
        await sign_in(page, operator)
        await page.page.wait_for_selector(card)
        assert await page.page.is_hidden("#sign-in")
        await page.until(says(f"{card} b", "running"))
        assert "1.1.0 for 3 vehicles" in await page.text(card)
        assert "Wave 1" in await page.text(f"{card} .waves li:first-child")
        for action, state in (("pause", "paused"), ("resume", "running")):
            await page.page.click(f"{card} button:text-is('{action}')")
            assert f"{action} campaign {campaign}?" in await page.text("#confirm-text")
            await page.page.click("#confirm-yes")
            await page.until(says(f"{card} b", state))
        # Asked, and left: nothing happens.
        await page.page.click(f"{card} button:text-is('abort')")
        await page.page.keyboard.press("Escape")
        assert await page.text(f"{card} b") == "running"
        # Left and asked again at once: the answer is the second question's.
        await page.js(
            f"""(() => {{
                const section = document.querySelector("{card}");
                const press = () => [...section.querySelectorAll("button")]
                    .find((button) => button.textContent === "abort").click();
                press();
                document.getElementById("confirm-no").click();
                press();
            }})()"""
        )
        await page.page.click("#confirm-yes")
        await page.until(says(f"{card} b", "abort"))
        assert page.complaints == []
    _, body = call(outputs, operator, "GET", f"/campaigns/{campaign}/audit")
    entries = msgspec.json.decode(body, type=AuditLog).entries
    done = [entry.action for entry in entries if entry.who.endswith("user/site-operator")]
    assert [action for action in done if action != "create"] == ["pause", "resume", "abort"]


async def test_who_may_not_is_told_so_and_can_try_again(
    browser: Browser, deployed: Deployed, operator: Caller
) -> None:
    target, outputs = deployed
    nobody = new_caller(target, f"nobody-{time.monotonic_ns()}", None)
    async with visit(browser, f"{outputs.site_url}#campaigns") as page:
        for wrong in (nobody, operator._replace(secret="not-the-secret")):
            await sign_in(page, wrong)
            await page.until(says("#campaigns-note", "may not see campaigns"))
            assert await page.page.is_visible("#sign-in")
        assert await page.page.input_value("#secret") == ""
        await sign_in(page, operator)
        await page.page.wait_for_selector("#sign-in", state="hidden")
        # The same campaigns as before it was away: the page says so again.
        await page.page.route("**/campaigns", lambda route: route.abort())
        await page.until(says("#campaigns-note", "does not answer"))
        await page.page.unroute("**/campaigns")
        await page.until("!" + says("#campaigns-note", "does not answer"))
