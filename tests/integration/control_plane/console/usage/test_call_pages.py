"""The "Calls" pages of a control plane that runs: search, pages of the list, and the whole of one call."""

import csv
import io
import re

import pytest

from control_plane.config import load_settings
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Call
from tests.integration.control_plane.console.usage.conftest import As
from tests.support.console_world import HOSTS, ROLES
from tests.support.usage_world import COMPLETION, MODEL, PROMPT, UsageWorld

PAGE = "/console/calls"
_ROW = re.compile(r'<a href="/console/calls/(call-[^"]+)"')


def _found(signed_in: As, role: str, **query: str) -> list[str]:
    answer = signed_in(role).get(PAGE, params=query)
    assert answer.status_code == 200, answer.text
    return _ROW.findall(answer.text)


def test_the_newest_call_is_the_first(signed_in: As, world: UsageWorld) -> None:
    found = _found(signed_in, "consumer")
    ran = [each for each in found if "past" not in each]
    assert ran == sorted(world.calls["consumer"], reverse=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"tier": "pool", "since": "2026-01-01"}, 8),
        ({"tier": "own"}, 0),
        ({"outcome": "refused"}, 1),
        ({"status": "200"}, 8),
        ({"model": "no-such-model"}, 1),
        ({"model": MODEL, "outcome": "complete"}, 8),
        ({"id": "call-00past-"}, 6),
        ({"id": "call-00past-3"}, 1),
        ({"id": "%"}, 0),
    ],
)
def test_calls_are_searched(signed_in: As, query: dict[str, str], expected: int) -> None:
    assert len(_found(signed_in, "consumer", **query)) == expected


def test_calls_are_searched_by_key_and_by_day(signed_in: As, world: UsageWorld) -> None:
    assert len(_found(signed_in, "consumer", key=world.keys["consumer"].row.id)) == 9
    of_last_month = {"since": f"{world.last_month}-01", "until": f"{world.last_month}-28"}
    assert {each[:11] for each in _found(signed_in, "consumer", **of_last_month)} == {"call-00past"}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"tier": "roof"}, "A tier is one of"),
        ({"outcome": "eaten"}, "An outcome is one of"),
        ({"status": "2²0"}, "three digits"),
        ({"status": "-10"}, "three digits"),
        ({"since": "yesterday"}, "a day is written like"),
        ({"since": "2026-11-20", "until": "2026-11-01"}, "ends on"),
        ({"since": "2020-01-01", "until": "2026-01-01"}, "ask in parts"),
        ({"id": "x" * 201}, "at most 200 characters"),
        ({"model": "a\x00b"}, "cannot be printed"),
        ({"before": "\x00"}, "cannot be printed"),
    ],
)
def test_a_search_for_what_cannot_be_is_refused_in_words(
    signed_in: As, query: dict[str, str], says: str
) -> None:
    for path in (PAGE, f"{PAGE}.csv"):
        answer = signed_in("consumer").get(path, params=query)
        assert answer.status_code == 422
        assert says in answer.text


def test_a_long_list_has_pages_that_keep_the_search(signed_in: As, world: UsageWorld) -> None:
    """120 older calls of the newcomer's: three pages, each call on one."""
    store = Store(load_settings(world.plane.data).database_url)
    store.write_now(lambda session: session.add_all([_refused(world, number) for number in range(120)]))
    store.close()
    client, seen = signed_in("none"), list[str]()
    address, pages = f"{PAGE}?outcome=refused", 0
    while address:
        page = client.get(address).text
        seen += _ROW.findall(page)
        pages += 1
        older = re.search(r'<a href="([^"]+)">Older</a>', page)
        address = older[1].replace("&amp;", "&") if older else ""
        assert not address or "outcome=refused" in address
    assert pages == 3
    assert len(seen) == len(set(seen)) == 121
    assert seen == sorted(seen, reverse=True)
    assert len(client.get(f"{PAGE}.csv?outcome=refused").text.splitlines()) == 122


def _refused(world: UsageWorld, number: int) -> Call:
    key = world.keys["none"].row
    return Call(
        id=f"call-000-{number:03}", tenant_id=key.tenant_id, api_key_id=key.id, purpose="general",
        path="/v1/chat/completions", model="tiny", streamed=False, outcome="refused", http_status=429,
        error_code="rate_limited", started_unix_ms=unix_ms(), decision="{}",
    )  # fmt: skip


def test_a_call_in_a_pool_says_why_and_what_it_cost_and_not_whose_card(
    signed_in: As, world: UsageWorld
) -> None:
    page = signed_in("consumer").get(f"{PAGE}/{world.calls['consumer'][0]}").text
    assert page.count("a card of pool community") == 3
    assert "$0.15 in, $0.60 out, $0.05 cached" in page
    assert re.search(r'data-figure="charge">\$0\.0000\d+<', page)
    assert HOSTS["provider"] not in page


def test_a_call_on_an_own_card_names_the_card_and_costs_nothing(signed_in: As, world: UsageWorld) -> None:
    page = signed_in("owner").get(f"{PAGE}/{world.calls['owner'][0]}").text
    assert f"<strong>{HOSTS['owner']}</strong>" in page
    assert "nothing is charged" in page


def test_a_refused_call_says_what_was_left_out_and_why(signed_in: As, world: UsageWorld) -> None:
    owners = signed_in("owner").get(f"{PAGE}/{world.calls['owner'][-1]}").text
    assert f"it serves {MODEL}" in owners
    assert "Served nowhere." in owners
    assert "It was sent nowhere." in owners


@pytest.mark.parametrize("role", ROLES)
def test_what_was_said_is_on_no_page_and_in_no_file(signed_in: As, world: UsageWorld, role: str) -> None:
    paths = [PAGE, f"{PAGE}.csv", *(f"{PAGE}/{call_id}" for call_id in world.calls[role])]
    for path in paths:
        text = signed_in(role).get(path).text
        assert PROMPT not in text
        assert COMPLETION not in text


def test_the_file_of_calls_has_the_rest_interfaces_columns_less_what_is_others(
    signed_in: As, world: UsageWorld
) -> None:
    rows = list(csv.DictReader(io.StringIO(signed_in("consumer").get(f"{PAGE}.csv").text)))
    assert len(rows) == 9
    assert {(row["agent_id"], row["agent_name"], row["credit_pico_usd"]) for row in rows} == {("", "", "")}
    assert [row["pool_name"] for row in rows].count("community") == 8
    own = list(csv.DictReader(io.StringIO(signed_in("owner").get(f"{PAGE}.csv").text)))
    assert {row["agent_name"] for row in own if row["tier"] == "own"} == {HOSTS["owner"]}


@pytest.mark.parametrize("call_id", ["call-nothing", "%00", "x" * 300])
def test_what_is_no_call_is_not_there(signed_in: As, call_id: str) -> None:
    assert signed_in("consumer").get(f"{PAGE}/{call_id}").status_code == 404
