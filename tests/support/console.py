"""People who use the console: made by the operator's CLI, signed in over TLS."""

import re
import ssl
from dataclasses import dataclass

import httpx2

from tests.support.control_plane import ControlPlane

PASSWORD = "seven quiet herons wade"


@dataclass(frozen=True, slots=True)
class Person:
    email: str
    user_id: str


def run(plane: ControlPlane, *arguments: str) -> str:
    result = plane.daalu(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def new_person(plane: ControlPlane, tenant: str, email: str, *, admin: bool = True) -> Person:
    """With no password yet."""
    role = "admin" if admin else "member"
    return Person(email, run(plane, "users", "create", email, "--tenant", tenant, "--role", role))


def browser(plane: ControlPlane) -> httpx2.Client:
    """A client that keeps cookies, and sends what a browser does with a form of our own."""
    context = ssl.create_default_context(cafile=plane.data / "tls" / "server.pem")
    url = f"https://localhost:{plane.tls_port}"
    return httpx2.Client(verify=context, base_url=url, headers={"origin": url}, timeout=30)


def choose_password(plane: ControlPlane, person: Person, password: str = PASSWORD) -> str:
    """By a new link; returns its token, which is used up."""
    token = run(plane, "users", "link", person.user_id).rpartition("/")[2]
    with browser(plane) as client:
        answer = client.post(
            "/console/welcome", data={"token": token, "password": password, "again": password}
        )
    assert answer.status_code == 303, answer.text
    return token


def sign_in(client: httpx2.Client, email: str, password: str = PASSWORD) -> httpx2.Response:
    return client.post("/console/sign-in", data={"email": email, "password": password})


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
    assert found is not None, page
    return found[1]
