"""AgentService, method by method: each is a call of another room, or a conversation of this one."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from daalu_wire.v1 import agent_pb2, agent_pb2_grpc

from agent.cards import CardReader
from agent.diagnostics import MAX_LEVEL, Examination
from agent.rpc.host import describe_host
from agent.rpc.ports import EngineFacade
from agent.rpc.receipts import ReceiptStream
from agent.rpc.refusals import BadRequest
from agent.rpc.renewal import Renewal
from agent.rpc.telemetry import Telemetry, unix_ms

GRACE_MAX_MS = 600_000
TICKET_KEYS_MAX = 4

Context = grpc.aio.ServicerContext[Any, Any]


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Errors leave as they are; the doorkeeper translates them."""

    def __init__(
        self,
        cards: CardReader,
        engine: EngineFacade,
        telemetry: Telemetry,
        renewal: Renewal,
        examination: Examination,
    ) -> None:
        self._cards = cards
        self._engine = engine
        self._telemetry = telemetry
        self._renewal = renewal
        self._examination = examination

    async def GetInventory(  # noqa: N802
        self, request: agent_pb2.GetInventoryRequest, context: Context
    ) -> agent_pb2.GetInventoryResponse:
        system, cards = await self._cards.inventory()
        answer = describe_host()
        answer.card_system.CopyFrom(system)
        answer.cards.extend(cards)
        answer.catalogue.extend(self._engine.catalogue())
        answer.clock_unix_ms = unix_ms()
        return answer

    async def StreamTelemetry(  # noqa: N802
        self, request: agent_pb2.StreamTelemetryRequest, context: Context
    ) -> AsyncIterator[agent_pb2.TelemetrySample]:
        async for sample in self._telemetry.stream(request.interval_ms):
            yield sample

    async def DeployModel(  # noqa: N802
        self, request: agent_pb2.DeployModelRequest, context: Context
    ) -> AsyncIterator[agent_pb2.DeployProgress]:
        if not request.model.model_id or not request.model.digest:
            raise BadRequest("a deployment names a model by id and digest")
        async for progress in self._engine.deploy(request.model):
            yield progress

    async def StopModel(  # noqa: N802
        self, request: agent_pb2.StopModelRequest, context: Context
    ) -> agent_pb2.StopModelResponse:
        if request.grace_ms > GRACE_MAX_MS:
            raise BadRequest(f"grace_ms is at most {GRACE_MAX_MS}")
        await self._engine.stop(request.grace_ms)
        return agent_pb2.StopModelResponse()

    async def Drain(  # noqa: N802
        self, request: agent_pb2.DrainRequest, context: Context
    ) -> agent_pb2.DrainResponse:
        return agent_pb2.DrainResponse(running_calls=await self._engine.drain())

    async def Resume(  # noqa: N802
        self, request: agent_pb2.ResumeRequest, context: Context
    ) -> agent_pb2.ResumeResponse:
        await self._engine.resume()
        return agent_pb2.ResumeResponse()

    async def SetPoolWork(  # noqa: N802
        self, request: agent_pb2.SetPoolWorkRequest, context: Context
    ) -> agent_pb2.SetPoolWorkResponse:
        await self._engine.refuse_pool(request.refused)
        return agent_pb2.SetPoolWorkResponse()

    async def StreamReceipts(  # type: ignore[override] # noqa: N802
        self, request_iterator: AsyncIterator[agent_pb2.StreamReceiptsRequest], context: Context
    ) -> None:
        """Writes to the context: it sends and receives at once."""
        await ReceiptStream(self._engine, context.write).run(aiter(request_iterator))

    async def RenewCertificate(  # noqa: N802
        self, request_iterator: AsyncIterator[agent_pb2.RenewCertificateRequest], context: Context
    ) -> AsyncIterator[agent_pb2.RenewCertificateResponse]:
        async for answer in self._renewal.converse(aiter(request_iterator)):
            yield answer

    async def InstallTicketKeys(  # noqa: N802
        self, request: agent_pb2.InstallTicketKeysRequest, context: Context
    ) -> agent_pb2.InstallTicketKeysResponse:
        if not 1 <= len(request.keys) <= TICKET_KEYS_MAX:
            raise BadRequest(f"1 to {TICKET_KEYS_MAX} ticket keys can be installed")
        try:
            self._engine.install_ticket_keys(request.keys)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        return agent_pb2.InstallTicketKeysResponse()

    async def RunDiagnostics(  # noqa: N802
        self, request: agent_pb2.RunDiagnosticsRequest, context: Context
    ) -> AsyncIterator[agent_pb2.DiagnosticsProgress]:
        if request.level > MAX_LEVEL:
            raise BadRequest(
                f"this agent knows diagnostics of level 0 to {MAX_LEVEL}, not of level {request.level}"
            )
        if request.only_check:
            if request.level:
                await self._examination.check(request.level)
            return
        steps = (
            self._examination.run_level(request.level, acknowledged=request.stress_acknowledged)
            if request.level
            else self._examination.run(request.clock_unix_ms or None)
        )
        # A caller that hangs up ends what was begun, at once.
        async with aclosing(steps):
            async for progress in steps:
                yield progress
