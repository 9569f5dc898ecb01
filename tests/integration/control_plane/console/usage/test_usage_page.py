"""The "Usage & Pricing" page of a control plane that runs, after calls that ran."""

import csv
import io
import re

import httpx2
import pytest

from control_plane.console.usage_tables import TABLES
from control_plane.economy import DAY_MS, day_text, month_bounds
from tests.integration.control_plane.console.usage.conftest import As
from tests.support.console import browser
from tests.support.console_world import HOSTS, ROLES, TENANTS
from tests.support.usage_world import MODEL, PRICE, UsageWorld

PAGE = "/console/usage"


def _figure(page: str, name: str) -> str:
    found = re.search(rf'data-figure="{name}">([^<]+)<', page)
    assert found is not None, page
    return found[1]


def _last_month(client: httpx2.Client, world: UsageWorld) -> str:
    answer = client.get(PAGE, params={"month": world.last_month})
    assert answer.status_code == 200
    return answer.text


def test_a_consumer_sees_what_its_month_cost_by_tier_model_key_and_day(
    signed_in: As, world: UsageWorld
) -> None:
    page = _last_month(signed_in("consumer"), world)
    # 255,000 prompt and 120,000 completion tokens, to the hundredth of a cent and not rounded up.
    assert (
        255_000 * PRICE.input_micro_usd_per_mtok + 120_000 * PRICE.output_micro_usd_per_mtok
        == 110_250_000_000
    )
    assert (_figure(page, "spend"), _figure(page, "calls")) == ("$0.1102", "6")
    for shown in ("255,000", "120,000", "shared pools", MODEL, "program-of-consumer", f"{world.last_month}-"):
        assert shown in page
    assert page.count('class="bar"') == 12
    assert "360,000" not in page
    assert f"375,000 of 2,000,000 tokens used in {world.last_month}" in page


def test_this_month_is_against_its_quota_with_reset_and_projection(signed_in: As, world: UsageWorld) -> None:
    page = signed_in("consumer").get(PAGE).text
    assert re.search(r"1,999,9\d\d of 2,000,000 tokens left", page)
    assert "begins anew <time" in page
    assert "subscribed" in page
    assert "a calendar month" in page


def test_savings_are_against_the_hosted_price_and_not_priced_where_there_is_none(
    signed_in: As, world: UsageWorld
) -> None:
    page = _last_month(signed_in("owner"), world)
    # Twice 90,000 prompt and 30,000 completion tokens: 63,000,000,000 pico-USD.
    assert re.search(rf"{MODEL}</th><td>hosted</td>.*\$0\.0630</td></tr>", page)
    assert re.search(r"in-house-7b</th><td>hosted</td>.*>not priced</td></tr>", page)
    assert _figure(page, "spend") == "$0.0000"


def test_a_provider_sees_what_its_cards_earned_and_what_became_of_it(
    signed_in: As, world: UsageWorld
) -> None:
    page = _last_month(signed_in("provider"), world)
    by_card = page.partition("By card in")[2]
    # 70 % of each charge; its consumer has paid.
    assert re.search(rf"{HOSTS['provider']}</th><td[^>]*>\$0\.0000</td><td[^>]*>\$0\.0771</td>", by_card)
    assert "70 %" in page
    assert TENANTS["consumer"] not in page


def test_what_a_role_is_not_entitled_to_is_not_there_as_a_page_or_a_file(signed_in: As) -> None:
    for role, absent in (("owner", ["Earned by"]), ("consumer", ["Earned by", "Saved by"])):
        page = signed_in(role).get(PAGE).text
        assert [words for words in absent if words in page] == []
    assert signed_in("owner").get(f"{PAGE}/credits.csv").status_code == 404
    assert signed_in("owner").get(f"{PAGE}/savings.csv").status_code == 200
    assert signed_in("consumer").get(f"{PAGE}/savings.csv").status_code == 404


def test_a_newcomer_is_told_what_there_is_and_no_made_up_figure(signed_in: As) -> None:
    page = signed_in("none").get(PAGE).text
    for words in (
        "No settled call",
        "ask your operator for a subscription",
        "No statement",
        "Open to subscribers",
    ):
        assert words in page
    assert "$0.15" in page
    assert "data-figure" not in page


@pytest.mark.parametrize(
    ("role", "name", "path"),
    [
        ("consumer", "spend-by-tier", "/spend?by=tier&"),
        ("owner", "spend-by-model", "/spend?by=model&"),
        ("consumer", "spend-by-key", "/spend?by=key&"),
        ("consumer", "spend-by-day", "/spend?by=day&"),
        ("owner", "savings", "/savings?"),
        ("provider", "served", "/served?"),
        ("provider", "credits", "/credits?"),
        ("consumer", "statements", "/statements?"),
    ],
)
def test_a_file_has_the_rows_that_the_rest_interface_answers(
    signed_in: As, world: UsageWorld, role: str, name: str, path: str
) -> None:
    file = signed_in(role).get(f"{PAGE}/{name}.csv", params={"month": world.last_month})
    assert file.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
    last_day = day_text(month_bounds(world.last_month)[1] // DAY_MS - 1)
    days = f"since={world.last_month}-01&until={last_day}"
    url = f"{world.plane.plain_url}/api/v1{path}tenant={world.tenant_ids[role]}&{days}"
    rows = httpx2.get(url, headers={"authorization": f"Bearer {world.plane.token}"}).json()
    assert rows
    expected = [["" if value is None else str(value) for value in row.values()] for row in rows]
    assert list(csv.reader(io.StringIO(file.text))) == [list(rows[0]), *expected]


@pytest.mark.parametrize("name", TABLES)
def test_a_file_is_for_who_is_signed_in(world: UsageWorld, name: str) -> None:
    with browser(world.plane) as stranger:
        answer = stranger.get(f"{PAGE}/{name}.csv")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")


@pytest.mark.parametrize(
    ("month", "says"),
    [
        ("2026-13", "A month is written like"),
        ("0001-01", "A month is written like"),
        ("9999-12", "has not begun"),
        ("<b>", "&lt;b&gt;"),
    ],
)
def test_what_is_no_month_is_refused_in_words(signed_in: As, month: str, says: str) -> None:
    for path in (PAGE, f"{PAGE}/spend-by-day.csv"):
        answer = signed_in("consumer").get(path, params={"month": month})
        assert answer.status_code == 422
        assert says in answer.text
        assert "<b>" not in answer.text


@pytest.mark.parametrize("role", ROLES)
def test_the_months_to_choose_from_begin_with_the_tenants_first(
    signed_in: As, world: UsageWorld, role: str
) -> None:
    page = signed_in(role).get(PAGE).text
    assert re.search(rf"<option selected>\d{{4}}-\d\d</option><option>{world.last_month}</option>", page)
    before_its_first = signed_in(role).get(PAGE, params={"month": "2001-01"})
    assert "No settled call in 2001-01" in before_its_first.text
