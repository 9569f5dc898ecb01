"""Every change that can be made through a page is in the audit trail, under the user who made it.

The console's own table of routes says which there are. A new POST route needs a row in CHANGES here: a form
that makes its change, and the action that the trail then has. What changes nothing stands in NO_CHANGE.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx2

from control_plane.access import OperatorToken
from control_plane.catalogue import CardClasses
from control_plane.console import Console, ConsoleParts
from control_plane.economy import EconomyIndex
from control_plane.fleet import Fleet
from control_plane.fleet.diagnostics import DiagnosticRuns
from control_plane.fleet.load_test import LoadTests
from control_plane.gateway import Gateway
from control_plane.identifiers import AgentId
from control_plane.store import Store
from tests.support.console import PASSWORD, browser, form_token, run, sign_in
from tests.support.console_world import HOSTS, ConsoleWorld, email_of, put_running_load_test

Form = Callable[[ConsoleWorld], dict[str, str]]


def _nothing(_world: ConsoleWorld) -> dict[str, str]:
    return {}


def _owners(world: ConsoleWorld) -> dict[str, str]:
    return {"agent": world.agents["owner"].agent_id}


@dataclass(frozen=True, slots=True)
class Change:
    action: str
    form: Form = _nothing
    # The role of the tenant whose admin does it; None: the operator.
    role: str | None = "owner"


def _a_question(_world: ConsoleWorld) -> dict[str, str]:
    messages = json.dumps([{"role": "user", "content": "Hello?"}])
    return {"model": "auto", "purpose": "general", "messages": messages}


def _to_stop(world: ConsoleWorld) -> dict[str, str]:
    put_running_load_test(world, "owner")
    return {}


# In an order in which each finds what it needs. `{agent}` is the owner's.
CHANGES: dict[str, Change] = {
    # The call itself is on record; the key that its user has from the first on is in the trail.
    "/console/try": Change("key.created", _a_question),
    "/console/factory/halt": Change(
        "agent.pool_paused", lambda world: _owners(world) | {"what": "pause-pool"}
    ),
    "/console/factory/limits": Change(
        "agent.pool_limits_set", lambda world: _owners(world) | {"max_celsius": "80"}
    ),
    "/console/cards/{agent}/diagnostics": Change("diagnostics.run"),
    "/console/cards/{agent}/load-tests/stop": Change("load_test.cancelled", _to_stop),
    "/console/factory/invite": Change("invite.created"),
    "/console/factory/deploy": Change(
        "deployment.wanted", lambda world: _owners(world) | {"model": _a_model(world)}
    ),
    "/console/factory/contribute": Change(
        "card.contributed", lambda world: _owners(world) | {"pool": "community"}
    ),
    "/console/factory/withdraw": Change("card.withdrawn", _owners),
    "/console/operator/agents/{agent}/drain": Change("agent.drained", role=None),
    "/console/operator/agents/{agent}/resume": Change("agent.resumed", role=None),
    "/console/operator/ledger/check": Change("ledger.checked", role=None),
    "/console/operator/agents/{agent}/revoke": Change(
        "agent.revoked", lambda world: {"confirm": HOSTS["owner"]}, role=None
    ),
}
# Signing in, out and choosing a password go before a session or end it: tested one by one below.
SIGN_IN = {
    "/console/sign-in",
    "/console/sign-in/operator",
    "/console/sign-out",
    "/console/welcome",
}
# Wants vLLM's client: fleet/load_test/test_paced_engine.py starts one there, and sees who did.
ELSEWHERE = {"/console/cards/{agent}/load-tests"}
NO_CHANGE: set[str] = set()


def _a_model(world: ConsoleWorld) -> str:
    return str(json.loads(run(world.plane, "models", "list", "--json"))[0]["id"])


def _newest(world: ConsoleWorld, action: str) -> dict[str, object]:
    found = json.loads(run(world.plane, "audit", "list", "--action", action, "--limit", "1", "--json"))
    assert found["entries"], f"nothing in the audit trail is {action}"
    return cast("dict[str, object]", found["entries"][0])


def _user_id(world: ConsoleWorld, role: str) -> str:
    users = json.loads(run(world.plane, "users", "list", "--json"))
    return next(str(user["id"]) for user in users if user["email"] == email_of(role))


def test_every_post_route_of_the_console_has_a_row_here(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")

    async def never(*_: object) -> tuple[str, int]:
        raise AssertionError

    async def no_revoking(_agent: AgentId, _actor: str) -> None:
        raise AssertionError

    parts = ConsoleParts(
        store=store,
        fleet=cast("Fleet", None),
        catalogue=(),
        card_classes=CardClasses.load(None),
        telemetry=tmp_path / "telemetry.db",
        operator_token=OperatorToken(OperatorToken.new()),
        economy=EconomyIndex(store),
        create_invite=never,
        revoke_agent=no_revoking,
        conversing=cast("Gateway", None),
        diagnostics=cast("DiagnosticRuns", None),
        load_tests=cast("LoadTests", None),
    )
    posts = {route.path for route in Console(parts).routes.routes if "POST" in route.methods}  # type: ignore[attr-defined]
    store.close()
    known = CHANGES.keys() | SIGN_IN | ELSEWHERE | NO_CHANGE
    assert posts - known == set(), "a new way to change something: say in CHANGES how it is audited"
    assert known - posts == set(), "a route that is no more"


def test_every_change_is_in_the_trail_under_who_made_it(world: ConsoleWorld) -> None:
    clients: dict[str | None, httpx2.Client] = {}
    for path, change in CHANGES.items():
        if change.role not in clients:
            clients[change.role] = client = browser(world.plane)
            if change.role is None:
                client.post("/console/sign-in/operator", data={"token": world.plane.token})
            else:
                assert sign_in(client, email_of(change.role)).status_code == 303
        client = clients[change.role]
        home = "/console/operator" if change.role is None else "/console"
        form = change.form(world) | {"form_token": form_token(client.get(home).text)}
        answer = client.post(path.replace("{agent}", world.agents["owner"].agent_id), data=form)
        assert answer.status_code in (200, 303), (path, answer.text)
        entry = _newest(world, change.action)
        wanted = "operator" if change.role is None else _user_id(world, change.role)
        assert (entry["action"], entry["actor"]) == (change.action, wanted), path
    for client in clients.values():
        client.close()


def test_signing_in_and_out_and_choosing_a_password_are_in_the_trail(world: ConsoleWorld) -> None:
    user_id = _user_id(world, "none")
    token = run(world.plane, "users", "link", user_id).rpartition("/")[2]
    with browser(world.plane) as client:
        form = {"token": token, "password": PASSWORD, "again": PASSWORD}
        assert client.post("/console/welcome", data=form).status_code == 303
        assert _newest(world, "user.password_chosen")["actor"] == user_id
        client.post("/console/sign-out", data={"form_token": form_token(client.get("/console").text)})
        assert _newest(world, "session.ended")["actor"] == user_id
        assert sign_in(client, email_of("none")).status_code == 303
        assert _newest(world, "session.started")["actor"] == user_id
    with browser(world.plane) as client:
        client.post("/console/sign-in/operator", data={"token": world.plane.token})
        assert _newest(world, "session.started")["actor"] == "operator"
