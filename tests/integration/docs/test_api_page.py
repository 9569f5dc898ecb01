"""docs/api.md: the interfaces as they are now, and errors as it says that they look."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from control_plane.gateway.errors import Condition
from tests.support.api_page import OPERATORS, description, page
from tests.support.control_plane import ControlPlane, initialised, serving

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return description()


def test_the_page_is_fresh(found: dict[str, Any]) -> None:
    assert (ROOT / "docs" / "api.md").read_text() == page(found), "run scripts/gen_api_docs"


def test_no_name_of_the_inside_is_told(found: dict[str, Any]) -> None:
    """Two classes of one name in two modules get their modules' names put before it."""
    assert [name for name in found["components"]["schemas"] if "_" in name] == []
    names = [each["operationId"] for path in found["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_to_a_shape(found: dict[str, Any]) -> None:
    assert set(_references(found)) <= found["components"]["schemas"].keys()


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].removeprefix("#/components/schemas/")
        for each in part.values():
            yield from _references(each)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)


def test_every_refusal_of_a_call_is_on_the_page(found: dict[str, Any]) -> None:
    text = page(found)
    for each in Condition:
        assert f"| {each.value.status} | `{each.value.code}` | `{each.value.fall_through}` |" in text


def test_errors_have_the_statuses_codes_and_shape_that_the_page_names(tmp_path: Path) -> None:
    told = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| (`[^|]+`) \|", OPERATORS, re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    plane = initialised(tmp_path / "data")
    with serving(plane):
        met = set(_refused(plane))
    assert met <= told
    assert len(met) == 6


def _refused(plane: ControlPlane) -> Iterator[tuple[int, str]]:
    headers = {"authorization": f"Bearer {plane.token}"}
    with httpx2.Client(base_url=f"{plane.plain_url}/api/v1", headers=headers) as client:
        client.post("/tenants", json={"name": "acme"}).raise_for_status()
        for answer in (
            client.get("/tenants", headers={"authorization": "Bearer none"}),
            client.get("/tenants/nobody"),
            client.delete("/tenants"),
            client.post("/tenants", json={"name": "acme"}),
            client.post("/tenants", json={"name": "x" * 70_000}),
            client.post("/tenants", json={"nmae": "acme"}),
        ):
            body = answer.json()
            assert body.keys() == {"error"}
            assert body["error"].keys() == {"code", "message"}
            yield answer.status_code, body["error"]["code"]
