"""The "AI Factory" page in a real browser, for each role."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from daalu_wire.v1 import agent_pb2
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import PATIENCE_MS, Open
from tests.support.console_world import HOSTS, ROLES, TENANTS, ConsoleWorld

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
expect.set_options(timeout=PATIENCE_MS)


def _live(page: Page) -> None:
    """Until the host was heard and its figures are on the page."""
    expect(page.locator("[data-part=head] .state.good", has_text="live")).to_be_visible()


def test_an_owner_sees_its_card_and_what_is_not_available(signed_in: Open) -> None:
    page = signed_in("owner")
    _live(page)
    expect(page.get_by_role("heading", name=HOSTS["owner"])).to_be_visible()
    expect(page.locator(".badge.role")).to_have_text("owner")
    expect(page.locator("[data-part=head] .simulated")).to_be_visible()
    expect(page.locator("[data-reading=power_watts] .value")).to_have_text("38 W")
    unsupported = page.locator("[data-reading=clock_memory_mhz] .value")
    expect(unsupported).to_have_text("Not available on this card")
    expect(page.get_by_text("vLLM reserves it up front")).to_be_visible()


def test_a_readings_change_comes_to_the_page_by_itself(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    _live(page)
    world.set_reading("owner", temperature_celsius=73)
    expect(page.locator("[data-reading=temperature_celsius] .value")).to_have_text("73 °C", timeout=5_000)


def test_the_page_is_painted_within_a_second(signed_in: Open) -> None:
    page = signed_in("owner")
    _live(page)
    page.reload()
    # Of the card's readings, from the moment at which the page was asked for.
    expect(page.locator("[data-reading=temperature_celsius] .value")).to_contain_text("°C")
    first_ms = page.evaluate(
        """() => new Promise((done) => new PerformanceObserver((seen) => {
            const paint = seen.getEntries().find((each) => each.name === "first-contentful-paint");
            if (paint) done(paint.startTime);
        }).observe({ type: "paint", buffered: true }))"""
    )
    assert first_ms < 1_000


def test_a_deployment_is_followed_by_phase_and_per_cent(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    _live(page)
    engine = world.behaviour("owner").engine
    engine.phase, engine.progress_percent = agent_pb2.ENGINE_PHASE_LOADING, 40
    engine.detail = "loading weights"
    try:
        expect(page.locator("[data-part=engine]")).to_contain_text("loading")
        expect(page.locator("[data-part=engine] progress")).to_have_attribute("value", "40")
        expect(page.locator("[data-part=engine]")).to_contain_text("loading weights")
    finally:
        engine.phase, engine.progress_percent, engine.detail = agent_pb2.ENGINE_PHASE_READY, 0, ""
    expect(page.locator("[data-part=engine]")).to_contain_text("ready")


def test_a_critical_card_says_so_in_a_word_and_with_advice(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    _live(page)
    world.set_reading("owner", temperature_celsius=97)
    try:
        expect(page.locator("[data-part=health] h2")).to_contain_text("critical")
        expect(page.locator("[data-part=health]")).to_contain_text("look at the fans")
    finally:
        world.set_reading("owner", temperature_celsius=61)


def test_a_silent_host_is_stale_and_then_back(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    _live(page)
    world.behaviour("owner").silent = True
    try:
        expect(page.get_by_text("The host is silent")).to_be_visible()
    finally:
        world.behaviour("owner").silent = False
    _live(page)


def test_an_owner_deploys_a_model_that_fits(signed_in: Open, world: ConsoleWorld) -> None:
    page = signed_in("owner")
    _live(page)
    page.get_by_role("button", name="Deploy ").first.click()
    expect(page.locator(".models .badge", has_text="deployed")).to_be_visible()


def test_an_owner_lends_its_card_and_takes_it_back(signed_in: Open) -> None:
    page = signed_in("owner")
    page.get_by_role("button", name="Contribute").click()
    expect(page.locator(".badge.role")).to_have_text("provider")
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator(".badge.role")).to_have_text("owner")


def test_a_consumer_sees_its_quota_and_no_hardware(signed_in: Open) -> None:
    page = signed_in("consumer")
    expect(page.locator(".badge.role")).to_have_text("consumer")
    expect(page.get_by_text("2,000,000 of 2,000,000 tokens left")).to_be_visible()
    expect(page.get_by_text("rate limited: 1")).to_be_visible()
    for word in ("Temperature", "Utilisation", "Power", "simulated"):
        expect(page.get_by_text(word)).to_have_count(0)


def test_a_newcomer_makes_the_line_and_the_page_waits_for_the_host(signed_in: Open) -> None:
    page = signed_in("none")
    expect(page.get_by_text("ask your operator to subscribe")).to_be_visible()
    page.get_by_role("button", name="Make the install line").click()
    expect(page.locator("#line")).to_contain_text("daalu-invite-")
    page.get_by_role("link", name="Follow the connection").click()
    expect(page.get_by_role("heading", name="Waiting for your host")).to_be_visible()


def test_the_page_says_that_it_is_offline_and_goes_on(signed_in: Open) -> None:
    page = signed_in("owner")
    _live(page)
    page.route("**/console/live/**", lambda route: route.abort())
    page.reload()
    expect(page.locator("#offline")).to_be_visible()
    page.unroute("**/console/live/**")
    page.reload()
    expect(page.locator("#offline")).to_be_hidden()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(signed_in: Open, role: str, theme: str) -> None:
    page = signed_in(role, color_scheme=theme)
    # Axe is put into the page by the test, past the policy of the page.
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


@pytest.mark.parametrize("role", ROLES)
def test_on_a_phone_nothing_is_wider_than_the_screen(signed_in: Open, role: str) -> None:
    page = signed_in(role, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("role", ROLES)
def test_nothing_of_another_tenant_is_in_any_answer_or_stream(
    signed_in: Open, world: ConsoleWorld, role: str
) -> None:
    page = signed_in(role)
    bodies: list[str] = []

    def keep(response: Response) -> None:
        if "/console/live/" not in response.url and response.status < 300:
            bodies.append(response.text())

    page.on("response", keep)
    page.reload()
    page.wait_for_function("document.querySelector('#offline').hidden")
    # The stream's first event has every part: read as the page's own script would.
    bodies.append(
        page.evaluate(
            """() => new Promise((done) => {
                const stream = new EventSource(document.querySelector('[data-live]').dataset.live);
                stream.onmessage = (event) => { stream.close(); done(event.data); };
            })"""
        )
    )
    bodies.append(page.content())
    own = TENANTS[role]
    assert any(own in body for body in bodies)
    for other in ROLES:
        if other != role:
            for marker in world.markers_of(other):
                assert not any(marker in body for body in bodies), (marker, role)


@pytest.mark.parametrize("role", ["consumer", "none", "owner"])
def test_a_foreign_agent_is_not_there(signed_in: Open, world: ConsoleWorld, role: str) -> None:
    page = signed_in(role)
    foreign = world.agents["provider"].agent_id
    for path in (f"/console?agent={foreign}", f"/console/live/factory?agent={foreign}"):
        answer = page.request.get(path)
        assert answer.status == 404
        assert HOSTS["provider"] not in answer.text()
