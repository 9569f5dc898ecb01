"""The card's pages without a browser: who may see and change what."""

from collections.abc import Iterator

import httpx2
import pytest
from sqlmodel import Session, col, select

from control_plane.config import load_settings
from control_plane.identifiers import new_agent_id
from control_plane.store import Store, announce, unix_ms
from control_plane.store.tables import Agent, Audit, ChangeKind, Connection, Tenant, User
from tests.integration.control_plane.console.conftest import ADMIN, MEMBER, OTHER
from tests.support.console import browser, form_token, sign_in
from tests.support.control_plane import ControlPlane
from tests.support.programs import eventually

ACTIONS = ("drain", "resume", "pause-pool", "resume-pool")


@pytest.fixture(scope="module")
def store(plane: ControlPlane) -> Iterator[Store]:
    store = Store(load_settings(plane.data).database_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def agent(plane: ControlPlane, store: Store) -> str:
    """Of acme's; its host never answers."""
    agent_id = new_agent_id()

    def unit(session: Session) -> None:
        tenant = session.exec(select(Tenant).where(Tenant.name == "acme")).one()
        session.add(
            Agent(
                id=agent_id,
                tenant_id=tenant.id,
                name="silent-host",
                connection=Connection.DIRECT,
                rpc_port=1,
                engine_port=1,
                wireguard_public_key=agent_id,
                tls_key_sha256=b"0" * 32,
                certificate_pem="",
                certificate_expires_unix_ms=unix_ms() + 86_400_000,
                agent_version="0.1.0",
                created_unix_ms=unix_ms(),
            )
        )
        announce(session, ChangeKind.AGENT, agent_id)

    store.write_now(unit)
    with browser(plane) as client:
        assert sign_in(client, ADMIN).status_code == 303
        # Roles follow the store a moment later.
        eventually(lambda: "silent-host" in client.get("/console").text, "the page has it", timeout_s=30)
    return agent_id


def _post(client: httpx2.Client, path: str, **form: str) -> httpx2.Response:
    token = form_token(client.get("/console").text)
    return client.post(path, data={"form_token": token} | form)


def _halt(client: httpx2.Client, agent: str, what: str) -> httpx2.Response:
    return _post(client, "/console/factory/halt", agent=agent, what=what)


def test_an_admin_drains_and_pauses_and_the_page_says_who_and_since_when(
    admin: httpx2.Client, store: Store, agent: str
) -> None:
    for what in ("drain", "pause-pool"):
        assert _halt(admin, agent, what).status_code == 303
    page = admin.get(f"/console?agent={agent}").text
    assert "Drained: it takes no new calls, since <time" in page
    assert "Paused for pools" in page
    assert f"as {ADMIN} asked" in page
    for what in ("resume", "resume-pool"):
        assert _halt(admin, agent, what).status_code == 303
    assert "it takes no new calls" not in admin.get(f"/console?agent={agent}").text

    def query(session: Session) -> list[tuple[str, str]]:
        user = session.exec(select(User.id).where(User.email == ADMIN)).one()
        entries = session.exec(select(Audit).where(Audit.subject == agent).order_by(col(Audit.id)))
        return [(entry.action, "ada" if entry.actor == user else entry.actor) for entry in entries]

    actions = ("agent.drained", "agent.pool_paused", "agent.resumed", "agent.pool_resumed")
    assert store.write_now(query) == [(action, "ada") for action in actions]


def test_what_is_wanted_is_one_of_four_things(admin: httpx2.Client, agent: str) -> None:
    answer = _halt(admin, agent, "explode")
    assert answer.status_code == 422
    assert "drain, resume, pause-pool, resume-pool" in answer.text


def test_a_member_looks_at_the_card_and_changes_nothing(client: httpx2.Client, agent: str) -> None:
    sign_in(client, MEMBER)
    assert "Look after it" not in client.get(f"/console?agent={agent}").text
    for what in ACTIONS:
        assert _halt(client, agent, what).status_code == 403
    for name in ("diagnostics", "load-tests"):
        assert client.get(f"/console/cards/{agent}/{name}").status_code == 404
        assert client.get(f"/console/live/cards/{agent}/{name}").status_code == 404
        assert _post(client, f"/console/cards/{agent}/{name}").status_code == 404


def test_another_tenants_card_is_not_there(plane: ControlPlane, agent: str) -> None:
    with browser(plane) as other:
        sign_in(other, OTHER)
        for what in ACTIONS:
            assert _halt(other, agent, what).status_code == 404
        for name in ("diagnostics", "load-tests", "load-tests/stop"):
            answer = _post(other, f"/console/cards/{agent}/{name}")
            assert answer.status_code == 404
            assert "silent-host" not in answer.text
        assert other.get(f"/console/cards/{agent}/diagnostics").status_code == 404


def test_the_pages_say_that_nothing_was_looked_at_yet(admin: httpx2.Client, agent: str) -> None:
    assert "not looked over yet" in admin.get(f"/console/cards/{agent}/diagnostics").text
    assert "not tested yet" in admin.get(f"/console/cards/{agent}/load-tests").text


def test_a_host_that_is_not_there_cannot_be_looked_over(admin: httpx2.Client, agent: str) -> None:
    answer = _post(admin, f"/console/cards/{agent}/diagnostics")
    assert answer.status_code == 409
    assert "Connection refused" in answer.text


def test_a_load_test_that_may_not_be_is_refused_in_words(admin: httpx2.Client, agent: str) -> None:
    path = f"/console/cards/{agent}/load-tests"
    good = {"concurrencies": "1,2", "input_tokens": "16", "output_tokens": "8"}
    for changes in ({"concurrencies": "one"}, {"concurrencies": ""}, {"input_tokens": "many"}):
        answer = _post(admin, path, **(good | changes))
        assert answer.status_code == 422
        assert "whole numbers" in answer.text
    answer = _post(admin, path, **good)
    assert answer.status_code == 422
    assert "no load client is set up" in answer.text


def test_stopping_where_nothing_runs_shows_the_page(admin: httpx2.Client, agent: str) -> None:
    assert _post(admin, f"/console/cards/{agent}/load-tests/stop").status_code == 303


def test_a_csv_of_no_test_is_not_there(admin: httpx2.Client, agent: str) -> None:
    assert admin.get("/console/load-tests/lt-unknown/csv").status_code == 404


def test_an_admin_limits_work_for_pools_and_what_cannot_be_kept_changes_nothing(
    admin: httpx2.Client, agent: str
) -> None:
    limits = {
        "hours": "mon-fri 18:00-08:00\nsat-sun 00:00-24:00",
        "zone": "Europe/Berlin",
        "max_watts": "120",
    }
    assert _post(admin, "/console/factory/limits", agent=agent, **limits).status_code == 303
    page = admin.get(f"/console?agent={agent}").text
    assert 'value="Europe/Berlin"' in page
    assert 'name="max_watts" inputmode="numeric" value="120"' in page
    for wrong, told in (
        ({"max_celsius": "warm"}, "max_celsius is a whole number"),
        ({"max_celsius": "500"}, "max_celsius 500: 30 to 110"),
        ({"hours": "sometimes", "zone": "Europe/Berlin"}, "sometimes"),
        ({"hours": "mon-fri 18:00-08:00"}, "hours need a time zone"),
        ({"hours": "mon-fri 18:00-08:00", "zone": "Middle/Earth"}, "Middle/Earth"),
    ):
        answer = _post(admin, "/console/factory/limits", agent=agent, **wrong)
        assert (answer.status_code, told in answer.text) == (422, True), (wrong, answer.text)
    assert 'value="120"' in admin.get(f"/console?agent={agent}").text
    assert _post(admin, "/console/factory/limits", agent=agent).status_code == 303
    assert 'value="120"' not in admin.get(f"/console?agent={agent}").text


def test_a_member_and_another_tenants_admin_cannot_limit_it(client: httpx2.Client, agent: str) -> None:
    for who, status in ((MEMBER, 403), (OTHER, 404)):
        assert sign_in(client, who).status_code == 303
        assert _post(client, "/console/factory/limits", agent=agent, max_watts="50").status_code == status
