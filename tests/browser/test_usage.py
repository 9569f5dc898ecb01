"""The "Usage & Pricing" and "Calls" pages in a real browser, for each role."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Open
from tests.support.console_world import HOSTS, ROLES
from tests.support.usage_world import UsageWorld, usage_world

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsageWorld]:
    """In place of the world that other pages are tested in: one in which calls were served."""
    with usage_world(tmp_path_factory.mktemp("usage")) as world:
        yield world


def _to_usage(page: Page, world: UsageWorld) -> None:
    """As a person gets there, to the month before this."""
    page.get_by_role("link", name="Usage & Pricing").click()
    page.get_by_label("Month (UTC)").select_option(world.last_month)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name=f"Spend and tokens in {world.last_month}")).to_be_visible()


def test_a_consumer_sees_what_its_month_cost_and_takes_the_table_along(
    signed_in: Open, world: UsageWorld
) -> None:
    page = signed_in("consumer")
    _to_usage(page, world)
    expect(page.locator("[data-figure=spend]")).to_have_text("$0.1102")
    expect(page.get_by_role("img", name="Spend by day")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="By model as CSV").click()
    assert download.value.suggested_filename == "spend-by-model.csv"
    saved = Path(download.value.path()).read_text()
    assert saved.splitlines()[1].endswith(",6,255000,0,120000,110250000000,0")


def test_an_owner_sees_what_its_card_saved_and_what_is_not_priced(signed_in: Open, world: UsageWorld) -> None:
    page = signed_in("owner")
    _to_usage(page, world)
    savings = page.get_by_role("region", name="Savings", exact=True)
    expect(savings).to_contain_text("$0.0630")
    expect(savings).to_contain_text("not priced")


def test_a_provider_sees_its_statements(signed_in: Open, world: UsageWorld) -> None:
    page = signed_in("provider")
    _to_usage(page, world)
    expect(page.get_by_role("region", name="Credit by month")).to_contain_text(world.last_month)
    expect(page.get_by_role("region", name="Credit by card")).to_contain_text(HOSTS["provider"])


def test_a_newcomer_sees_prices_and_no_made_up_figure(signed_in: Open) -> None:
    page = signed_in("none")
    page.get_by_role("link", name="Usage & Pricing").click()
    expect(page.get_by_text("No settled call")).to_be_visible()
    expect(page.get_by_role("region", name="Prices of hosted")).to_contain_text("$0.15")


def test_a_consumer_searches_its_calls_and_reads_why_one_went_where_it_did(
    signed_in: Open, world: UsageWorld
) -> None:
    page = signed_in("consumer")
    page.get_by_role("link", name="Calls", exact=True).click()
    page.get_by_label("Outcome").select_option("refused")
    page.get_by_label("Model").fill("no-such-model")
    # By the keyboard alone.
    page.get_by_label("Model").press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    call_id = world.calls["consumer"][0]
    page.get_by_role("link", name=call_id).click()
    expect(page.get_by_role("heading", name="Why did it go there?")).to_be_visible()
    expect(page.get_by_text("a card of pool community").first).to_be_visible()
    expect(page.get_by_role("region", name="Each attempt")).to_contain_text("$0.15 in, $0.60 out")


def test_an_owner_reads_that_its_own_card_served_a_call(signed_in: Open, world: UsageWorld) -> None:
    page = signed_in("owner")
    page.goto(f"/console/calls/{world.calls['owner'][0]}")
    expect(page.get_by_text("nothing is charged")).to_be_visible()
    expect(page.get_by_role("region", name="Each attempt")).to_contain_text(HOSTS["owner"])


def test_times_are_in_the_viewers_zone(signed_in: Open, world: UsageWorld) -> None:
    shown = []
    for zone in ("Pacific/Honolulu", "Asia/Tokyo"):
        page = signed_in("owner", timezone_id=zone)
        page.goto(f"/console/calls/{world.calls['owner'][0]}")
        expect(page.locator("h1 + p time")).not_to_contain_text("UTC")
        shown.append(page.locator("h1 + p time").inner_text())
    assert shown[0] != shown[1]


def _paths(world: UsageWorld, role: str) -> list[str]:
    return [
        f"/console/usage?month={world.last_month}",
        "/console/usage",
        "/console/calls",
        "/console/calls?id=nothing",
        f"/console/calls/{world.calls[role][0]}",
        f"/console/calls/{world.calls[role][-1]}",
    ]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(signed_in: Open, world: UsageWorld, role: str, theme: str) -> None:
    page = signed_in(role, color_scheme=theme)
    for path in _paths(world, role):
        page.goto(path)
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(path, each["id"], each["nodes"][0]["html"]) for each in serious] == []


@pytest.mark.parametrize("role", ROLES)
def test_on_a_phone_nothing_is_wider_than_the_screen(signed_in: Open, world: UsageWorld, role: str) -> None:
    page = signed_in(role, viewport={"width": 360, "height": 740})
    for path in _paths(world, role):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
