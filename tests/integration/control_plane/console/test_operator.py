"""The operator's pages on a control plane that runs, with agents that it hears."""

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx2
import pytest

from control_plane.config import DataDirectory
from tests.integration.control_plane.console.conftest import ADMIN
from tests.support.console import browser, form_token, run, sign_in
from tests.support.console_world import CARDS, HOSTS, TENANTS, ConsoleWorld
from tests.support.control_plane import ControlPlane

PATHS = (
    "/console/operator",
    "/console/operator/tenants",
    "/console/operator/pools",
    "/console/operator/plans",
    "/console/operator/ledger",
    "/console/operator/audit",
)
WITHIN_S = 30.0


@pytest.fixture
def operator(world: ConsoleWorld) -> Iterator[httpx2.Client]:
    with browser(world.plane) as client:
        answer = client.post("/console/sign-in/operator", data={"token": world.plane.token})
        assert answer.status_code == 303
        yield client


def _agent_path(world: ConsoleWorld, role: str) -> str:
    return f"/console/operator/agents/{world.agents[role].agent_id}"


def _until_it_says(client: httpx2.Client, path: str, words: str) -> str:
    deadline = time.monotonic() + WITHIN_S
    while words not in (page := client.get(path).text):
        assert time.monotonic() < deadline, page
        time.sleep(0.2)
    return page


def test_a_tenants_admin_has_none_of_them(plane: ControlPlane, admin: httpx2.Client) -> None:
    token = form_token(admin.get("/console").text)
    for path in PATHS:
        assert admin.get(path).status_code == 404, path
    for path in ("agents/agt-x", "agents/agt-x/drain", "agents/agt-x/revoke", "ledger/check"):
        answer = admin.post(f"/console/operator/{path}", data={"form_token": token, "confirm": "x"})
        assert answer.status_code in (404, 405), path
    assert admin.get("/console/live/operator").status_code == 404
    assert admin.get("/console/live/operator/agents/agt-x").status_code == 404


def test_nobody_has_them_without_signing_in(client: httpx2.Client) -> None:
    for path in PATHS:
        assert client.get(path).headers["location"] == "/console/sign-in"
    assert client.get("/console/live/operator").status_code == 401


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/console/operator", "No agent is enrolled yet"),
        ("/console/operator/pools", "No pool yet"),
        ("/console/operator/plans", "No plan yet"),
        ("/console/operator/ledger", "Never checked from this page"),
    ],
)
def test_what_is_empty_says_what_to_do(
    plane: ControlPlane, client: httpx2.Client, path: str, says: str
) -> None:
    client.post("/console/sign-in/operator", data={"token": plane.token})
    page = client.get(path)
    assert page.status_code == 200
    assert says in page.text


def test_the_map_has_every_host_with_its_state_and_class(
    world: ConsoleWorld, operator: httpx2.Client
) -> None:
    page = _until_it_says(operator, "/console/operator", "2 hosts")
    _until_it_says(operator, "/console/operator", "well</span>")
    for role in HOSTS:
        assert HOSTS[role] in page
        assert TENANTS[role] in page
        assert _agent_path(world, role) in page
    assert "RTX 2000 Ada" in _until_it_says(operator, "/console/operator", "RTX 2000 Ada")
    assert "simulated" in page


def test_an_agents_page_tells_its_whole_story(world: ConsoleWorld, operator: httpx2.Client) -> None:
    page = _until_it_says(operator, _agent_path(world, "provider"), CARDS["provider"])
    for words in (
        TENANTS["provider"],
        "Enrolled",
        "Certificate good until",
        "Nothing is wrong with its cards",
        "Last 30 days",
        "daalu diagnostics run rack-seven",
        "It has served no call yet",
        "card.contributed by test",
    ):
        assert words in page, words


def test_a_wrong_address_of_an_agent_is_not_there(operator: httpx2.Client) -> None:
    # By name neither: two tenants may have one of the same.
    for name in ("agt-none", HOSTS["owner"], "a'b%22"):
        assert operator.get(f"/console/operator/agents/{name}").status_code == 404
        assert operator.get(f"/console/live/operator/agents/{name}").status_code == 404


def test_draining_and_resuming_show_and_stay(world: ConsoleWorld, operator: httpx2.Client) -> None:
    path = _agent_path(world, "owner")
    token = form_token(operator.get(path).text)
    assert operator.post(f"{path}/drain", data={"form_token": token}).headers["location"] == path
    assert "agent.drained by operator" in operator.get(path).text
    _until_it_says(operator, "/console/operator", "drained</span>")
    operator.post(f"{path}/resume", data={"form_token": token})
    assert ">Drain</button>" in operator.get(path).text


@pytest.mark.parametrize("confirm", ["", "atelier", "ATELIER-1"])
def test_nothing_is_revoked_without_its_name(
    world: ConsoleWorld, operator: httpx2.Client, confirm: str
) -> None:
    path = _agent_path(world, "owner")
    token = form_token(operator.get(path).text)
    answer = operator.post(f"{path}/revoke", data={"form_token": token, "confirm": confirm})
    assert answer.status_code == 422
    assert "Nothing was done" in answer.text
    assert "revoked" not in run(world.plane, "agents", "list")


@pytest.mark.parametrize("what", ["drain", "resume", "revoke"])
def test_a_form_without_the_sessions_token_orders_nothing(
    world: ConsoleWorld, operator: httpx2.Client, what: str
) -> None:
    path = f"{_agent_path(world, 'owner')}/{what}"
    form = {"form_token": "0" * 64, "confirm": HOSTS["owner"]}
    assert operator.post(path, data=form).status_code == 403
    own = {"form_token": form_token(operator.get("/console/operator").text), "confirm": HOSTS["owner"]}
    assert operator.post(path, data=own, headers={"origin": "https://evil.test"}).status_code == 403


def test_tenants_show_their_role_rights_and_cards(world: ConsoleWorld, operator: httpx2.Client) -> None:
    page = operator.get("/console/operator/tenants").text
    for name in TENANTS.values():
        assert name in page
    assert "community: starter" in page
    assert "operator&#39;s cards only" in page
    found = operator.get("/console/operator/tenants", params={"name": "LENDER"}).text
    assert TENANTS["provider"] in found
    assert TENANTS["owner"] not in found
    assert "No tenant has that" in operator.get("/console/operator/tenants", params={"name": "<b>"}).text


def test_a_price_book_has_every_version_and_which_is_in_force(
    world: ConsoleWorld, operator: httpx2.Client
) -> None:
    for price, year in ((100_000, 2025), (200_000, 2026), (300_000, 2199)):
        wanted = {
            "model": "daalu-8b",
            "input_micro_usd_per_mtok": price,
            "output_micro_usd_per_mtok": price,
            "starts_unix_ms": int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000,
        }
        answer = httpx2.post(
            f"{world.plane.plain_url}/api/v1/pools/community/prices",
            json=wanted,
            headers={"authorization": f"Bearer {world.plane.token}"},
        )
        assert answer.status_code == 200, answer.text
    page = operator.get("/console/operator/plans").text
    rows = [row for row in page.split("<tr>") if "daalu-8b" in row]
    assert [word in row for row, word in zip(rows, ("from then on", "now", "past"), strict=True)] == [
        True
    ] * 3
    assert "$0.3000" in rows[0]
    assert "$0.2000" in rows[1]
    pools = operator.get("/console/operator/pools").text
    assert HOSTS["provider"] in pools
    assert "its tenant" in pools


def test_the_ledger_check_says_clean_or_what_is_broken(plane: ControlPlane, client: httpx2.Client) -> None:
    client.post("/console/sign-in/operator", data={"token": plane.token})

    def check() -> str:
        token = form_token(client.get("/console/operator/ledger").text)
        answer = client.post("/console/operator/ledger/check", data={"form_token": token})
        assert answer.headers["location"] == "/console/operator/ledger"
        return client.get("/console/operator/ledger").text

    assert "every invariant holds" in check()
    books = sqlite3.connect(DataDirectory(plane.data).database, timeout=30)
    with books:
        books.execute(
            "INSERT INTO quota_month (tenant_id, pool_id, month, quota_tokens, used_tokens, held_tokens)"
            " VALUES ('tnt', 'pool', '2020-01', 7, 1, 0)"
        )
    broken = check()
    assert "what is used of a month is the sum of its usage records" in broken
    assert "used_tokens=1" in broken
    # The command finds what the page does.
    assert plane.daalu("ledger", "verify").returncode == 1
    with books:
        books.execute("DELETE FROM quota_month WHERE month = '2020-01'")
    books.close()
    page = check()
    assert "every invariant holds" in page
    # And how it went before.
    assert page.count("<time") >= 3


def test_the_operators_navigation_has_all_of_them(operator: httpx2.Client) -> None:
    page = operator.get("/console/operator").text
    for path in PATHS:
        assert f'href="{path}"' in page


def test_a_users_navigation_has_none_of_them(plane: ControlPlane, client: httpx2.Client) -> None:
    sign_in(client, ADMIN)
    assert "/console/operator" not in client.get("/console").text
