"""Nothing of another tenant is in any answer of the console, and nothing that was said in a call in any.

The routes are those of the application as its own composition root puts it together: a page that is added
later is walked too, and fails here until this test knows what to ask it for.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi.routing import APIRoute

from control_plane import main
from control_plane.api import ApiParts
from control_plane.config import load_settings
from control_plane.fleet.telemetry import Recorder
from control_plane.store import Store
from tests.integration.control_plane.console.usage.conftest import As
from tests.support.console import form_token
from tests.support.console_world import HOSTS, ROLES
from tests.support.usage_world import COMPLETION, MODEL, PROMPT, UsageWorld

# Those that end a session, or are for who has none: they have no tenant's pages behind them.
_OUTSIDE = ("/console/sign-out", "/console/sign-in", "/console/welcome")
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_MOST_STREAM_BYTES = 2_000_000


class _Built(Exception):
    """How the composition root is left once the routes are known."""


@pytest.fixture(scope="module")
def routes(world: UsageWorld, tmp_path_factory: pytest.TempPathFactory) -> list[APIRoute]:
    found: list[APIRoute] = []

    def seen(parts: ApiParts) -> None:
        assert parts.console is not None
        found.extend(route for route in parts.console.routes if isinstance(route, APIRoute))
        raise _Built

    settings = load_settings(world.plane.data)
    store = Store(settings.database_url)
    recorder = Recorder(Path(tmp_path_factory.mktemp("telemetry")) / "telemetry.db")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(main, "build_api", seen)
            with pytest.raises(_Built):
                main._build(settings, store, recorder)
    finally:
        recorder.close()
        store.close()
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ROLES)
def test_nothing_of_another_tenant_is_in_any_answer(
    signed_in: As, world: UsageWorld, routes: list[APIRoute], role: str
) -> None:
    client, opened, leaks = signed_in(role), set[str](), []
    own = set(world.markers_of(role))
    markers = {
        marker for other in ROLES if other != role for marker in world.markers_of(other) if marker not in own
    }
    token = form_token(client.get("/console").text)
    for route in routes:
        if route.path.startswith(_OUTSIDE):
            continue
        for sent in _requests(client, route, world, role, token):
            status, body = _answer(client, sent)
            assert status < 500, (sent.method, sent.url, body[:500])
            if status == 200:
                opened.add(route.path)
            # What the request itself said may come back in its answer.
            said = str(sent.url) + (sent.content.decode() if sent.method == "POST" else "")
            leaks += [
                (sent.method, str(sent.url), marker)
                for marker in (*markers, PROMPT, COMPLETION)
                if marker in body and marker not in said
            ]
    assert leaks == []
    # It walked pages that were there, not refusals.
    for path in ("/console", "/console/usage", "/console/calls", "/console/calls/{call_id}"):
        assert path in opened
    assert "/console/live/factory" in opened


@pytest.mark.parametrize("role", ROLES)
def test_another_tenants_call_is_not_there(signed_in: As, world: UsageWorld, role: str) -> None:
    for other in ROLES:
        for call_id in world.calls[other]:
            expected = 200 if other == role else 404
            assert signed_in(role).get(f"/console/calls/{call_id}").status_code == expected


@pytest.mark.parametrize("role", ROLES)
def test_a_search_by_what_is_anothers_finds_nothing(signed_in: As, world: UsageWorld, role: str) -> None:
    for other in ROLES:
        if other == role:
            continue
        for query in ({"id": world.calls[other][0]}, {"key": world.keys[other].row.id}):
            assert "No call is like that" in signed_in(role).get("/console/calls", params=query).text


def test_the_markers_are_found_where_they_belong(signed_in: As, world: UsageWorld) -> None:
    for role in ROLES:
        pages = [signed_in(role).get(path).text for path in ("/console", "/console/calls")]
        pages.append(signed_in(role).get(f"/console/calls/{world.calls[role][0]}").text)
        found = {marker for marker in world.markers_of(role) if any(marker in page for page in pages)}
        key = world.keys[role].row
        assert found >= {key.name, key.hint, *world.calls[role], *([HOSTS[role]] if role in HOSTS else [])}


def _requests(
    client: httpx2.Client, route: APIRoute, world: UsageWorld, role: str, token: str
) -> Iterator[httpx2.Request]:
    """Of a route, with what is the viewer's own in it and with what is everybody else's."""
    for other in (role, *(each for each in ROLES if each != role)):
        known = _known(world, other)
        unknown = set(_PARAMETER.findall(route.path)) - known.keys()
        assert not unknown, f"say in _known what {sorted(unknown)} of {route.path} can be"
        path = _PARAMETER.sub(lambda found, known=known: known[found[1]], route.path)  # type: ignore[misc]
        named = {name: value for name, value in known.items() if name != "month"}
        for method in route.methods or ():
            if method == "POST" and other != role:
                # Changes are tried on others' things alone: what they do to one's own is other tests'.
                yield client.build_request("POST", path, data={**named, "form_token": token})
            elif method == "GET":
                yield client.build_request("GET", path, params=named)
                yield client.build_request("GET", path, params={"month": world.last_month})


def _known(world: UsageWorld, role: str) -> dict[str, str]:
    """What addresses and forms name of a tenant, by the names of their parameters."""
    agent = world.agents[role].agent_id if role in HOSTS else "agt-none"
    return {
        "agent": agent,
        "agent_id": agent,
        "tenant": world.tenant_ids[role],
        "tenant_id": world.tenant_ids[role],
        "key": world.keys[role].row.id,
        "call": world.calls[role][0],
        "call_id": world.calls[role][0],
        "before": world.calls[role][-1],
        "month": world.last_month,
        "model": MODEL,
        "test_id": "lt-none",
        # Of the files that pages are made with.
        "version": "0",
        "name": "console.css",
    }


def _answer(client: httpx2.Client, sent: httpx2.Request) -> tuple[int, str]:
    """Of a stream, as much as comes until its first event is whole: that has every part of its page."""
    answered = client.send(sent, stream=True)
    try:
        headers = "".join(f"{name}: {value}\n" for name, value in answered.headers.items())
        if not answered.headers.get("content-type", "").startswith("text/event-stream"):
            return answered.status_code, headers + answered.read().decode()
        text = ""
        for piece in answered.iter_text():
            text += piece
            if "\n\n" in text or len(text) > _MOST_STREAM_BYTES:
                break
        return answered.status_code, headers + text
    finally:
        answered.close()
