"""A deployment that cannot fit is refused with the arithmetic, and nothing is ordered."""

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.access import Invalid
from control_plane.catalogue import Catalogue
from control_plane.store import Store
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority

MIB = 1024**2


async def test_a_model_that_cannot_fit_is_refused_and_one_that_can_is_ordered(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with (
        new_scripted_agent(authority) as agent,
        running(new_fleet(store, authority, Catalogue.load())) as fleet,
    ):
        agent.behaviour.card_system.state = agent_pb2.CARD_SYSTEM_STATE_OK
        agent.behaviour.cards = [
            agent_pb2.Card(memory_total_bytes=agent_pb2.Reading(value=16_380 * MIB), uuid="GPU-1")
        ]
        agent_id = await enrol(store, agent)

        def known() -> bool:
            status = fleet.status(agent_id)
            return status is not None and status.inventory is not None

        await eventually(known)
        with pytest.raises(Invalid, match=r"qwen3-32b-awq does not fit: .* 14\.7 GiB usable of 16\.0 GiB"):
            await fleet.deploy(agent_id, "qwen3-32b-awq", "test")
        status = fleet.status(agent_id)
        assert status is not None
        assert status.desired_model_id is None
        await fleet.deploy(agent_id, "qwen3-8b-awq", "test")
