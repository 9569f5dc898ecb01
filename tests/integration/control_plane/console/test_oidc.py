"""Signing in by an identity provider: a control plane that runs, and a real provider on loopback."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from control_plane.console.attempts import MOST_PER_ADDRESS
from control_plane.console.oidc.provider import RETRY_S
from tests.support.console import PASSWORD, browser, choose_password, form_token, new_person, run
from tests.support.control_plane import ControlPlane, free_ports, initialised, serving
from tests.support.identity_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    IdentityProvider,
    identity_provider,
    new_key,
)

ADA = "ada@acme.test"
MAX = "max@acme.test"
BEGIN = "/console/sign-in/oidc"
CALLBACK = "/console/sign-in/oidc/callback"


def _write(plane: ControlPlane, issuer: str, **more: str) -> None:
    secret = plane.data / "oidc-secret"
    secret.write_text(CLIENT_SECRET)
    secret.chmod(0o600)
    values = {"issuer": issuer, "client_id": CLIENT_ID, "client_secret_file": secret.name} | more
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    (plane.data / "oidc.toml").write_text(text)


@pytest.fixture(scope="module")
def _provider() -> Iterator[IdentityProvider]:
    with identity_provider(*free_ports(1)) as provider:
        yield provider


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, _provider: IdentityProvider) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    _write(plane, _provider.issuer, name="Acme's accounts", email_domain="acme.test")
    with serving(plane):
        for tenant in ("acme", "zebra-corp"):
            run(plane, "tenants", "create", tenant)
        # Ada never chose a password: the provider is enough.
        new_person(plane, "acme", ADA)
        new_person(plane, "acme", MAX, admin=False)
        yield plane


@pytest.fixture
def provider(_provider: IdentityProvider) -> Iterator[IdentityProvider]:
    """As it is again after a test has bent it."""
    before = replace(_provider)
    yield _provider
    for name in ("key", "key_id", "algorithm", "signer", "token_answer"):
        setattr(_provider, name, getattr(before, name))


def _begin(client: httpx2.Client) -> dict[str, str]:
    """What the browser brings to the provider."""
    answer = client.get(BEGIN)
    assert answer.status_code == 303, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def _come_back(
    client: httpx2.Client, provider: IdentityProvider, address: str, **claims: Any
) -> httpx2.Response:
    query = _begin(client)
    code = provider.grant(query, **({"email": address} | claims))
    return client.get(CALLBACK, params={"code": code, "state": query["state"]})


def test_a_user_signs_in_by_the_provider_and_sees_their_tenant(
    client: httpx2.Client, provider: IdentityProvider
) -> None:
    assert "Sign in with Acme&#39;s accounts" in client.get("/console/sign-in").text
    answer = _come_back(client, provider, ADA.upper())
    assert answer.headers["location"] == "/console"
    cookies = answer.headers.get_list("set-cookie")
    session = next(cookie.lower() for cookie in cookies if cookie.startswith("__Host-daalu="))
    for word in ("httponly", "secure", "samesite=lax", "path=/"):
        assert word in session
    page = client.get("/console")
    assert ADA in page.text
    # The rules of forms are those of every session.
    assert client.post("/console/factory/invite", data={"form_token": "0" * 64}).status_code == 403
    form = {"form_token": form_token(page.text)}
    assert client.post("/console/factory/invite", data=form).status_code == 200


def test_the_way_there_has_pkce_state_and_nonce(client: httpx2.Client, plane: ControlPlane) -> None:
    first, second = _begin(client), _begin(client)
    assert first["code_challenge_method"] == "S256"
    assert first["response_type"] == "code"
    assert first["redirect_uri"] == f"https://localhost:{plane.tls_port}{CALLBACK}"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]


def test_the_role_is_the_one_here_whatever_the_provider_says(
    client: httpx2.Client, provider: IdentityProvider
) -> None:
    assert _come_back(client, provider, MAX, role="admin", groups=["admin"]).status_code == 303
    assert client.get("/console/audit").status_code == 404


@pytest.mark.parametrize(
    ("claims", "status", "says"),
    [
        ({"nonce": "another"}, 401, "answers another sign-in"),
        ({"nonce": None}, 401, "answers another sign-in"),
        ({"aud": "another-program"}, 401, "for another program"),
        ({"aud": [CLIENT_ID, "another"]}, 401, "made for another program"),
        ({"azp": "another"}, 401, "made for another program"),
        ({"iss": "https://evil.test"}, 401, "of another issuer"),
        ({"exp": int(time.time()) - 3_600}, 401, "has expired"),
        ({"exp": None}, 401, "exp is missing"),
        ({"iat": int(time.time()) + 3_600}, 401, "from the future"),
        ({"email_verified": False}, 403, "has not verified"),
        ({"email_verified": "true"}, 403, "has not verified"),
        ({"email": None}, 403, "did not say your e-mail address"),
        ({"email": "nobody@acme.test"}, 403, "Nobody here has the address nobody@acme.test"),
        ({"email": "ada@other.test"}, 403, "Only addresses of acme.test"),
        ({"email": "ada@evil.test@acme.test"}, 403, "Nobody here has the address"),
        ({"email": "<b>x</b>@acme.test"}, 403, "&lt;b&gt;"),
    ],
)
def test_a_token_that_is_not_good_lets_nobody_in(
    client: httpx2.Client, provider: IdentityProvider, claims: dict[str, Any], status: int, says: str
) -> None:
    answer = _come_back(client, provider, ADA, **claims)
    assert answer.status_code == status
    assert says in answer.text
    assert client.get("/console").status_code == 303


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_that_the_client_itself_could_have_made_is_not_good(
    client: httpx2.Client, provider: IdentityProvider, algorithm: str
) -> None:
    provider.algorithm = algorithm
    answer = _come_back(client, provider, ADA)
    assert answer.status_code == 401
    assert "signature is not good" in answer.text


def test_a_token_signed_by_somebody_else_is_not_good(
    client: httpx2.Client, provider: IdentityProvider
) -> None:
    provider.signer = new_key()
    assert "signature is not good" in _come_back(client, provider, ADA).text
    assert client.get("/console").status_code == 303


def test_a_provider_may_change_its_keys(client: httpx2.Client, provider: IdentityProvider) -> None:
    assert _come_back(client, provider, ADA).status_code == 303
    provider.key, provider.key_id = new_key(), "second"
    assert _come_back(client, provider, ADA).status_code == 303


def test_an_answer_to_another_browsers_sign_in_is_refused(
    plane: ControlPlane, client: httpx2.Client, provider: IdentityProvider
) -> None:
    query = _begin(client)
    code = provider.grant(query, ADA)
    with browser(plane) as victim:
        assert "another browser" in victim.get(CALLBACK, params={"code": code, "state": query["state"]}).text
        _begin(victim)
        assert victim.get(CALLBACK, params={"code": code, "state": query["state"]}).status_code == 400
        assert victim.get("/console").status_code == 303
    assert client.get(CALLBACK, params={"code": code, "state": "é"}).status_code == 400


def test_a_code_is_good_once_and_for_its_own_sign_in(
    client: httpx2.Client, provider: IdentityProvider
) -> None:
    stolen = provider.grant(_begin(client), ADA)
    query = _begin(client)
    # The verifier is of another flow.
    answer = client.get(CALLBACK, params={"code": stolen, "state": query["state"]})
    assert answer.status_code == 401
    assert "invalid_grant" in answer.text
    # And a flow is good for one answer.
    code = provider.grant(query, ADA)
    assert client.get(CALLBACK, params={"code": code, "state": query["state"]}).status_code == 400


def test_what_the_provider_refuses_is_said(client: httpx2.Client) -> None:
    query = _begin(client)
    params = {"error": "access_denied<script>", "state": query["state"]}
    answer = client.get(CALLBACK, params=params)
    assert answer.status_code == 403
    assert "access_deniedscript" in answer.text
    answer = client.get(CALLBACK, params={"state": _begin(client)["state"]})
    assert "has no code" in answer.text
    params = {"state": _begin(client)["state"], "code": "x", "iss": "https://evil.test"}
    assert "another identity provider" in client.get(CALLBACK, params=params).text


@pytest.mark.parametrize(
    "token_answer",
    [(500, b"{}"), (200, b"{}"), (200, b"not json"), (200, b"[]"), (302, b"{}"), (200, b" " * 300_000)],
)
def test_a_provider_that_does_not_answer_as_one_is_said_to_be_down(
    client: httpx2.Client, provider: IdentityProvider, token_answer: tuple[int, bytes]
) -> None:
    provider.token_answer = token_answer
    answer = _come_back(client, provider, ADA)
    assert answer.status_code == 503
    assert "Use your password" in answer.text


def test_a_removed_user_is_not_let_in(
    plane: ControlPlane, client: httpx2.Client, provider: IdentityProvider
) -> None:
    person = new_person(plane, "acme", "gone@acme.test")
    assert _come_back(client, provider, person.email).status_code == 303
    run(plane, "users", "remove", person.user_id)
    assert client.get("/console").status_code == 303
    assert _come_back(client, provider, person.email).status_code == 403


def test_of_an_address_of_two_tenants_the_one_with_a_password_signs_in(
    plane: ControlPlane, client: httpx2.Client, provider: IdentityProvider
) -> None:
    people = [new_person(plane, tenant, "both@acme.test") for tenant in ("acme", "zebra-corp")]
    answer = _come_back(client, provider, "both@acme.test")
    assert answer.status_code == 409
    assert "several tenants" in answer.text
    choose_password(plane, people[1])
    assert _come_back(client, provider, "both@acme.test").status_code == 303
    assert "zebra-corp" in client.get("/console").text


def test_the_policy_is_as_tight_as_without_a_provider(client: httpx2.Client) -> None:
    for path in ("/console/sign-in", BEGIN, CALLBACK):
        policy = client.get(path).headers["content-security-policy"]
        assert "form-action 'self'" in policy
        assert "127.0.0.1" not in policy


def test_a_sign_in_is_in_the_trail_and_no_secret_is_anywhere(
    plane: ControlPlane, client: httpx2.Client, provider: IdentityProvider
) -> None:
    _come_back(client, provider, ADA)
    entry = json.loads(run(plane, "audit", "list", "--actor", ADA, "--json"))["entries"][0]
    assert entry["action"] == "session.started"
    written = (plane.data / "serve.log").read_bytes()
    assert CLIENT_SECRET.encode() not in written
    assert client.cookies["__Host-daalu"].encode() not in written


def test_who_fails_too_often_is_asked_to_wait_and_the_provider_is_not_asked(
    client: httpx2.Client, provider: IdentityProvider
) -> None:
    for _ in range(MOST_PER_ADDRESS):
        _come_back(client, provider, ADA, nonce="another")
    answer = _come_back(client, provider, ADA)
    assert answer.status_code == 429
    assert "quarter of an hour" in answer.text
    # Its code was not redeemed.
    assert len(provider.grants) > 0
    # Nobody else's password is of less use for it.
    assert client.post("/console/sign-in", data={"email": ADA, "password": "x"}).status_code == 401


def test_without_a_file_there_is_no_such_door_and_a_provider_that_is_down_is_said(tmp_path: Path) -> None:
    plane = initialised(tmp_path / "data")
    with serving(plane), browser(plane) as client:
        assert client.get(BEGIN).status_code == 404
        assert "Sign in with" not in client.get("/console/sign-in").text
    (port,) = free_ports(1)
    _write(plane, f"http://127.0.0.1:{port}")
    with serving(plane), browser(plane) as client:
        run(plane, "tenants", "create", "acme")
        choose_password(plane, new_person(plane, "acme", ADA))
        answer = client.get(BEGIN)
        assert answer.status_code == 503
        assert "Use your password" in answer.text
        signed_in = client.post("/console/sign-in", data={"email": ADA, "password": PASSWORD})
        assert signed_in.status_code == 303
        # It came up meanwhile: nothing need be started anew.
        with identity_provider(port) as late:
            deadline = time.monotonic() + 10 * RETRY_S
            while client.get(BEGIN).status_code != 303:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert _come_back(client, late, ADA).status_code == 303
