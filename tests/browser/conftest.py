"""Debian's chromium against a control plane that runs."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.console import PASSWORD
from tests.support.console_world import ConsoleWorld, console_world, email_of
from tests.support.machine import CHROMIUM

# A loaded machine of two cores.
PATIENCE_MS = 45_000

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    with console_world(tmp_path_factory.mktemp("console")) as world:
        yield world


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """No longer than a module: while it lives, its event loop runs here, and no test of asyncio's can."""
    with sync_playwright() as playwright:
        # Root has no sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(world: ConsoleWorld, chromium: Browser) -> Iterator[Open]:
    """Opens an empty page of a browser that nobody is signed in with; an error in it fails the test."""
    errors: list[str] = []
    contexts = []

    def open_page(**options: object) -> Page:
        context = chromium.new_context(
            base_url=world.url,
            ignore_https_errors=True,
            **options,  # type: ignore[arg-type]
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if "Content Security" in message.text else None,
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def signed_in(new_page: Open) -> Open:
    """Opens the console as the admin of the tenant of a role."""

    def open_as(role: str, **options: object) -> Page:
        page = new_page(**options)
        page.goto("/console/sign-in")
        page.get_by_label("E-mail").fill(email_of(role))
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/console")
        return page

    return open_as


@pytest.fixture
def operator(new_page: Open, world: ConsoleWorld) -> Open:
    """Opens the console as the operator."""

    def open_it(**options: object) -> Page:
        page = new_page(**options)
        page.goto("/console/sign-in/operator")
        page.get_by_label("Operator's token").fill(world.plane.token)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/console/operator")
        return page

    return open_it
