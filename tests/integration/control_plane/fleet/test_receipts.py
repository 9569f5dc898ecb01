"""Receipts arrive once each, over any number of broken streams, and are acknowledged when stored."""

from daalu_wire.v1 import agent_pb2
from sqlmodel import col, select

from control_plane.store import Store
from control_plane.store.tables import Receipt
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority


def _receipt(sequence: int) -> agent_pb2.Receipt:
    return agent_pb2.Receipt(
        sequence=sequence,
        call_id=f"call-{sequence}",
        attempt_id=f"att-{sequence}",
        completion_tokens=sequence,
        outcome=agent_pb2.RECEIPT_OUTCOME_COMPLETE,
    )


def _stored(store: Store) -> list[int]:
    with store.reading() as session:
        return list(session.exec(select(Receipt.sequence).order_by(col(Receipt.sequence))))


async def test_receipts_resume_after_each_break_with_no_gap_and_no_duplicate(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)):
        agent.behaviour.receipts = [_receipt(each) for each in range(1, 11)]
        agent.behaviour.receipts_per_stream = 4
        await enrol(store, agent)
        await eventually(lambda: _stored(store) == list(range(1, 11)))
        assert len(agent.cursors) >= 3
        assert agent.cursors[0] == 0
        agent.behaviour.receipts_per_stream = None
        agent.add_receipt(_receipt(11))
        await eventually(lambda: agent.acknowledged == 11)


async def test_what_is_acknowledged_is_stored(store: Store, authority: ShortLivedAuthority) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)):
        await enrol(store, agent)
        agent.behaviour.receipts = [_receipt(each) for each in range(1, 1001)]
        await eventually(lambda: agent.acknowledged > 0)
        assert len(_stored(store)) >= agent.acknowledged
        await eventually(lambda: agent.acknowledged == 1000)
        assert _stored(store) == list(range(1, 1001))


async def test_a_restarted_control_plane_asks_only_for_what_it_lacks(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent:
        agent.behaviour.receipts = [_receipt(each) for each in range(1, 4)]
        await enrol(store, agent)
        async with running(new_fleet(store, authority)):
            await eventually(lambda: agent.acknowledged == 3)
        agent.add_receipt(_receipt(4))
        async with running(new_fleet(store, authority)):
            await eventually(lambda: agent.acknowledged == 4)
        assert agent.cursors == [0, 3]
