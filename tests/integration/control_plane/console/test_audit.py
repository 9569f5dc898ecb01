"""The audit trail on a control plane that runs: REST, command line and pages, each for whom it is."""

import json

import httpx2
import pytest

from tests.integration.control_plane.console.conftest import ADMIN, MEMBER
from tests.support.console import form_token, new_person, run, sign_in
from tests.support.control_plane import ControlPlane


def _operator(plane: ControlPlane, client: httpx2.Client) -> None:
    assert client.post("/console/sign-in/operator", data={"token": plane.token}).status_code == 303


def test_the_command_and_rest_give_the_same_entries(plane: ControlPlane) -> None:
    person = new_person(plane, "zebra-corp", "trail@other.test")
    found = json.loads(run(plane, "audit", "list", "--tenant", "zebra-corp", "--action", "user", "--json"))
    newest = found["entries"][0]
    assert (newest["action"], newest["subject"], newest["actor"]) == (
        "user.created",
        person.user_id,
        "operator",
    )
    assert {entry["tenant_name"] for entry in found["entries"]} == {"zebra-corp"}
    table = run(plane, "audit", "list", "--subject", person.user_id)
    assert "user.created" in table
    assert "trail@other.test" in table


def test_the_command_says_how_to_go_on(plane: ControlPlane) -> None:
    first = run(plane, "audit", "list", "--limit", "1")
    assert "there are older ones: --before " in first
    before = first.rpartition(" ")[2]
    assert run(plane, "audit", "list", "--limit", "1", "--before", before) != first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tenant", "nobody"), "no tenant 'nobody'"),
        (("--since", "yesterday"), "a day is written like"),
        (("--since", "2026-11-25", "--until", "2026-11-24"), "before it starts"),
        (("--actor", "x" * 300), "at most 254"),
    ],
)
def test_a_filter_that_is_none_is_explained(
    plane: ControlPlane, arguments: tuple[str, ...], says: str
) -> None:
    result = plane.daalu("audit", "list", *arguments)
    assert result.returncode != 0
    assert says in result.stderr


def test_rest_is_the_operators(plane: ControlPlane) -> None:
    secret = run(plane, "keys", "create", "prying", "--tenant", "acme")
    answer = httpx2.get(
        f"{plane.plain_url}/api/v1/audit", headers={"authorization": f"Bearer {secret.splitlines()[0]}"}
    )
    assert answer.status_code == 401


def test_an_admin_reads_their_own_tenants_trail_and_no_other(
    plane: ControlPlane, admin: httpx2.Client
) -> None:
    page = admin.get("/console/audit")
    assert page.status_code == 200
    assert "session.started" in page.text
    assert ADMIN in page.text
    for foreign in ("zebra-corp", "olga@other.test"):
        assert foreign not in page.text
    own = admin.get("/console/audit.json", params={"limit": 500})
    assert {entry["tenant_name"] for entry in own.json()["entries"]} == {"acme"}
    # Whatever tenant is asked for, it is the viewer's own that answers.
    asked = admin.get("/console/audit.json", params={"tenant": "zebra-corp", "limit": 500})
    assert {entry["tenant_name"] for entry in asked.json()["entries"]} == {"acme"}
    assert admin.get("/console/operator/audit").status_code == 404


def test_a_program_is_told_in_json_what_its_filter_lacks(admin: httpx2.Client) -> None:
    answer = admin.get("/console/audit.json", params={"since": "soon"})
    assert answer.status_code == 422
    assert "a day is written like" in answer.json()["error"]["message"]


def test_a_member_has_no_audit_page(client: httpx2.Client) -> None:
    sign_in(client, MEMBER)
    assert client.get("/console/audit").status_code == 404
    assert client.get("/console/audit.json").status_code == 404
    assert "/console/audit" not in client.get("/console").text


def test_nobody_reads_it_without_signing_in(client: httpx2.Client) -> None:
    for path in ("/console/audit", "/console/audit.json", "/console/operator/audit"):
        assert client.get(path).headers["location"] == "/console/sign-in"


def test_the_operator_filters_and_goes_on_to_older_ones(plane: ControlPlane, client: httpx2.Client) -> None:
    _operator(plane, client)
    page = client.get("/console/operator/audit", params={"tenant": "acme", "action": "user", "limit": "1"})
    assert page.text.count("<td>user.") == 1
    assert "Older entries" in page.text
    empty = client.get("/console/operator/audit", params={"action": "nothing.such"})
    assert "widen the filter" in empty.text


@pytest.mark.parametrize(
    "params",
    [
        {"since": "soon"},
        {"tenant": "nobody"},
        {"limit": "0"},
        {"before": "x"},
        {"before": str(2**31)},
        {"odd": "1"},
    ],
)
def test_a_page_explains_a_filter_that_is_none(
    plane: ControlPlane, client: httpx2.Client, params: dict[str, str]
) -> None:
    _operator(plane, client)
    answer = client.get("/console/operator/audit", params=params)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_signing_out_is_in_the_trail_of_the_users_tenant(admin: httpx2.Client) -> None:
    token = form_token(admin.get("/console").text)
    admin.post("/console/sign-out", data={"form_token": token})
    sign_in(admin, ADMIN)
    actions = [entry["action"] for entry in admin.get("/console/audit.json").json()["entries"]]
    assert "session.ended" in actions
