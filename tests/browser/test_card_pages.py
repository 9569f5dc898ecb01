"""Diagnostics, load tests, drain and pause in a real browser."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Open
from tests.support.console_world import HOSTS, ConsoleWorld, diagnostic_results, put_load_tests

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)


def _live(page: Page) -> None:
    expect(page.locator("[data-part=head] .state.good", has_text="live")).to_be_visible()


def _open(page: Page, name: str) -> None:
    _live(page)
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


def test_an_admin_drains_a_card_and_ends_that(signed_in: Open) -> None:
    page = signed_in("owner")
    _live(page)
    page.get_by_role("button", name="Drain").click()
    expect(page.locator("[data-part=halts]")).to_contain_text("it takes no new calls, since")
    expect(page.locator("[data-part=halts]")).to_contain_text("as ada@owner.test asked")
    page.get_by_role("button", name="Take calls again").click()
    expect(page.locator("[data-part=halts]")).to_be_empty()


def test_a_provider_pauses_its_work_for_pools(signed_in: Open) -> None:
    page = signed_in("provider")
    _live(page)
    page.get_by_role("button", name="Pause work for pools").click()
    expect(page.locator("[data-part=halts]")).to_contain_text("Paused for pools")
    page.get_by_role("button", name="Serve pools again").click()
    expect(page.locator("[data-part=halts]")).to_be_empty()


def test_a_look_over_the_host_is_followed_live_and_kept(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    with world.diagnosing("owner", diagnostic_results()) as go_on:
        _open(page, "Diagnostics")
        page.get_by_role("button", name="Look it over now").click()
        # The first check has ended, the host is held before the next.
        expect(page.locator(".checks > li")).to_have_count(1)
        expect(page.locator("[data-part=runs]")).to_contain_text("under way")
        go_on()
        expect(page.locator(".run").first.locator("h2")).to_contain_text("failed")
    expect(page.locator(".run").first.locator(".checks > li")).to_have_count(len(diagnostic_results()))
    expect(page.locator("[data-part=runs]")).to_contain_text("Do this: free space")
    expect(page.locator("[data-part=runs]")).to_contain_text("asked by ada@owner.test")
    page.get_by_text("Evidence").last.click()
    expect(page.get_by_text("4 GiB of 500 GiB")).to_be_visible()


def test_a_load_tests_curve_has_its_knee_and_the_test_before(signed_in: Open, world: ConsoleWorld) -> None:
    put_load_tests(world, "owner")
    page = signed_in("owner")
    _open(page, "Load tests")
    expect(page.locator("svg.curve .knee")).to_have_count(1)
    expect(page.locator("svg.curve .before")).to_have_count(1)
    expect(page.get_by_text("The knee is at 4 calls at once")).to_be_visible()
    expect(page.get_by_role("cell", name="110 %").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Steps as CSV").click()
    assert download.value.path().read_text().startswith("concurrency,completed,failed")


def test_a_load_test_that_may_not_be_is_refused_in_words(signed_in: Open) -> None:
    page = signed_in("provider")
    _open(page, "Load tests")
    expect(page.get_by_text("not tested yet")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("no load client is set up")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["Diagnostics", "Load tests"])
def test_axe_finds_nothing_serious_on_a_phone(
    signed_in: Open, world: ConsoleWorld, name: str, theme: str
) -> None:
    put_load_tests(world, "owner")
    page = signed_in("owner", color_scheme=theme, viewport={"width": 360, "height": 740})
    _open(page, name)
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_live_parts_of_another_tenants_card_are_not_there(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    foreign = world.agents["provider"].agent_id
    for path in (
        f"/console/cards/{foreign}/diagnostics",
        f"/console/cards/{foreign}/load-tests",
        f"/console/live/cards/{foreign}/diagnostics",
        f"/console/live/cards/{foreign}/load-tests",
    ):
        answer = page.request.get(path)
        assert answer.status == 404
        assert HOSTS["provider"] not in answer.text()
