"""REST on a control plane that runs as a process of its own, over TLS and the plain listener."""

import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.control_plane import ControlPlane, initialised, serving


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    with serving(plane):
        yield plane


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=f"{plane.plain_url}/api/v1", headers={"authorization": f"Bearer {plane.token}"}
    ) as client:
        yield client


def _tenant(client: httpx2.Client, name: str) -> str:
    response = client.post("/tenants", json={"name": name})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_tls_shows_the_certificate_of_the_data_directory(plane: ControlPlane) -> None:
    context = ssl.create_default_context(cafile=plane.data / "tls" / "server.pem")
    for host in ("127.0.0.1", "localhost"):
        with httpx2.Client(verify=context) as client:
            answer = client.get(f"https://{host}:{plane.tls_port}/healthz")
        assert answer.json() == {"status": "ok"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer dop-wrong"},
        {"authorization": "Basic x"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer é".encode()},
    ],
)
@pytest.mark.parametrize("path", ["/tenants", "/nothing", "/openapi.json"])
def test_without_the_operators_token_nothing_is_told(
    plane: ControlPlane, headers: dict[str, str | bytes], path: str
) -> None:
    answer = httpx2.get(f"{plane.plain_url}/api/v1{path}", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"


def test_a_large_body_is_refused(client: httpx2.Client) -> None:
    answer = client.post("/tenants", content=b"x" * 100_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "path",
    ["/tenants/nobody", "/agents/nobody", "/calls/call-none", "/nothing"],
)
def test_what_is_not_there_is_a_404_in_the_one_shape(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert set(answer.json()["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keys/key-none/revoke", {}),
        ("/agents/agt-none/revoke", {}),
        ("/agents/agt-none/deploy", {"model": "smollm2-135m-instruct"}),
        ("/agents/agt-none/stop", {}),
        ("/agents/agt-none/drain", {}),
        ("/agents/agt-none/resume", {}),
        ("/agents/agt-none/pause-pool", {}),
        ("/agents/agt-none/resume-pool", {}),
        ("/agents/invite", {"tenant": "nobody"}),
        ("/keys", {"tenant": "nobody", "name": "x"}),
        ("/users", {"tenant": "nobody", "email": "a@example.org"}),
    ],
)
def test_changing_what_is_not_there_is_a_404(client: httpx2.Client, path: str, body: dict[str, str]) -> None:
    assert client.post(path, json=body).status_code == 404


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"name": 3}', b'{"nam": "x"}', b'{"name": ""}', b'{"name": "x", "extra": 1}'],
)
def test_a_request_that_makes_no_sense_is_a_422_in_the_one_shape(
    client: httpx2.Client, content: bytes
) -> None:
    answer = client.post("/tenants", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")


def test_a_duplicate_is_a_409(client: httpx2.Client) -> None:
    _tenant(client, "twice")
    answer = client.post("/tenants", json={"name": "twice"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "duplicate")


def test_a_key_is_shown_once_and_opens_the_front_door_until_it_is_revoked(
    plane: ControlPlane, client: httpx2.Client
) -> None:
    _tenant(client, "keyholder")
    made = client.post("/keys", json={"tenant": "keyholder", "name": "laptop"}).json()
    secret, key_id = made["secret"], made["key"]["id"]
    assert re.fullmatch(r"dk-[A-Za-z0-9_-]{43}", secret)
    assert secret not in client.get("/keys").text

    def door() -> int:
        models = f"{plane.plain_url}/v1/models"
        return httpx2.get(models, headers={"authorization": f"Bearer {secret}"}).status_code

    # At once: whoever has the answer to a change finds it in force.
    assert door() == 200
    assert client.post(f"/keys/{key_id}/revoke").json()["revoked_unix_ms"] is not None
    assert door() == 401


def test_an_operators_token_opens_no_front_door(plane: ControlPlane) -> None:
    answer = httpx2.get(f"{plane.plain_url}/v1/models", headers={"authorization": f"Bearer {plane.token}"})
    assert answer.status_code == 401


def test_an_invite_is_good_for_an_hour_and_names_its_tenant(client: httpx2.Client) -> None:
    tenant_id = _tenant(client, "inviting")
    made = client.post("/agents/invite", json={"tenant": "inviting"}).json()
    assert made["tenant_id"] == tenant_id
    assert made["invite"].startswith("daalu-invite-")


def test_the_catalogue_is_listed(client: httpx2.Client) -> None:
    assert "smollm2-135m-instruct" in [model["id"] for model in client.get("/models").json()]


def test_bad_limits_of_a_listing_are_refused(client: httpx2.Client) -> None:
    for limit in ("0", "501", "x"):
        assert client.get("/calls", params={"limit": limit}).status_code == 422


def test_neither_key_nor_token_is_in_the_log(plane: ControlPlane, client: httpx2.Client) -> None:
    _tenant(client, "quiet")
    secret = client.post("/keys", json={"tenant": "quiet", "name": "x"}).json()["secret"]
    httpx2.get(f"{plane.plain_url}/v1/models", headers={"authorization": f"Bearer {secret}"})
    log = Path(plane.data / "serve.log").read_text()
    assert secret not in log
    assert plane.token not in log
    assert json.dumps(plane.token) not in log
