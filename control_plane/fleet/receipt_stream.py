"""The receipts' stream of one agent: stored in batches, acknowledged once durable."""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

import grpc
from daalu_wire.v1 import agent_pb2

from control_plane.fleet.queries import receipts_acknowledged
from control_plane.fleet.receipts import MAX_INTEGER, store_receipts
from control_plane.identifiers import AgentId
from control_plane.store import Store

if TYPE_CHECKING:
    # There for type checkers only.
    from daalu_wire.v1.agent_pb2_grpc import AgentServiceAsyncStub

logger = logging.getLogger(__name__)

MAX_BATCH = 256

_Call = grpc.aio.StreamStreamCall[agent_pb2.StreamReceiptsRequest, agent_pb2.Receipt]
_Queue = asyncio.Queue[agent_pb2.Receipt | grpc.aio.AioRpcError | None]


class BadReceipts(Exception):
    """The agent sent what cannot be in order; the message says what."""


async def stream_receipts(stub: "AgentServiceAsyncStub", agent_id: AgentId, store: Store) -> None:
    """From the stored cursor on, until the agent ends the stream. Breaking off anywhere loses nothing.

    Raises grpc.aio.AioRpcError, BadReceipts, and what the store raises.
    """
    last = await store.read(lambda session: receipts_acknowledged(session, agent_id))
    call: _Call = stub.StreamReceipts()
    # A full queue stops the reading, and gRPC's flow control then the agent.
    queue: _Queue = asyncio.Queue(MAX_BATCH)
    reading = asyncio.create_task(_read(call, queue))
    try:
        await _say(call, agent_pb2.StreamReceiptsRequest(after_sequence=last))
        while batch := await _next_batch(queue):
            last = _check_order(agent_id, last, batch)
            stored = await store.write(partial(store_receipts, agent_id=agent_id, receipts=batch))
            acknowledgement = agent_pb2.StreamReceiptsRequest(acknowledged_sequence=stored.acknowledged)
            await _say(call, acknowledgement)
    finally:
        reading.cancel()
        call.cancel()
        await asyncio.wait([reading])


async def _say(call: _Call, request: agent_pb2.StreamReceiptsRequest) -> None:
    try:
        await call.write(request)
    except asyncio.InvalidStateError:
        # The stream has ended; its status comes out of the queue, after what it carried.
        logger.debug("the stream of receipts ended before it was written to")


async def _read(call: _Call, queue: _Queue) -> None:
    try:
        while isinstance(receipt := await call.read(), agent_pb2.Receipt):
            await queue.put(receipt)
    except grpc.aio.AioRpcError as error:
        await queue.put(error)
    else:
        await queue.put(None)


async def _next_batch(queue: _Queue) -> list[agent_pb2.Receipt]:
    """At least one, and whatever came with it; empty at the stream's end."""
    batch: list[agent_pb2.Receipt] = []
    item = await queue.get()
    while isinstance(item, agent_pb2.Receipt):
        batch.append(item)
        if len(batch) == MAX_BATCH or queue.empty():
            return batch
        item = queue.get_nowait()
    if batch:
        # What came before the end is stored first; the end is met again at the next call.
        queue.put_nowait(item)
    elif item is not None:
        raise item
    return batch


def _check_order(agent_id: AgentId, last: int, batch: list[agent_pb2.Receipt]) -> int:
    """Returns the batch's last sequence number. A gap is the agent's loss: noted, and gone past."""
    for receipt in batch:
        if not last < receipt.sequence <= MAX_INTEGER:
            raise BadReceipts(f"receipt {receipt.sequence} came after {last}")
        if receipt.sequence > last + 1:
            logger.error("agent %s lost its receipts %d to %d", agent_id, last + 1, receipt.sequence - 1)
        last = receipt.sequence
    return last
