"""Signing in and out of a control plane that runs, as a browser would."""

import httpx2
import pytest

from tests.integration.control_plane.console.conftest import ADMIN, MEMBER
from tests.support.console import (
    PASSWORD,
    browser,
    choose_password,
    form_token,
    new_person,
    run,
    sign_in,
)
from tests.support.control_plane import ControlPlane


def test_a_signed_in_person_sees_the_page_of_their_tenant(admin: httpx2.Client) -> None:
    page = admin.get("/console")
    assert page.status_code == 200
    assert ADMIN in page.text
    assert "acme" in page.text
    assert "zebra-corp" not in page.text


def test_the_cookie_is_for_this_host_over_tls_and_no_script(client: httpx2.Client) -> None:
    cookie = sign_in(client, ADMIN).headers["set-cookie"].lower()
    assert cookie.startswith("__host-daalu=")
    for word in ("httponly", "secure", "samesite=lax", "path=/"):
        assert word in cookie
    assert "domain" not in cookie


def test_an_unknown_account_and_a_wrong_password_get_the_same_answer(client: httpx2.Client) -> None:
    wrong = sign_in(client, MEMBER, "not the password at all")
    unknown = sign_in(client, "nobody@acme.test", "not the password at all")
    assert (wrong.status_code, wrong.text) == (unknown.status_code, unknown.text)
    assert wrong.status_code == 401


def test_who_is_not_signed_in_is_asked_to_and_streams_are_refused(client: httpx2.Client) -> None:
    assert client.get("/console").headers["location"] == "/console/sign-in"
    assert client.get("/console/live/factory").status_code == 401


def test_pages_allow_nothing_from_elsewhere_and_nothing_inline(client: httpx2.Client) -> None:
    answer = client.get("/console/sign-in")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"


def test_a_link_is_good_once(plane: ControlPlane, client: httpx2.Client) -> None:
    token = choose_password(plane, new_person(plane, "acme", "once@acme.test"))
    assert client.get(f"/console/welcome/{token}").status_code == 404
    again = {"token": token, "password": PASSWORD, "again": PASSWORD}
    assert client.post("/console/welcome", data=again).status_code == 404


@pytest.mark.parametrize(
    ("password", "again", "says"),
    [("short", "short", "12 to 256"), (PASSWORD, PASSWORD + "x", "not the same")],
)
def test_a_bad_choice_of_password_is_explained_and_keeps_the_link(
    plane: ControlPlane, client: httpx2.Client, password: str, again: str, says: str
) -> None:
    person = new_person(plane, "acme", f"bad{len(again)}@acme.test")
    token = run(plane, "users", "link", person.user_id).rpartition("/")[2]
    answer = client.post("/console/welcome", data={"token": token, "password": password, "again": again})
    assert answer.status_code == 422
    assert says in answer.text
    assert client.get(f"/console/welcome/{token}").status_code == 200


def test_an_address_signs_in_to_one_tenant_only(plane: ControlPlane, client: httpx2.Client) -> None:
    person = new_person(plane, "zebra-corp", ADMIN)
    token = run(plane, "users", "link", person.user_id).rpartition("/")[2]
    form = {"token": token, "password": PASSWORD, "again": PASSWORD}
    answer = client.post("/console/welcome", data=form)
    assert answer.status_code == 409
    assert "zebra" not in answer.text


def test_a_session_ends_with_its_user(plane: ControlPlane, client: httpx2.Client) -> None:
    person = new_person(plane, "acme", "gone@acme.test")
    choose_password(plane, person)
    sign_in(client, person.email)
    assert client.get("/console").status_code == 200
    run(plane, "users", "remove", person.user_id)
    assert client.get("/console").status_code == 303
    assert sign_in(client, person.email).status_code == 401


def test_signing_out_ends_the_session_and_not_only_the_cookie(admin: httpx2.Client) -> None:
    secret = admin.cookies["__Host-daalu"]
    token = form_token(admin.get("/console").text)
    assert admin.post("/console/sign-out", data={"form_token": token}).status_code == 303
    answer = admin.get("/console", headers={"cookie": f"__Host-daalu={secret}"})
    assert answer.status_code == 303


@pytest.mark.parametrize("origin", ["https://evil.test", "null", None])
def test_a_form_from_elsewhere_changes_nothing(admin: httpx2.Client, origin: str | None) -> None:
    token = form_token(admin.get("/console").text)
    del admin.headers["origin"]
    headers = {} if origin is None else {"origin": origin}
    answer = admin.post("/console/factory/invite", data={"form_token": token}, headers=headers)
    assert answer.status_code == 403
    assert "daalu-invite-" not in answer.text


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_the_sessions_token_changes_nothing(admin: httpx2.Client, token: str) -> None:
    answer = admin.post("/console/factory/invite", data={"form_token": token})
    assert answer.status_code == 403
    assert "daalu-invite-" not in answer.text


def test_a_member_changes_nothing(client: httpx2.Client) -> None:
    sign_in(client, MEMBER)
    token = form_token(client.get("/console").text)
    assert client.post("/console/factory/invite", data={"form_token": token}).status_code == 403


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=b" for _ in range(40)), "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_is_no_small_form_is_refused(
    client: httpx2.Client, content: bytes, kind: str, status: int
) -> None:
    answer = client.post("/console/sign-in", content=content, headers={"content-type": kind})
    assert answer.status_code == status


def test_the_operator_signs_in_with_the_token_and_sees_no_tenants_page(
    plane: ControlPlane, client: httpx2.Client
) -> None:
    assert client.post("/console/sign-in/operator", data={"token": "dop-wrong"}).status_code == 401
    assert client.post("/console/sign-in/operator", data={"token": plane.token}).status_code == 303
    assert client.get("/console/operator").status_code == 200
    assert client.get("/console/live/factory").status_code == 404


def test_a_user_sees_no_operators_page(admin: httpx2.Client) -> None:
    assert admin.get("/console/operator").status_code == 404


def test_after_ten_failures_an_account_is_not_tried_any_more(plane: ControlPlane) -> None:
    person = new_person(plane, "acme", "target@acme.test")
    choose_password(plane, person)
    with browser(plane) as client:
        statuses = [
            sign_in(client, person.email, f"a wrong guess {number}").status_code for number in range(10)
        ]
        assert statuses == [401] * 10
        assert sign_in(client, person.email).status_code == 429
        # Others are not kept out by it.
        assert sign_in(client, ADMIN).status_code == 303


def test_no_secret_is_in_the_log_or_the_database(plane: ControlPlane, client: httpx2.Client) -> None:
    person = new_person(plane, "acme", "quiet@acme.test")
    link = choose_password(plane, person)
    sign_in(client, person.email)
    secret = client.cookies["__Host-daalu"]
    written = b"".join(path.read_bytes() for path in plane.data.rglob("*") if path.is_file())
    for each in (PASSWORD, link, secret):
        assert each.encode() not in written
