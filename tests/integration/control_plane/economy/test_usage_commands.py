"""Usage, quota, savings and the search of calls: the commands and the files, against a control plane that
runs."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlmodel import Session

from control_plane.economy import SettleFacts, Tokens, settle
from control_plane.store import Store
from control_plane.store.tables import ApiKey, Call
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.economy import NOVEMBER_MS, add_attempt, add_economy, in_pool

_RANGE = ("--since", "2026-11-01", "--until", "2026-11-30")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    with serving(plane):
        store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
        store.write_now(_fill)
        store.close()
        yield plane


def _fill(session: Session) -> None:
    add_economy(session)
    dispatch = in_pool(1)
    tokens = Tokens(8, 12)
    dispatch(session)
    settle(session, SettleFacts(dispatch.call_id, dispatch.attempt_id, tokens, tokens, NOVEMBER_MS))
    session.get_one(ApiKey, "key-consumer").name = "=cmd()"
    _end(session, "call-1", "complete", 200, None, 40.0)
    for number, milliseconds in enumerate((10.0, 20.0), start=2):
        add_attempt(session, f"call-{number}", f"att-{number}", tier="own", card=None)
        _end(session, f"call-{number}", "complete", 200, None, milliseconds)
    add_attempt(session, "call-4", "att-4", tier="pool", card=None)
    _end(session, "call-4", "refused", 429, "quota_exceeded", None)


def _end(
    session: Session, call_id: str, outcome: str, status: int, code: str | None, milliseconds: float | None
) -> None:
    call = session.get_one(Call, call_id)
    call.outcome, call.http_status, call.error_code, call.duration_ms = outcome, status, code, milliseconds


def _json(plane: ControlPlane, *arguments: str) -> Any:
    result = plane.daalu(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _page(plane: ControlPlane, *arguments: str) -> str:
    result = plane.daalu(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_spend_is_shown_by_what_was_asked_for(plane: ControlPlane) -> None:
    (row,) = _json(plane, "spend", "--by", "day,model", *_RANGE)
    assert (row["day"], row["model"], row["calls"], row["tier"]) == ("2026-11-10", "tiny", 1, None)
    assert row["charge_pico_usd"] == 8 * 150_000 + 12 * 600_001
    page = _page(plane, "spend", "--by", "day,model", *_RANGE)
    assert page.split("\n")[0].split() == [
        "MODEL",
        "DAY",
        "CALLS",
        "PROMPT",
        "COMPLETION",
        "CHARGE",
        "REVERSED",
    ]
    assert "0.000008400012 USD" in page
    assert _page(plane, "spend", "--tenant", "provider", *_RANGE) == "nothing was used\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["spend", "--by", "colour"], "usage is grouped by tenant, tier, model, key, day, not by 'colour'"),
        (["spend", "--since", "yesterday"], "a day is written like 2026-11-25, not 'yesterday'"),
        (["spend", "--since", "2026-11-02", "--until", "2026-11-01"], "before it starts"),
        (["call-figures", "--since", "2026-01-01", "--until", "2026-11-01"], "at most 31"),
        (["quota", "nobody"], "there is no tenant 'nobody'"),
        (["calls", "list", "--until", "x"], "a day is written like"),
    ],
)
def test_what_cannot_be_answered_is_one_line(plane: ControlPlane, arguments: list[str], words: str) -> None:
    result = plane.daalu(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_was_served_is_shown_to_its_provider_without_the_consumer(plane: ControlPlane) -> None:
    (row,) = _json(plane, "served", "--tenant", "provider", *_RANGE)
    assert (row["agent_id"], row["model"], row["calls"]) == ("agt-provider", "tiny", 1)
    page = _page(plane, "served", "--tenant", "provider", *_RANGE)
    assert "agt-provider" in page
    assert "consumer" not in page + json.dumps(row)


def test_quota_and_savings_say_where_there_is_none(plane: ControlPlane) -> None:
    assert _json(plane, "quota", "consumer") == _json(plane, "savings", *_RANGE) == []
    assert _page(plane, "quota", "consumer") == "no quota: the tenant may use no pool\n"
    assert _page(plane, "savings", *_RANGE).startswith("nothing to compare")


def test_a_new_right_has_its_quota_and_no_made_up_projection(plane: ControlPlane) -> None:
    plane.daalu("tenants", "create", "new")
    plane.daalu("subscriptions", "start", "--tenant", "new", "--pool", "shared", "--plan", "invoiced")
    (row,) = _json(plane, "quota", "new")
    assert (row["quota_tokens"], row["left_tokens"], row["projected_tokens"]) == (1_000, 1_000, None)
    assert "too early to say" in _page(plane, "quota", "new")


def test_figures_of_calls_are_those_of_calls_that_were_made(plane: ControlPlane) -> None:
    found = _json(plane, "call-figures", "--tenant", "consumer", *_RANGE)
    assert (found["calls"], found["complete"], found["refused"]) == (4, 3, 1)
    assert (found["average_ms"], found["p95_ms"]) == (pytest.approx(70 / 3), 40.0)
    assert "95 % within  40 ms" in _page(plane, "call-figures", "--tenant", "consumer", *_RANGE)
    nobody = _json(plane, "call-figures", "--tenant", "provider", *_RANGE)
    assert (nobody["calls"], nobody["average_ms"], nobody["p95_ms"]) == (0, None, None)
    refused = {"outcome": "refused", "error_code": "quota_exceeded", "http_status": 429, "calls": 1}
    assert _json(plane, "refusals", "--tenant", "consumer", *_RANGE) == [refused]
    assert "quota_exceeded" in _page(plane, "refusals", *_RANGE)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("status=429", ["call-4"]),
        ("outcome=complete&limit=2", ["call-3", "call-2"]),
        ("outcome=complete&before=call-2", ["call-1"]),
        ("tier=own&model=tiny", ["call-3", "call-2"]),
        ("key=key-provider", []),
        ("starts=call-4", ["call-4"]),
        ("starts=%25", []),
        ("since=2026-11-10&until=2026-11-10", ["call-4", "call-3", "call-2", "call-1"]),
        ("since=2026-11-11&until=2026-11-12", []),
        ("tenant=provider", []),
    ],
)
def test_calls_are_found_by_what_is_known_of_them(plane: ControlPlane, query: str, ids: list[str]) -> None:
    assert [each["id"] for each in _get(plane, f"calls?{query}").json()] == ids


def test_the_command_searches_by_all_of_it_at_once(plane: ControlPlane) -> None:
    wanted = [
        *("--tenant", "consumer", "--key", "key-consumer", "--model", "tiny", "--status", "200"),
        *("--tier", "own", "--outcome", "complete", "--id", "call-", "--before", "call-3", *_RANGE),
    ]
    assert [each["id"] for each in _json(plane, "calls", "list", *wanted)] == ["call-2"]
    assert "call-2" in _page(plane, "calls", "list", *wanted)
    assert _page(plane, "calls", "list", *wanted[:-4], "--since", "2026-11-20") == "no calls\n"


@pytest.mark.parametrize(
    "path",
    ["spend?by=key&", "savings?", "served?", "refusals?", "tenants/consumer/quota?", "calls?", "usage?",
     "credits?", "statements?"],
)  # fmt: skip
def test_every_table_is_also_a_file(plane: ControlPlane, path: str) -> None:
    table = _get(plane, path + _days(path)).json()
    answer = _get(plane, path + _days(path) + "form=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == len(table)
    for row, wanted in zip(rows, table, strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            assert row[name] == ("" if value is None else "'=cmd()" if value == "=cmd()" else str(value))


def _days(path: str) -> str:
    months = ("usage", "credits", "statements", "tenants")
    return "" if path.startswith(months) else "since=2026-11-01&until=2026-11-30&"


def _get(plane: ControlPlane, path: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {plane.token}"}
    answer = httpx2.get(f"{plane.plain_url}/api/v1/{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer
