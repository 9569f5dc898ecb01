"""The economy's commands against a control plane that runs, for people and with --json."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import Session

from control_plane.economy import SettleFacts, Tokens, settle
from control_plane.store import Store
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.economy import add_economy, in_pool


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    with serving(plane):
        store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
        store.write_now(add_economy)
        dispatch = in_pool(1)
        facts = SettleFacts(
            dispatch.call_id, dispatch.attempt_id, Tokens(8, 12), Tokens(8, 12), dispatch.now_unix_ms
        )

        def unit(session: Session) -> None:
            dispatch(session)
            settle(session, facts)

        store.write_now(unit)
        store.close()
        yield plane


def _json(plane: ControlPlane, *arguments: str) -> Any:
    result = plane.daalu(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _fails(plane: ControlPlane, *arguments: str) -> str:
    result = plane.daalu(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr


def test_a_role_follows_contributions_and_subscriptions(plane: ControlPlane) -> None:
    def role(tenant: str) -> object:
        return _json(plane, "tenants", "policy", tenant)["role"]

    assert (role("provider"), role("consumer")) == ("owner", "owner")
    plane.daalu("tenants", "create", "newcomer")
    assert role("newcomer") == "none"
    started = plane.daalu(
        "subscriptions", "start", "--tenant", "newcomer", "--pool", "shared", "--plan", "invoiced"
    )
    assert role("newcomer") == "consumer"
    assert "is subscribed" in _fails(
        plane, "subscriptions", "start", "--tenant", "newcomer", "--pool", "shared", "--plan", "free"
    )
    assert plane.daalu("pools", "contribute", "agt-provider", "--pool", "shared").returncode == 0
    assert role("provider") == "provider"
    assert "third party" in plane.daalu("pools", "show", "shared").stdout
    assert plane.daalu("pools", "withdraw", "agt-provider").returncode == 0
    assert role("provider") == "owner"
    assert "there is no contribution" in _fails(plane, "pools", "withdraw", "agt-provider")
    assert plane.daalu("subscriptions", "end", "--yes", started.stdout.strip()).returncode == 0
    assert role("newcomer") == "none"


def test_a_hosted_pool_takes_the_operators_cards_only(plane: ControlPlane) -> None:
    plane.daalu("pools", "create", "hosted", "--kind", "hosted", "--default-plan", "free")
    assert "operator's cards only" in _fails(plane, "pools", "contribute", "agt-second", "--pool", "hosted")
    assert plane.daalu("pools", "contribute", "agt-operator", "--pool", "hosted").returncode == 0
    shown = _json(plane, "pools", "show", "hosted")
    assert [card["operator_run"] for card in shown["cards"]] == [True]
    assert "only a hosted pool" in _fails(
        plane, "pools", "create", "x", "--kind", "provider", "--default-plan", "free"
    )


def test_a_price_and_a_share_have_versions(plane: ControlPlane) -> None:
    price = ("prices", "set", "tiny", "--pool", "shared", "--output", "600")
    assert plane.daalu(*price, "--input", "150", "--starts-unix-ms", "1").returncode == 0
    assert plane.daalu(*price, "--input", "160").returncode == 0
    listed = _json(plane, "prices", "list", "--pool", "shared")
    assert [each["input_micro_usd_per_mtok"] for each in listed] == [160, 150]
    assert "tiny" in plane.daalu("prices", "list").stdout
    assert "70.00 %" in plane.daalu("shares", "set", "7000", "--pool", "shared").stdout
    assert "0 to 10000 basis points" in _fails(plane, "shares", "set", "10001", "--pool", "shared")
    assert "cached input costs no more" in _fails(plane, *price, "--input", "1", "--cached-input", "2")


def test_plans_are_made_and_listed(plane: ControlPlane) -> None:
    assert plane.daalu("plans", "create", "large", "--monthly-tokens", "1000000").returncode == 0
    assert "large" in plane.daalu("plans", "list").stdout
    assert "already" in _fails(plane, "plans", "create", "large", "--monthly-tokens", "1")
    assert "0 to" in _fails(plane, "plans", "create", "less", "--monthly-tokens", "-1")


def test_a_policy_is_changed_and_audited(plane: ControlPlane) -> None:
    changed = _json(
        plane, "tenants", "policy", "consumer", "--trust", "any_pool_card", "--external",
        "--external-cap-micro-usd", "5000000",
    )  # fmt: skip
    assert (changed["trust"], changed["external_allowed"]) == ("any_pool_card", True)
    assert "external cap micro usd  5000000" in plane.daalu("tenants", "policy", "consumer").stdout
    with sqlite3.connect(plane.data / "daalu.db") as database:
        rows = database.execute("SELECT actor FROM audit WHERE action = 'policy.changed'").fetchall()
    assert rows == [("operator",)]


def test_usage_credits_and_statements_are_told_to_the_last_pico_dollar(plane: ControlPlane) -> None:
    charge = 8 * 150_000 + 12 * 600_001
    assert "0.000008400012 USD" in plane.daalu("usage", "--tenant", "consumer").stdout
    (credit,) = _json(plane, "credits", "--month", "2026-11")
    assert credit["held_pico_usd"] == charge * 7_001 // 10_000
    (statement,) = _json(plane, "statements", "list")
    assert statement == {
        "tenant_id": "ten-consumer", "month": "2026-11", "charge_pico_usd": charge, "paid_unix_ms": None,
    }  # fmt: skip
    assert "written like" in _fails(plane, "statements", "mark-paid", "--yes", "consumer", "November")
    assert "there is no statement" in _fails(plane, "statements", "mark-paid", "--yes", "consumer", "2026-01")
    assert "no charged call" in _fails(plane, "ledger", "reverse", "--yes", "call-none")


@pytest.mark.parametrize("listing", ["pools", "plans", "prices", "subscriptions", "statements"])
def test_every_listing_speaks_json(plane: ControlPlane, listing: str) -> None:
    assert isinstance(_json(plane, listing, "list"), list)


def test_verification_tells_the_first_broken_invariant_and_fails(plane: ControlPlane) -> None:
    assert plane.daalu("ledger", "verify").stdout == "the ledger is in order\n"
    assert _json(plane, "ledger", "verify") == []
    with sqlite3.connect(plane.data / "daalu.db") as database:
        database.execute("UPDATE ledger_entry SET amount_pico_usd = amount_pico_usd + 1 WHERE line = 2")
    try:
        assert "every transaction's entries sum to zero\n  id=txn-" in _fails(plane, "ledger", "verify")
        result = plane.daalu("ledger", "verify", "--json")
        assert result.returncode == 1
        assert json.loads(result.stdout)[0]["invariant"] == "every transaction's entries sum to zero"
    finally:
        with sqlite3.connect(plane.data / "daalu.db") as database:
            database.execute("UPDATE ledger_entry SET amount_pico_usd = amount_pico_usd - 1 WHERE line = 2")


def test_an_administrator_pins_calls_and_takes_the_pin_back(plane: ControlPlane) -> None:
    made = plane.daalu("pins", "add", "--tenant", "consumer", "--model", "tiny", "--tier", "pool")
    assert made.returncode == 0, made.stderr
    pin = made.stdout.strip()
    [shown] = _json(plane, "pins", "list", "--tenant", "consumer")
    assert (shown["id"], shown["model"], shown["purpose"], shown["tier"]) == (pin, "tiny", None, "pool")
    assert pin in plane.daalu("pins", "list").stdout
    assert "a pin is for a model" in _fails(plane, "pins", "add", "--tenant", "consumer", "--tier", "own")
    assert "tier" in _fails(
        plane, "pins", "add", "--tenant", "consumer", "--model", "x", "--tier", "elsewhere"
    )
    assert _json(plane, "pins", "end", pin)["ended_unix_ms"] is not None
    assert plane.daalu("pins", "list").stdout == "no pins\n"
    assert "there is no pin" in _fails(plane, "pins", "end", "pin-none")
