"""The console's pages as pictures, in both themes. Argument: the directory that they go to."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.console import PASSWORD
from tests.support.console_world import (
    ConsoleWorld,
    console_world,
    diagnostic_results,
    email_of,
    put_load_tests,
)
from tests.support.gateway_engine import Exchange, stream_of
from tests.support.machine import CHROMIUM

SIZES = {"": (1100, 1000), "-phone": (390, 844)}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        console_world(Path(directory)) as world,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for role in ("owner", "provider", "consumer", "none"):
            for theme in ("light", "dark"):
                _shoot(world, browser, role, theme, "", folder)
        _shoot(world, browser, "owner", "light", "-phone", folder)
        put_load_tests(world, "owner")
        world.engine.script = _greet
        with world.diagnosing("owner", diagnostic_results()) as go_on:
            go_on()
            for theme in ("light", "dark"):
                _shoot_others(world, browser, theme, "", folder)
            _shoot_others(world, browser, "light", "-phone", folder)
        browser.close()


async def _greet(exchange: Exchange) -> None:
    await exchange.stream(stream_of("Hello", ", or: good day,", " in most places."))


def _shoot(world: ConsoleWorld, browser: Browser, role: str, theme: str, size: str, folder: Path) -> None:
    page = _signed_in(world, browser, role, theme, size)
    if role in ("owner", "provider"):
        expect(page.locator("[data-part=head] .state.good", has_text="live")).to_be_visible(timeout=60_000)
        expect(page.locator("[data-part=trends] path").first).to_be_attached()
    page.screenshot(path=folder / f"factory-{role}-{theme}{size}.png")
    page.context.close()


def _shoot_others(world: ConsoleWorld, browser: Browser, theme: str, size: str, folder: Path) -> None:
    """The owner's other pages, each in use."""
    page = _signed_in(world, browser, "owner", theme, size)
    card = f"/console/cards/{world.agents['owner'].agent_id}"
    page.goto(f"{card}/diagnostics")
    page.get_by_role("button", name="Look it over now").click()
    expect(page.locator(".run").first.locator("h2")).to_contain_text("failed")
    page.screenshot(path=folder / f"diagnostics-{theme}{size}.png")
    page.goto(f"{card}/load-tests")
    expect(page.locator("svg.curve")).to_be_visible()
    page.screenshot(path=folder / f"load-tests-{theme}{size}.png", full_page=True)
    page.goto("/console/try")
    page.get_by_label("Message").fill("How do you say hello?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".said.assistant .figures")).to_be_visible()
    page.screenshot(path=folder / f"try-{theme}{size}.png")
    page.context.close()


def _signed_in(world: ConsoleWorld, browser: Browser, role: str, theme: str, size: str) -> Page:
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=world.url,
        ignore_https_errors=True,
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": height},
    )
    page = context.new_page()
    page.goto("/console/sign-in")
    page.get_by_label("E-mail").fill(email_of(role))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]))
