"""A receipts stream's cursor, before anything is read."""

from collections.abc import AsyncIterator

import pytest
from daalu_wire.v1 import agent_pb2

from agent.rpc.ports import EngineFacade
from agent.rpc.receipts import SEQUENCE_MAX, ReceiptStream
from agent.rpc.refusals import BadRequest


async def test_a_cursor_that_leaves_no_numbers_is_refused() -> None:
    async def requests() -> AsyncIterator[agent_pb2.StreamReceiptsRequest]:
        yield agent_pb2.StreamReceiptsRequest(after_sequence=SEQUENCE_MAX + 1)

    async def write(receipt: agent_pb2.Receipt) -> None:
        raise AssertionError(receipt)

    stream = ReceiptStream(_no_engine(), write)
    with pytest.raises(BadRequest, match="after_sequence is at most"):
        await stream.run(requests())


def _no_engine() -> EngineFacade:
    """It must not be asked: every use is an AttributeError."""
    return object()  # type: ignore[return-value]
