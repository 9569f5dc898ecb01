"""A control plane that runs, and a scripted agent of it in direct mode."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.config import DataDirectory, load_settings
from control_plane.enrolment import Authority
from control_plane.identifiers import AgentId
from control_plane.store import Store
from control_plane.store.tables import Connection
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.fleet import enrol, new_scripted_agent
from tests.support.fleet_agent import ScriptedAgent
from tests.support.telemetry import card_sample


@dataclass(frozen=True)
class Bench:
    plane: ControlPlane
    agent_id: AgentId
    agent: ScriptedAgent

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.plane.token}"}
        async with httpx2.AsyncClient(base_url=f"{self.plane.plain_url}/api/v1", headers=headers) as client:
            return await client.get(path, params=params)

    async def post(self, path: str, body: object = None) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.plane.token}"}
        async with httpx2.AsyncClient(base_url=f"{self.plane.plain_url}/api/v1", headers=headers) as client:
            return await client.post(path, json=body)


@pytest.fixture
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A control plane and an agent in direct mode with a simulated card."""
    plane = initialised(tmp_path_factory.mktemp("plane") / "data", "--allow-direct")
    authority = Authority.load(DataDirectory(plane.data).authority)
    with serving(plane):
        async with new_scripted_agent(authority) as agent:
            card = card_sample(temperature_celsius=61, power_watts=agent_pb2.Reading(unsupported=True))
            card.simulated = True
            card.throttle.value.reasons.append(agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL)
            agent.behaviour.card_samples = [card]
            agent.behaviour.engine.phase = agent_pb2.ENGINE_PHASE_READY
            agent.behaviour.engine.kv_cache_percent.value = 2
            store = Store(load_settings(plane.data).database_url)
            agent_id = await enrol(store, agent, connection=Connection.DIRECT)
            store.close()
            yield Bench(plane, agent_id, agent)
