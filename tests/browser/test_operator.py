"""The operator's pages in a real browser."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Open
from tests.support.console_world import HOSTS, ConsoleWorld

PATHS = ("", "/tenants", "/pools", "/plans", "/ledger", "/audit", "/agents/{agent}")


def _path(world: ConsoleWorld, path: str) -> str:
    return "/console/operator" + path.replace("{agent}", world.agents["owner"].agent_id)


def test_the_map_follows_a_host_that_falls_silent(operator: Open, world: ConsoleWorld) -> None:
    page = operator()
    tile = page.get_by_role("link", name=HOSTS["owner"])
    expect(tile).to_contain_text("well", timeout=PATIENCE_MS)
    world.behaviour("owner").silent = True
    try:
        expect(tile).to_contain_text("silent", timeout=PATIENCE_MS)
    finally:
        world.behaviour("owner").silent = False
    expect(tile).to_contain_text("well", timeout=PATIENCE_MS)


def test_a_host_is_drained_and_resumed_from_its_page_by_keyboard(operator: Open, world: ConsoleWorld) -> None:
    page = operator()
    page.get_by_role("link", name=HOSTS["owner"]).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/agents/*")
    page.get_by_role("button", name="Drain").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-part=head] .badge", has_text="drained")).to_be_visible()
    page.get_by_role("button", name="Resume").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Drain")).to_be_visible()


def test_revoking_asks_for_the_name_and_says_that_nothing_was_done(
    operator: Open, world: ConsoleWorld
) -> None:
    page = operator()
    page.goto(_path(world, "/agents/{agent}"))
    page.get_by_text("Revoke…").click()
    page.get_by_label("Type its name").fill("another")
    page.get_by_role("button", name="Revoke atelier-1 for good").click()
    expect(page.get_by_text("Nothing was done")).to_be_visible()


def test_the_ledger_is_checked_from_its_page(operator: Open, world: ConsoleWorld) -> None:
    page = operator()
    page.goto(_path(world, "/ledger"))
    expect(page.get_by_text("Never checked from this page")).to_be_visible()
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("#h-check ~ .note time")).to_be_visible()


def test_times_are_in_the_viewers_zone(operator: Open, world: ConsoleWorld) -> None:
    page = operator(timezone_id="Asia/Tokyo", locale="en-GB")
    page.goto(_path(world, "/audit"))
    time = page.locator("time").first
    shown = page.evaluate(
        """(moment) => new Intl.DateTimeFormat("en-GB",
            { dateStyle: "medium", timeStyle: "short", timeZone: "Asia/Tokyo" }).format(new Date(moment))""",
        time.get_attribute("datetime"),
    )
    expect(time).to_have_text(shown)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(operator: Open, world: ConsoleWorld, theme: str) -> None:
    page = operator(color_scheme=theme)
    for path in PATHS:
        page.goto(_path(world, path))
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(path, each["id"], each["nodes"][0]["html"]) for each in serious] == []


def test_on_a_phone_no_page_is_wider_than_the_screen(operator: Open, world: ConsoleWorld) -> None:
    page = operator(viewport={"width": 360, "height": 740})
    for path in PATHS:
        page.goto(_path(world, path))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
