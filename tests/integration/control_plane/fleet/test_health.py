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
# The stub's card has a remapped row, which is a finding of its own.
WELL: dict[str, object] = {"nvmlDeviceGetRemappedRows": NOT_SUPPORTED}
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
@pytest.mark.parametrize(
    ("behaviour", "code", "evidence"),
    [
        ({"temperature": 92}, "temperature_critical", "92 °C"),
        ({"ecc_uncorrected": 3}, "ecc_uncorrected", "3 memory errors"),
        ({"every.0": GPU_IS_LOST}, "card_lost", "GPU is lost"),
    ],
)
def test_a_rule_shows_in_the_api_within_10_s_and_is_gone_within_10_s(
    well: Bench, behaviour: dict[str, object], code: str, evidence: str
) -> None:
    changed_s = time.monotonic()
    well.stub.behave(WELL | behaviour)
    agent = well.until(f"{code} shows", lambda agent: code in _codes(agent))
    assert time.monotonic() - changed_s < PROMISED_S
    (finding,) = [finding for finding in agent["findings"] if finding["code"] == code]
    assert evidence in finding["evidence"]
    assert finding["advice"]
    assert agent["health"] == finding["health"] == agent["cards"][0]["health"]
    changed_s = time.monotonic()
    well.stub.behave(WELL)
    well.until("the card is well", lambda agent: not agent["findings"])
    # A lost card is opened anew by the driver first, at intervals of its own.
    if code != "card_lost":
        assert time.monotonic() - changed_s < PROMISED_S


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
