"""The page "Try it" without a browser: who may ask, what is refused, and what is kept."""

import json

import httpx2
from sqlmodel import Session, col, select

from control_plane.access import hash_key
from control_plane.config import load_settings
from control_plane.store import Store
from control_plane.store.tables import ApiKey, Call, User
from tests.integration.control_plane.console.conftest import ADMIN, MEMBER, OTHER
from tests.support.console import browser, form_token, run, sign_in
from tests.support.control_plane import ControlPlane

MARKER = "the zinc walrus hums"


def _ask(client: httpx2.Client, **changes: str) -> httpx2.Response:
    messages = json.dumps([{"role": "user", "content": MARKER}])
    form = {"model": "auto", "purpose": "general", "messages": messages}
    return client.post("/console/try", data=form | {"form_token": _token(client)} | changes)


def _token(client: httpx2.Client) -> str:
    return form_token(client.get("/console").text)


def _events(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    events = [event.splitlines() for event in answer.text.strip().split("\n\n")]
    return {name.removeprefix("event: "): json.loads(data.removeprefix("data: ")) for name, data in events}


def _calls(plane: ControlPlane) -> list[Call]:
    store = Store(load_settings(plane.data).database_url)
    try:
        return store.write_now(lambda session: list(session.exec(select(Call))))
    finally:
        store.close()


def test_a_refusal_comes_in_words_and_with_its_call(admin: httpx2.Client) -> None:
    events = _events(_ask(admin))
    assert "no model that you may use can be reached now" in events["refused"]
    figures = admin.get(f"/console/try/calls/{events['call']}")
    assert figures.status_code == 200
    assert f"/console/calls/{events['call']}" in figures.text
    assert "no capacity" in figures.text


def test_where_nothing_serves_the_page_says_what_to_do(admin: httpx2.Client) -> None:
    page = admin.get("/console/try")
    assert "Nothing that you may use serves a model now" in page.text


def test_a_member_may_ask_and_a_stranger_may_not(client: httpx2.Client) -> None:
    assert client.post("/console/try", data={"purpose": "general"}).status_code == 303
    sign_in(client, MEMBER)
    assert "refused" in _events(_ask(client))


def test_a_call_of_another_tenant_is_not_there(plane: ControlPlane, admin: httpx2.Client) -> None:
    call_id = _events(_ask(admin))["call"]
    with browser(plane) as other:
        sign_in(other, OTHER)
        assert other.get(f"/console/try/calls/{call_id}").status_code == 404


def test_bad_forms_are_refused_with_the_reason(admin: httpx2.Client) -> None:
    for changes, status in [
        ({"form_token": "0" * 64}, 403),
        ({"purpose": "anything"}, 422),
        ({"model": ""}, 422),
        ({"messages": "no JSON"}, 422),
        ({"messages": "[" * 50_000}, 422),
        ({"messages": "[]"}, 422),
        ({"messages": json.dumps([{"role": "system", "content": "x"}])}, 422),
        ({"messages": json.dumps([{"role": "user", "content": "x", "name": "y"}])}, 422),
        ({"messages": json.dumps([{"role": "user", "content": "x"}] * 101)}, 422),
        ({"messages": "x" * 300_000}, 413),
    ]:
        answer = _ask(admin, **changes)
        assert (answer.status_code, changes) == (status, changes)


def test_another_sites_form_is_refused(admin: httpx2.Client) -> None:
    token = _token(admin)
    answer = admin.post("/console/try", data={"form_token": token}, headers={"origin": "https://evil.test"})
    assert answer.status_code == 403


def test_a_calls_purpose_is_as_declared(plane: ControlPlane, admin: httpx2.Client) -> None:
    call_id = _events(_ask(admin, purpose="coding"))["call"]
    assert [call.purpose for call in _calls(plane) if call.id == call_id] == ["coding"]


def test_nothing_of_what_was_asked_is_kept(plane: ControlPlane, admin: httpx2.Client) -> None:
    _events(_ask(admin))
    assert _calls(plane)
    for path in plane.data.rglob("*"):
        if path.is_file():
            assert MARKER.encode() not in path.read_bytes(), path


def test_a_user_has_one_key_that_nobody_can_present_and_an_operator_can_revoke(
    plane: ControlPlane, admin: httpx2.Client
) -> None:
    _events(_ask(admin))
    _events(_ask(admin))
    store = Store(load_settings(plane.data).database_url)

    def keys(session: Session) -> list[ApiKey]:
        mine = (
            select(ApiKey).join(User, col(User.tenant_id) == col(ApiKey.tenant_id)).where(User.email == ADMIN)
        )
        rows = session.exec(mine)
        return [key for key in rows if key.hash_sha256 == hash_key(f"console of {user_id}")]

    try:
        user_id = store.write_now(
            lambda session: session.exec(select(User.id).where(User.email == ADMIN)).one()
        )
        [key] = store.write_now(keys)
    finally:
        store.close()
    for text in (key.hint, key.id, f"console of {user_id}"):
        answer = httpx2.get(f"{plane.plain_url}/v1/models", headers={"authorization": f"Bearer {text}"})
        assert answer.status_code == 401
    run(plane, "keys", "revoke", key.id, "--yes")
    answer = _ask(admin)
    assert answer.status_code == 422
    assert "was revoked" in answer.text
