"""What is wanted of an agent becomes what it does, and a failure is asked for once."""

import json
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.access import Unknown
from control_plane.catalogue import Catalogue
from control_plane.fleet import AgentStatus
from control_plane.store import Store
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_agent import ScriptedAgent
from tests.support.fleet_authority import ShortLivedAuthority

ENTRY = {
    "modelId": "tiny",
    "servedName": "tiny",
    "kind": "MODEL_KIND_GENERAL",
    "licence": "Apache-2.0",
    "source": {"directory": "tiny"},
    "parametersCount": "200000",
    "contextTokens": 2048,
    "architecture": {"layersCount": 2, "kvHeadsCount": 2, "headSize": 16},
    "dtype": "bfloat16",
    "maxRunningCalls": 4,
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    directory = tmp_path / "catalogue"
    directory.mkdir()
    (directory / "tiny.json").write_text(json.dumps(ENTRY))
    return Catalogue.load(directory)


def _knows(agent: ScriptedAgent, catalogue: Catalogue) -> None:
    agent.behaviour.catalogue = [
        agent_pb2.CatalogueReference(model_id=entry.model.model_id, digest=entry.digest)
        for entry in catalogue
    ]


def _deployment_problem(status: AgentStatus | None) -> str:
    return status.problems.get("deployment", "") if status else ""


async def test_a_wanted_model_is_deployed_and_an_unwanted_one_stopped(
    store: Store, authority: ShortLivedAuthority, catalogue: Catalogue
) -> None:
    async with (
        new_scripted_agent(authority) as agent,
        running(new_fleet(store, authority, catalogue)) as fleet,
    ):
        _knows(agent, catalogue)
        agent_id = await enrol(store, agent)
        await fleet.deploy(agent_id, "tiny", "test")
        await eventually(lambda: agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_READY)
        await fleet.deploy(agent_id, None, "test")
        await eventually(lambda: agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_STOPPED)
        assert agent.deployed == ["tiny"]


async def test_an_agent_that_already_serves_the_wanted_model_is_left_alone(
    store: Store, authority: ShortLivedAuthority, catalogue: Catalogue
) -> None:
    async with new_scripted_agent(authority) as agent:
        _knows(agent, catalogue)
        agent_id = await enrol(store, agent)
        for _ in range(2):  # the control plane's restart
            async with running(new_fleet(store, authority, catalogue)) as fleet:
                await fleet.deploy(agent_id, "tiny", "test")
                await eventually(
                    lambda: (
                        agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_READY
                        and (status := fleet.status(agent_id)) is not None
                        and status.sample is not None
                        and status.sample.sequence > 5
                    )
                )
        assert agent.deployed == ["tiny"]


async def test_a_drained_agent_stays_so_over_restarts_of_either_side_until_it_is_resumed(
    store: Store, authority: ShortLivedAuthority, catalogue: Catalogue
) -> None:
    async with new_scripted_agent(authority) as agent:
        _knows(agent, catalogue)
        agent_id = await enrol(store, agent)
        async with running(new_fleet(store, authority, catalogue)) as fleet:
            await fleet.deploy(agent_id, "tiny", "test")
            await eventually(lambda: agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_READY)
            await fleet.set_drained(agent_id, "test", drained=True)
            await eventually(lambda: fleet.view.by_id[agent_id].drained)
            await eventually(lambda: agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_DRAINING)
        # The agent takes calls again meanwhile, as it does after a deployment.
        agent.behaviour.engine.phase = agent_pb2.ENGINE_PHASE_READY
        async with running(new_fleet(store, authority, catalogue)) as fleet:
            await eventually(lambda: agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_DRAINING)
            await fleet.set_drained(agent_id, "test", drained=False)
            await eventually(lambda: agent.behaviour.engine.phase == agent_pb2.ENGINE_PHASE_READY)
            assert not fleet.view.by_id[agent_id].drained
    assert agent.deployed == ["tiny"]


async def test_a_failed_deployment_is_asked_for_again_only_when_somebody_wants_it_again(
    store: Store, authority: ShortLivedAuthority, catalogue: Catalogue
) -> None:
    async with (
        new_scripted_agent(authority) as agent,
        running(new_fleet(store, authority, catalogue)) as fleet,
    ):
        _knows(agent, catalogue)
        agent.behaviour.deploy_ends = agent_pb2.ENGINE_PHASE_FAILED
        agent_id = await enrol(store, agent)
        await fleet.deploy(agent_id, "tiny", "test")
        await eventually(lambda: _deployment_problem(fleet.status(agent_id)) == "out of memory")
        before = _sequence(fleet.status(agent_id))
        await eventually(lambda: _sequence(fleet.status(agent_id)) > before + 20)
        assert agent.deployed == ["tiny"]
        agent.behaviour.deploy_ends = agent_pb2.ENGINE_PHASE_READY
        await fleet.deploy(agent_id, "tiny", "test")
        await eventually(lambda: agent.deployed == ["tiny", "tiny"])
        await eventually(lambda: _deployment_problem(fleet.status(agent_id)) == "")


async def test_an_agent_whose_entry_differs_is_not_asked_and_says_so(
    store: Store, authority: ShortLivedAuthority, catalogue: Catalogue
) -> None:
    async with (
        new_scripted_agent(authority) as agent,
        running(new_fleet(store, authority, catalogue)) as fleet,
    ):
        agent.behaviour.catalogue = [agent_pb2.CatalogueReference(model_id="tiny", digest="0" * 64)]
        agent_id = await enrol(store, agent)
        await fleet.deploy(agent_id, "tiny", "test")
        await eventually(lambda: "differs" in _deployment_problem(fleet.status(agent_id)))
        assert agent.deployed == []


async def test_a_model_outside_the_catalogue_cannot_be_wanted(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent:
        agent_id = await enrol(store, agent)
        with pytest.raises(Unknown, match="absent"):
            await new_fleet(store, authority).deploy(agent_id, "absent", "test")


def _sequence(status: AgentStatus | None) -> int:
    return status.sample.sequence if status is not None and status.sample is not None else 0
