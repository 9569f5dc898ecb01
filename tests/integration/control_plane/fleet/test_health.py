"""Health from the driver's library through a real agent to the API, and to what the router sees."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.catalogue import Catalogue
from control_plane.config import DataDirectory
from control_plane.fleet import Health
from control_plane.fleet.health_rules import RULES
from control_plane.fleet.telemetry import Span, read_changes
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import Store, unix_ms
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority
from tests.support.netlab import Lab
from tests.support.networks import Internet
from tests.support.nvml.stub import Stub
from tests.support.product import AgentOptions
from tests.support.programs import ProgramFailed
from tests.support.programs import eventually as eventually_now
from tests.support.system import Site, System

GPU_IS_LOST = 15
NOT_SUPPORTED = 3
VERSION_MISMATCH = 18
# The stub's card has a remapped row, which is a finding of its own. It works: the generation of a link that
# nothing uses says nothing.
WELL: dict[str, object] = {"remapped_uncorrected": 0, "utilisation": 50}


@dataclass(frozen=True)
class Driven:
    """What the driver says, and by rule a part of the evidence that is shown of it."""

    behaviour: dict[str, object]
    evidence: dict[str, str]
    health: str
    # The driver's library is opened anew before it is over, at intervals of the agent's own.
    reopened: bool = False


# Of different subjects at once, since every one of them takes its 10 s.
DRIVEN = {
    "warnings": Driven(
        {
            "temperature": 86,
            "memory_total": 1000,
            "memory_used": 980,
            "retired": 5,
            "remapped_uncorrected": 2,
            "pcie_width": 4,
            "pcie_generation": 3,
        },
        {
            "temperature_high": "86 °C",
            "memory_full": "98.0 %",
            # Of two causes.
            "pages_retired": "10 pages",
            "rows_remapped": "2 rows",
            "pcie_narrow": "PCIe x4, the card can PCIe x8",
            "pcie_slow": "generation 3, the card can PCIe generation 4",
        },
        "warning",
    ),
    "critical": Driven(
        {"temperature": 92, "ecc_uncorrected": 3, "retired": 63},
        {
            "temperature_critical": "92 °C",
            "ecc_uncorrected": "3 memory errors",
            "pages_retired_many": "126 pages",
        },
        "critical",
    ),
    "lost": Driven({"every.0": GPU_IS_LOST}, {"card_lost": "GPU is lost"}, "critical", reopened=True),
    "mismatch": Driven(
        {"nvmlDeviceGetCount_v2": VERSION_MISMATCH},
        {"driver_mismatch": "different versions"},
        "critical",
        reopened=True,
    ),
}
XIDS = {"xid_error": 63, "xid_fatal": 79}
# NVML's bits: thermal slowdown by the hardware, and the power brake.
SLOWED = {"thermal_slowdown": 0x40, "power_brake": 0x80}
# They count by their share of the last half minute.
SLOWDOWN_TIMEOUT_S = 120.0
# From a card's change to what the API says, either way.
PROMISED_S = 10.0
SHOWN_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Bench:
    system: System
    site: Site
    stub: Stub

    def shown(self) -> Any:
        return self.system.control.agent(self.site.agent.name)

    def until(self, what: str, condition: Callable[[Any], bool], timeout_s: float = SHOWN_TIMEOUT_S) -> Any:
        def look() -> Any:
            agent = self.shown()
            return agent if condition(agent) else None

        return eventually_now(look, what, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("health")
    stub = Stub(directory)
    stub.install()
    names = ("LD_LIBRARY_PATH", "NVML_STUB", "NVML_STUB_LOG")
    environment = {name: stub.environment()[name] for name in names}
    with Lab() as lab, System(lab, Internet(lab), directory) as system:
        system.start()
        system.control.create_tenant("acme")
        site = system.new_site("box", AgentOptions(simulated_card=None, environment=environment))
        system.join(site, "acme")
        yield Bench(system, site, stub)


@pytest.fixture
def well(bench: Bench) -> Bench:
    bench.stub.behave(WELL)
    bench.until("the card is well", lambda agent: agent["health"] == "good")
    return bench


def _codes(agent: Any) -> list[str]:
    return [finding["code"] for finding in agent["findings"]]


@pytest.mark.root
@pytest.mark.parametrize("name", DRIVEN)
def test_a_rule_shows_in_the_api_within_10_s_and_is_gone_within_10_s(well: Bench, name: str) -> None:
    driven = DRIVEN[name]
    changed_s = time.monotonic()
    well.stub.behave(WELL | driven.behaviour)
    agent = well.until("all of them show", lambda agent: set(driven.evidence) <= set(_codes(agent)))
    assert time.monotonic() - changed_s < PROMISED_S
    assert sorted(_codes(agent)) == sorted(driven.evidence)
    for finding in agent["findings"]:
        assert driven.evidence[finding["code"]] in finding["evidence"]
        assert finding["health"] == driven.health
        assert finding["advice"]
        # The driver's versions are the host's matter, the rest the card's.
        if finding["card_uuid"] is not None:
            assert agent["cards"][0]["health"] == driven.health
    assert agent["health"] == driven.health
    changed_s = time.monotonic()
    well.stub.behave(WELL)
    well.until("the card is well", lambda agent: not agent["findings"])
    if not driven.reopened:
        assert time.monotonic() - changed_s < PROMISED_S


def _complain(bench: Bench, number: int, code: str) -> Any:
    """The agent as it shows the rule of this code, within 10 s of the driver's complaint."""
    changed_s = time.monotonic()
    bench.stub.behave(WELL | {"xids": number, "xid": XIDS[code]})
    agent = bench.until(f"{code} shows", lambda agent: code in _codes(agent))
    assert time.monotonic() - changed_s < PROMISED_S
    (finding,) = [each for each in agent["findings"] if each["code"] == code]
    assert f"Xid {XIDS[code]}, " in finding["evidence"]
    return agent


@pytest.mark.root
def test_complaints_of_the_driver_show_within_10_s_and_count_until_they_are_forgotten(well: Bench) -> None:
    assert _complain(well, 1, "xid_error")["health"] == "warning"
    assert _complain(well, 2, "xid_fatal")["health"] == "critical"
    # What the driver told itself, the daemon remembers; no kernel's log here has it.
    well.stub.behave(WELL)
    well.site.agent.daemon.stop()
    well.site.agent.start()
    well.until("they are forgotten", lambda agent: agent["health"] == "good", SLOWDOWN_TIMEOUT_S)


@pytest.mark.root
def test_slowdowns_show_and_are_gone_by_their_share_of_the_last_half_minute(well: Bench) -> None:
    well.stub.behave(WELL | {"reasons": SLOWED["thermal_slowdown"] | SLOWED["power_brake"]})
    agent = well.until("both show", lambda agent: set(SLOWED) <= set(_codes(agent)), SLOWDOWN_TIMEOUT_S)
    assert (agent["health"], set(_codes(agent))) == ("warning", set(SLOWED))
    well.stub.behave(WELL)
    well.until("both are gone", lambda agent: not agent["findings"], SLOWDOWN_TIMEOUT_S)


def test_every_rule_of_the_table_is_driven() -> None:
    driven = [code for each in DRIVEN.values() for code in each.evidence]
    assert sorted(rule.code for rule in RULES) == sorted([*driven, *XIDS, *SLOWED])


@pytest.mark.root
def test_a_critical_card_leaves_the_pool_at_its_host_too_and_its_owner_reads_why(well: Bench) -> None:
    gate = well.site.agent.state / "gate" / "pool-refused"
    began_ms = unix_ms()
    well.stub.behave(WELL | {"temperature": 92})
    well.until(
        "the host refuses calls of pools", lambda agent: agent["health"] == "critical" and gate.exists()
    )
    # Cooler, but not cool: no evidence that it is well.
    well.stub.behave(WELL | {"temperature": 87})
    well.until(
        "it was looked at", lambda agent: agent["cards"][0]["readings"]["temperature_celsius"]["value"] == 87
    )
    assert gate.exists()
    well.stub.behave(WELL)
    well.until("the host takes them again", lambda agent: agent["health"] == "good" and not gate.exists())
    agent = well.shown()
    data = DataDirectory(well.system.control.data)

    def told() -> list[str]:
        span = Span(began_ms, unix_ms() + 1)
        changes = read_changes(data.telemetry, TenantId(agent["tenant_id"]), AgentId(agent["id"]), span)
        events = [f"{each.state}: {each.words}" for each in changes if each.subject == "health"]
        return events if events and events[-1].startswith("good") else []

    events = eventually_now(told, "the history has it", timeout_s=SHOWN_TIMEOUT_S)
    worst = next(each for each in events if each.startswith("critical"))
    assert "takes no calls of pools until this is over. card 0: 92 °C, from 90 °C it is in danger" in worst
    assert "advice: look at the fans" in worst
    assert events[-1] == "good: "


@pytest.mark.root
def test_what_the_card_does_not_support_is_neither_0_nor_a_fault(well: Bench) -> None:
    well.stub.behave(
        WELL | {"nvmlDeviceGetTotalEccErrors": NOT_SUPPORTED, "nvmlDeviceGetCurrPcieLinkWidth": NOT_SUPPORTED}
    )

    def unsupported(agent: Any) -> bool:
        return bool(agent["cards"][0]["readings"]["ecc_uncorrected_count"]["state"] == "unsupported")

    agent = well.until("the readings are unsupported", unsupported)
    assert agent["cards"][0]["readings"]["pcie_width_lanes"]["value"] is None
    assert (agent["health"], agent["findings"]) == ("good", [])


@pytest.mark.root
def test_the_command_shows_what_is_wrong_and_what_fits(well: Bench) -> None:
    control = well.system.control
    page = control.host.run(control.command("models", "fit", "box")).stdout
    assert "card 0  NVIDIA RTX 2000 Ada Generation, 16.0 GiB, rtx-2000-ada-16gb" in page
    assert "not qwen3-32b-awq: no room for a KV cache: 14.7 GiB usable of 16.0 GiB" in page
    well.stub.behave(WELL | {"temperature": 92})
    well.until("it shows", lambda agent: agent["health"] == "critical")
    page = control.host.run(control.command("agents", "show", "box")).stdout
    assert "card 0: 92 °C, from 90 °C it is in danger" in page


@pytest.mark.root
def test_a_deployment_that_cannot_fit_a_real_card_is_refused_with_the_arithmetic(well: Bench) -> None:
    with pytest.raises(ProgramFailed, match=r"422 .*qwen3-32b-awq does not fit: .* 18\.0 GiB weights"):
        well.system.control.deploy("box", "qwen3-32b-awq")
    assert well.shown()["desired_model_id"] is None


async def test_the_router_sees_a_critical_card(store: Store, authority: ShortLivedAuthority) -> None:
    async with (
        new_scripted_agent(authority) as agent,
        running(new_fleet(store, authority, Catalogue.load())) as fleet,
    ):
        card = agent_pb2.CardSample(uuid="GPU-1")
        card.temperature_celsius.value = 60
        agent.behaviour.card_samples = [card]
        agent_id = await enrol(store, agent)

        def seen(health: Health) -> bool:
            view = fleet.view.by_id.get(agent_id)
            return view is not None and view.health is health

        await eventually(lambda: seen(Health.GOOD))
        hot = agent_pb2.CardSample(uuid="GPU-1")
        hot.temperature_celsius.value = 95
        agent.behaviour.card_samples = [hot]
        await eventually(lambda: seen(Health.CRITICAL))
        agent.behaviour.card_samples = [card]
        await eventually(lambda: seen(Health.GOOD))
