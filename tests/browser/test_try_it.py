"""The page "Try it" in a real browser, against an engine that does as it is told."""

import asyncio

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Open
from tests.support.console_world import SERVED_NAME, ConsoleWorld
from tests.support.gateway_engine import Exchange, chunk, well_behaved

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)

SECRET = "the zinc walrus hums"


def _open(page: Page) -> None:
    page.get_by_role("link", name="Try it").click()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def _ask(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_an_answer_comes_with_where_it_was_served_and_what_it_took(
    signed_in: Open, world: ConsoleWorld
) -> None:
    page = signed_in("provider")
    _open(page)
    _ask(page, SECRET)
    expect(page.locator(".said.assistant .text")).to_have_text("Hello wörld 🌍")
    figures = page.locator(".said.assistant .figures")
    for words in ("own", SERVED_NAME, "11 in, 4 out", "free, on your own card", "ms"):
        expect(figures).to_contain_text(words)
    link = page.get_by_role("link", name="Why did this go there?")
    assert (link.get_attribute("href") or "").startswith("/console/calls/call-")
    # The engine got what was asked; no file of the control plane did.
    assert SECRET in world.engine.asked[-1].body.decode()
    for path in world.plane.data.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_conversation_goes_on_and_begins_anew(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("provider")
    _open(page)
    for number, question in enumerate(("first", "second"), 1):
        _ask(page, question)
        expect(page.locator(".said.assistant .figures")).to_have_count(number)
    messages = [each["content"] for each in world.engine.asked[-1].json["messages"]]
    assert messages == ["first", "Hello wörld 🌍", "second"]
    page.get_by_role("button", name="Begin anew").click()
    expect(page.get_by_text("Nothing said yet.")).to_be_visible()


def test_stop_cancels_the_engines_work(signed_in: Open, world: ConsoleWorld) -> None:
    hung_up: list[bool] = []

    async def without_end(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(chunk("", role="assistant"))
        await exchange.piece(chunk("Once upon a time", done=1))
        async with asyncio.timeout(PATIENCE_MS / 1000):
            await exchange.hung_up.wait()
        hung_up.append(True)

    page = signed_in("provider")
    _open(page)
    world.engine.script = without_end
    try:
        _ask(page, "Tell me everything")
        expect(page.locator(".said.assistant .text")).to_have_text("Once upon a time")
        assert hung_up == []
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".said.assistant .figures")).to_contain_text("stopped by you")
        assert hung_up == [True]
    finally:
        world.engine.script = well_behaved
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_a_card_that_cannot_answer_is_told_in_words(signed_in: Open, world: ConsoleWorld) -> None:
    async def out_of_order(exchange: Exchange) -> None:
        await exchange.send_json({"error": {"message": "out of order"}}, 500)

    page = signed_in("provider")
    _open(page)
    world.engine.script = out_of_order
    try:
        _ask(page, "Anybody there?")
        expect(page.locator(".said.assistant .error")).to_contain_text("no card could answer")
        expect(page.locator(".said.assistant .figures")).to_contain_text("failed")
    finally:
        world.engine.script = well_behaved


def test_an_answer_that_breaks_off_says_so(signed_in: Open, world: ConsoleWorld) -> None:
    async def breaks_off(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(chunk("", role="assistant"))
        await exchange.piece(chunk("Half a", done=1))
        exchange.break_off()

    page = signed_in("provider")
    _open(page)
    world.engine.script = breaks_off
    try:
        _ask(page, "Go on")
        expect(page.locator(".said.assistant .error")).to_contain_text("broke off")
        expect(page.locator(".said.assistant .text")).to_have_text("Half a")
    finally:
        world.engine.script = well_behaved


def test_without_a_connection_it_says_so(signed_in: Open) -> None:
    page = signed_in("provider")
    _open(page)
    page.route("**/console/try", lambda route: route.abort())
    _ask(page, "Hello?")
    expect(page.locator(".said.assistant .error")).to_have_text("No connection to the control plane.")


def test_where_nothing_serves_it_says_what_to_do(signed_in: Open) -> None:
    page = signed_in("none")
    page.get_by_role("link", name="Try it").click()
    expect(page.get_by_text("Nothing that you may use serves a model now")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(signed_in: Open, theme: str) -> None:
    page = signed_in("provider", color_scheme=theme, viewport={"width": 360, "height": 740})
    _open(page)
    _ask(page, "Hello")
    expect(page.locator(".said.assistant .figures")).to_be_visible()
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
