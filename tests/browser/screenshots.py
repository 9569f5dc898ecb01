"""The console's pages as pictures, in both themes. Argument: the directory that they go to."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.console import PASSWORD
from tests.support.console_world import (
    HOSTS,
    ConsoleWorld,
    console_world,
    diagnostic_results,
    email_of,
    put_load_tests,
)
from tests.support.gateway_engine import Exchange, stream_of
from tests.support.machine import CHROMIUM
from tests.support.usage_world import usage_world

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
        for theme in ("light", "dark"):
            _shoot_operator(world, browser, theme, "", folder)
        _shoot_operator(world, browser, "light", "-phone", folder)
        put_load_tests(world, "owner")
        world.engine.script = _greet
        with world.diagnosing("owner", diagnostic_results()) as go_on:
            go_on()
            for theme in ("light", "dark"):
                _shoot_others(world, browser, theme, "", folder)
            _shoot_others(world, browser, "light", "-phone", folder)
        browser.close()
    usage(folder)


def usage(folder: Path) -> None:
    """Of the pages that show what was used: after calls that ran, of the month before."""
    with (
        tempfile.TemporaryDirectory() as directory,
        usage_world(Path(directory)) as world,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        months = {
            "owner": world.last_month,
            "provider": world.last_month,
            "consumer": world.last_month,
            "none": "",
        }
        shots = [(f"usage-{role}", role, f"/console/usage?month={month}") for role, month in months.items()]
        shots += [
            ("calls", "consumer", "/console/calls"),
            ("call", "consumer", f"/console/calls/{world.calls['consumer'][0]}"),
        ]
        for name, role, path in shots:
            for theme, size in (("light", ""), ("dark", ""), ("light", "-phone")):
                if size and role != "consumer":
                    continue
                page = _signed_in(world.url, browser, role, theme, size)
                page.goto(path)
                page.screenshot(path=folder / f"{name}-{theme}{size}.png", full_page=True)
                page.context.close()
        browser.close()


async def _greet(exchange: Exchange) -> None:
    await exchange.stream(stream_of("Hello", ", or: good day,", " in most places."))


def _shoot(world: ConsoleWorld, browser: Browser, role: str, theme: str, size: str, folder: Path) -> None:
    page = _signed_in(world.url, browser, role, theme, size)
    if role in ("owner", "provider"):
        expect(page.locator("[data-part=head] .state.good", has_text="live")).to_be_visible(timeout=60_000)
        expect(page.locator("[data-part=trends] path").first).to_be_attached()
    page.screenshot(path=folder / f"factory-{role}-{theme}{size}.png")
    page.context.close()


def _shoot_others(world: ConsoleWorld, browser: Browser, theme: str, size: str, folder: Path) -> None:
    """The owner's other pages, each in use."""
    page = _signed_in(world.url, browser, "owner", theme, size)
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


def _signed_in(url: str, browser: Browser, role: str, theme: str, size: str) -> Page:
    context = _context(url, browser, theme, size)
    page = context.new_page()
    page.goto("/console/sign-in")
    page.get_by_label("E-mail").fill(email_of(role))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
    return page


def _context(url: str, browser: Browser, theme: str, size: str) -> BrowserContext:
    width, height = SIZES[size]
    return browser.new_context(
        base_url=url,
        ignore_https_errors=True,
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": height},
    )


def _shoot_operator(world: ConsoleWorld, browser: Browser, theme: str, size: str, folder: Path) -> None:
    context = _context(world.url, browser, theme, size)
    page = context.new_page()
    page.goto("/console/sign-in/operator")
    page.get_by_label("Operator's token").fill(world.plane.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console/operator")
    expect(page.locator(".hosts .state.good")).to_have_count(len(HOSTS), timeout=60_000)
    page.screenshot(path=folder / f"operator-fleet-{theme}{size}.png")
    agent = f"agents/{world.agents['owner'].agent_id}"
    pages = [] if size else ["tenants", "pools", "plans", "ledger", "audit"]
    for path in [agent, *pages]:
        page.goto(f"/console/operator/{path}")
        name = "agent" if path == agent else path
        page.screenshot(path=folder / f"operator-{name}-{theme}{size}.png", full_page=path == agent)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
