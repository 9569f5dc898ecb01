"""One pool of real cards in two networks, a vendor in a third, and tenants who may or may not use them.

Connections are counted by nftables on the hosts that would be connected to, not by the product.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.support.engine_model import MODEL_ID, SERVED_NAME
from tests.support.machine import engine_python
from tests.support.netlab import Host
from tests.support.product import HTTPS_PORT, AgentOptions
from tests.support.programs import Program, eventually
from tests.support.raw_client import Answer, RawClient
from tests.support.system import Site
from tests.support.vendor import KEY
from tests.support.vendor_tls import make_tls

CHAT = "/v1/chat/completions"
ENGINE_PORT, VENDOR_PORT = 7400, 8444
INPUT, OUTPUT = 150_000, 600_001
SHARE = 7_001
CAP_MICRO_USD = 1_000_000
ASK: dict[str, Any] = {
    "model": SERVED_NAME,
    "messages": [{"role": "user", "content": "Go on"}],
    "max_tokens": 12,
}


class Connections:
    """TCP connections that other hosts asked for at one port of a host; a daemon's own to its engine, which
    come now and then, are none of those."""

    def __init__(self, host: Host, port: int) -> None:
        self._host, self._table = host, f"counted{port}"
        host.run(["nft", "-f", "-"], stdin=_counting(self._table, port))

    def count(self) -> int:
        shown = self._host.run(["nft", "--json", "list", "counter", "inet", self._table, "asked"]).stdout
        return int(
            next(each["counter"]["packets"] for each in json.loads(shown)["nftables"] if "counter" in each)
        )


def _counting(table: str, port: int) -> str:
    return f"""
table inet {table} {{
  counter asked {{ }}
  chain seen {{
    type filter hook input priority -300;
    iifname != "lo" tcp dport {port} tcp flags & (syn | ack) == syn counter name asked accept
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Market:
    world: World
    hosted: Site
    to_third_party: Connections
    to_vendor: Connections
    keys: dict[str, str]

    def ask(self, tenant: str, **changes: Any) -> Answer:
        return self.client(tenant).ask("POST", CHAT, json.dumps(ASK | changes).encode())

    def client(self, tenant: str) -> RawClient:
        network = self.world.system.network
        return RawClient(
            network.client,
            network.control_address,
            HTTPS_PORT,
            self.world.system.control.tls(),
            self.keys[tenant],
        )

    def call(self, answer: Answer) -> Any:
        return self.world.system.control.call(answer.headers["x-daalu-call-id"])

    def credit(self, tenant: str) -> int:
        found = self.world.system.control.rest("GET", f"/credits?tenant={tenant}")
        return sum(each["held_pico_usd"] + each["non_payable_pico_usd"] for each in found)

    def assert_books_are_in_order(self) -> None:
        assert self.world.system.control.rest("GET", "/ledger/verify") == []


@pytest.fixture(scope="module")
def market(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    system, control = world.system, world.system.control
    vendor_host, vendor_address = system.network.server("vendor")
    tls = make_tls(tmp_path_factory.mktemp("vendor") / "tls", vendor_address)
    vendor = Program(
        vendor_host,
        _vendor_command(vendor_address, tls.certificate, tls.key),
        tls.ca.parent / "vendor.log",
    )
    _configure_vendor(control.data, vendor_address, tls.ca)
    vendor.start()
    try:
        # Vendors are read at start.
        control.restart()
        system.wait_for_liveness(world.owner, "live")
        system.wait_for_engine(world.owner)
        control.create_tenant("operator")
        control.rest("POST", "/tenants/operator/policy", {"is_operator": True})
        options = AgentOptions(
            engine_python=engine_python(),
            models=world.models,
            catalogue=world.catalogue,
        )
        hosted = system.new_site("hosted", options)
        system.join(hosted, "operator")
        system.deploy(hosted, MODEL_ID)
        keys = _open_shop(world)
        yield Market(
            world,
            hosted,
            Connections(world.owner.customer.host, ENGINE_PORT),
            Connections(vendor_host, VENDOR_PORT),
            keys,
        )
        # What later modules find is what earlier ones left.
        control.rest("POST", f"/agents/{world.owner.agent.name}/withdraw")
        hosted.agent.stop()
    finally:
        vendor.stop()


def _vendor_command(address: str, certificate: Path, key: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tests.support.vendor",
        *("--listen", f"{address}:{VENDOR_PORT}"),
        *("--certificate", str(certificate), "--key", str(key)),
    ]


def _configure_vendor(data: Path, address: str, ca: Path) -> None:
    (data / "vendor.key").write_text(f"{KEY}\n")
    (data / "vendor.key").chmod(0o600)
    (data / "vendors.toml").write_text(
        f"""
[[vendor]]
name = "elsewhere"
base_url = "https://{address}:{VENDOR_PORT}/v1"
key_file = "vendor.key"
ca_file = "{ca}"

[[vendor.model]]
served_name = "{SERVED_NAME}"
vendors_name = "their/small"
context_tokens = 8192
max_output_tokens = 4096
input_micro_usd_per_mtok = {INPUT}
output_micro_usd_per_mtok = {OUTPUT}
"""
    )


def _open_shop(world: World) -> dict[str, str]:
    control = world.system.control
    control.rest("POST", "/pools", {"name": "shared", "kind": "provider"})
    control.rest("POST", "/pools/shared/contribute", {"agent": world.owner.agent.name})
    control.rest("POST", "/pools/shared/contribute", {"agent": "hosted"})
    price = {
        "model": SERVED_NAME,
        "input_micro_usd_per_mtok": INPUT,
        "output_micro_usd_per_mtok": OUTPUT,
    }
    control.rest("POST", "/pools/shared/prices", price)
    control.rest("POST", "/pools/shared/share", {"share_basis_points": SHARE})
    plan = {
        "requests_per_minute": 10_000,
        "tokens_per_minute": 10_000_000,
        "concurrent_calls": 64,
        "default_output_tokens": 64,
        "billing": "invoiced",
    }
    for name, monthly, overage in [
        ("large", 10_000_000, "stop"),
        ("spent-stop", 1, "stop"),
        ("spent-external", 1, "external"),
    ]:
        control.rest("POST", "/plans", {**plan, "name": name, "monthly_tokens": monthly, "overage": overage})
    keys = {"owner": world.owner_key}
    for tenant, of_plan in [("buyer", "large"), ("stopper", "spent-stop"), ("spiller", "spent-external")]:
        control.create_tenant(tenant)
        control.rest("POST", "/subscriptions", {"tenant": tenant, "pool": "shared", "plan": of_plan})
        policy = {
            "trust": "any_pool_card",
            "external_allowed": True,
            "external_cap_micro_usd": CAP_MICRO_USD,
        }
        control.rest("POST", f"/tenants/{tenant}/policy", policy)
        keys[tenant] = control.create_key(tenant)
        keys[f"{tenant}'s coder"] = control.create_key(tenant, purpose="coding")
    return keys


def test_the_owner_is_served_by_its_own_card_for_nothing(market: Market) -> None:
    answer = market.ask("owner")
    assert (answer.status, answer.headers["x-daalu-tier"]) == (200, "own")
    call = market.call(answer)
    assert (call["agent_name"], call["charge_pico_usd"], call["credit_pico_usd"]) == (
        market.world.owner.agent.name,
        0,
        0,
    )


def test_a_consumers_call_credits_the_cards_owner_to_the_last_pico_dollar(market: Market) -> None:
    control, agent = market.world.system.control, market.world.owner.agent
    pin = {"tenant": "buyer", "model": SERVED_NAME, "tier": "pool", "agent": agent.name}
    pinned = control.rest("POST", "/pins", pin)["id"]
    before = market.credit("owner")
    answer = market.ask("buyer")
    control.rest("POST", f"/pins/{pinned}/end")
    assert (answer.status, answer.headers["x-daalu-tier"], answer.headers["x-daalu-pool"]) == (
        200,
        "pool",
        "shared",
    )
    used, call = answer.json()["usage"], market.call(answer)
    assert call["agent_name"] == agent.name
    # The lesser of claim and own count is charged; a prompt's counts are equal.
    charge, prompt = call["charge_pico_usd"], used["prompt_tokens"] * INPUT
    completion, rest = divmod(charge - prompt, OUTPUT)
    assert (rest, 0 < completion <= used["completion_tokens"]) == (0, True)
    assert call["credit_pico_usd"] == charge * SHARE // 10_000
    assert market.credit("owner") - before == charge * SHARE // 10_000
    market.assert_books_are_in_order()


def test_over_its_quota_a_tenant_is_stopped_or_goes_to_the_vendor_as_its_plan_says(market: Market) -> None:
    before = market.to_vendor.count()
    stopped = market.ask("stopper")
    assert (stopped.status, stopped.json()["error"]["code"]) == (429, "quota_exceeded")
    assert market.to_vendor.count() == before
    spilled = market.ask("spiller")
    assert (spilled.status, spilled.headers["x-daalu-tier"]) == (200, "external")
    assert market.to_vendor.count() > before
    call = market.call(spilled)
    used = spilled.json()["usage"]
    assert call["vendor"] == "elsewhere"
    assert call["charge_pico_usd"] == used["prompt_tokens"] * INPUT + used["completion_tokens"] * OUTPUT
    assert call["credit_pico_usd"] == 0
    market.assert_books_are_in_order()


def test_a_withdrawn_card_ends_its_running_call_with_credit_and_gets_no_other(market: Market) -> None:
    control, agent = market.world.system.control, market.world.owner.agent
    pin = {"tenant": "buyer", "model": SERVED_NAME, "tier": "pool", "agent": agent.name}
    pinned = control.rest("POST", "/pins", pin)["id"]
    long = ASK | {"max_tokens": 2_000, "min_tokens": 2_000, "stream": True}
    with market.client("buyer").stream(CHAT, long) as stream:
        stream.contents(5)
        control.rest("POST", f"/agents/{agent.name}/withdraw")
        control.rest("POST", f"/pins/{pinned}/end")
        elsewhere = market.ask("buyer")
        assert market.call(elsewhere)["agent_name"] == "hosted"
        assert list(stream.events())[-1] == "[DONE]"
    assert stream.call_id is not None
    running = control.call(stream.call_id)
    assert (running["agent_name"], running["completion_tokens"]) == (agent.name, 2_000)
    assert running["credit_pico_usd"] > 0
    control.rest("POST", "/pools/shared/contribute", {"agent": agent.name})
    market.assert_books_are_in_order()


def test_a_coding_call_is_served_by_the_operators_card_and_without_it_by_nobody(market: Market) -> None:
    """The last one here: it stops the operator's engine."""
    control = market.world.system.control
    third_party, vendor = market.to_third_party.count(), market.to_vendor.count()
    served = [market.ask("buyer's coder") for _ in range(4)]
    assert {market.call(answer)["agent_name"] for answer in served} == {"hosted"}
    control.rest("POST", "/agents/hosted/stop")
    eventually(
        lambda: (control.agent("hosted")["engine"] or {}).get("phase") != "ready",
        "the operator's engine has stopped",
        timeout_s=60,
    )
    for tenant in ("buyer's coder", "spiller's coder"):
        answer = market.ask(tenant)
        assert (answer.status, answer.json()["error"]["code"]) == (503, "no_capacity")
    assert (market.to_third_party.count(), market.to_vendor.count()) == (third_party, vendor)
    assert market.ask("buyer").status == 200, "the third party's card was there all along"
