"""One receipts stream: what comes after a cursor goes out, what the caller has stored comes in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from daalu_wire.v1 import agent_pb2

from agent.rpc.ports import EngineFacade
from agent.rpc.refusals import BadRequest, CallerSilent

FIRST_REQUEST_TIMEOUT_S = 10.0
SEQUENCE_MAX = 1 << 62


class ReceiptStream:
    """Ends when the caller has no more to acknowledge (its half of the stream is closed) or is gone."""

    def __init__(self, engine: EngineFacade, write: Callable[[agent_pb2.Receipt], Awaitable[None]]) -> None:
        self._engine = engine
        self._write = write
        # The highest sequence number that the caller can have.
        self._sent = 0

    async def run(self, requests: AsyncIterator[agent_pb2.StreamReceiptsRequest]) -> None:
        """Raises BadRequest, CallerSilent, and what the engine raises."""
        try:
            async with asyncio.timeout(FIRST_REQUEST_TIMEOUT_S):
                first = await anext(requests, None)
        except TimeoutError as error:
            raise CallerSilent(f"no after_sequence within {FIRST_REQUEST_TIMEOUT_S:g} s") from error
        if first is None:
            return
        if first.WhichOneof("request") != "after_sequence":
            raise BadRequest("a receipts stream begins with after_sequence")
        if first.after_sequence > SEQUENCE_MAX:
            # The gate numbers on after a cursor that it never gave out: it needs numbers left.
            raise BadRequest(f"after_sequence is at most {SEQUENCE_MAX}")
        self._sent = first.after_sequence
        halves = [
            asyncio.create_task(self._send(first.after_sequence)),
            asyncio.create_task(self._acknowledge(requests)),
        ]
        try:
            ended, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.wait(halves)
        for half in ended:
            half.result()

    async def _send(self, after_sequence: int) -> None:
        async for receipt in self._engine.receipts(after_sequence):
            self._sent = max(self._sent, receipt.sequence)
            await self._write(receipt)

    async def _acknowledge(self, requests: AsyncIterator[agent_pb2.StreamReceiptsRequest]) -> None:
        async for request in requests:
            if request.WhichOneof("request") != "acknowledged_sequence":
                raise BadRequest("only the first message of a receipts stream carries after_sequence")
            if request.acknowledged_sequence > self._sent:
                # What was acknowledged may be deleted here, so nothing that was never sent may be.
                raise BadRequest(
                    f"receipt {request.acknowledged_sequence} was not sent, so it cannot be stored"
                )
            self._engine.acknowledge(request.acknowledged_sequence)
