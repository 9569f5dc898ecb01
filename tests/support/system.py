"""The whole product, running: a control plane and its hub, customers' hosts with agents, and clients.

What it started has ended when the block ends; what it made of a lab goes with the lab, files with their
directory.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import openai

from tests.support.netlab import Lab
from tests.support.networks import Customer, Network
from tests.support.product import AgentHost, AgentOptions, ControlPlane
from tests.support.programs import eventually

# A lost first handshake costs WireGuard 5 s, and a first connection through it as much again; on a busy
# machine several of each.
LIVE_TIMEOUT_S = 90.0
# Loading takes near two minutes on a busy machine of two cores; more than twice that is a failure.
ENGINE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Site:
    """An agent and the network it sits in."""

    customer: Customer
    agent: AgentHost


class System:
    """Use as a context manager inside a lab's. `directory` holds data, state and logs."""

    def __init__(
        self,
        lab: Lab,
        network: Network,
        directory: Path,
        *,
        catalogue: Path | None = None,
        load_client: Path | None = None,
    ) -> None:
        self.network = network
        self.sites: list[Site] = []
        self.lab = lab
        self._clients: list[openai.OpenAI] = []
        self._directory = directory
        self.control = ControlPlane(
            network.control,
            directory,
            address=network.control_address,
            interface=None if network.direct else lab.interface_name("hub"),
            catalogue=catalogue,
            load_client=load_client,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        for site in self.sites:
            site.agent.stop()
        self.control.stop()

    def start(self) -> None:
        self.control.init()
        self.control.start()

    def new_site(self, name: str, options: AgentOptions) -> Site:
        """A customer's host with an agent that is configured, and not yet enrolled."""
        customer = self.network.customer(name)
        agent = AgentHost(
            customer.host,
            self._directory / name,
            name=name,
            interface=self.lab.interface_name("agt"),
            options=options,
        )
        site = Site(customer, agent)
        self.sites.append(site)
        return site

    def join(self, site: Site, tenant: str) -> None:
        """Enrols with a new invite, starts the daemon and returns when the control plane hears it."""
        site.agent.enrol(self.control.invite(tenant), direct=self.network.direct)
        site.agent.start()
        self.wait_for_liveness(site, "live")

    def wait_for_liveness(self, site: Site, liveness: str, *, timeout_s: float = LIVE_TIMEOUT_S) -> None:
        site.agent.daemon.wait_until(
            lambda: self.control.agent(site.agent.name)["liveness"] == liveness,
            f"{site.agent.name} is {liveness}",
            timeout_s=timeout_s,
        )

    def deploy(self, site: Site, model_id: str) -> None:
        """Returns when the engine is ready."""
        self.control.deploy(site.agent.name, model_id)
        self.wait_for_engine(site)

    def wait_for_engine(self, site: Site, *, timeout_s: float = ENGINE_TIMEOUT_S) -> None:
        def ready() -> bool:
            engine = self.control.agent(site.agent.name)["engine"]
            return bool(engine and engine["phase"] == "ready")

        eventually(ready, f"the engine of {site.agent.name} is ready", timeout_s=timeout_s)

    def client(self, key: str, **options: Any) -> openai.OpenAI:
        """OpenAI's own client. It connects from the calling thread's host: see Host.entered."""
        client = openai.OpenAI(
            api_key=key,
            base_url=f"{self.control.url}/v1",
            http_client=httpx2.Client(verify=self.control.tls()),
            max_retries=0,
            **options,
        )
        self._clients.append(client)
        return client
