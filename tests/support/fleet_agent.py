"""A scriptable agent: the real wire, real mutual TLS, and behaviour that a test sets."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from daalu_wire.v1 import agent_pb2, agent_pb2_grpc

from control_plane.fleet import CertificateAuthority
from tests.support.fleet_authority import key_pem, new_key, request_pem, self_signed_pem

SAMPLE_INTERVAL_S = 0.05
Context = grpc.aio.ServicerContext[object, object]


@dataclass
class Behaviour:
    """What a test may change at any time."""

    engine: agent_pb2.EngineSample = field(default_factory=agent_pb2.EngineSample)
    catalogue: list[agent_pb2.CatalogueReference] = field(default_factory=list)
    receipts: list[agent_pb2.Receipt] = field(default_factory=list)
    card_system: agent_pb2.CardSystem = field(default_factory=agent_pb2.CardSystem)
    # What its inventory says, and what its samples do.
    cards: list[agent_pb2.Card] = field(default_factory=list)
    card_samples: list[agent_pb2.CardSample] = field(default_factory=list)
    # Breaks a receipts stream after this many receipts; None: never.
    receipts_per_stream: int | None = None
    silent: bool = False
    # How a deployment ends.
    deploy_ends: agent_pb2.EnginePhase.ValueType = agent_pb2.ENGINE_PHASE_READY
    # What a look over the host finds; None: this agent's version knows no diagnostics.
    diagnostics: list[agent_pb2.DiagnosticResult] | None = field(default_factory=list)
    # Why it cannot run a level from 1 on; None: it can.
    level_refusal: str | None = None
    # Waited for after each result.
    may_go_on: asyncio.Event | None = None
    renewal_key: ec.EllipticCurvePrivateKey | None = None


class ScriptedAgent(agent_pb2_grpc.AgentServiceServicer):
    """Used as `async with`; `stop` and `start` are a daemon's restart."""

    def __init__(self, agent_id: str, host: str, port: int, authority: CertificateAuthority) -> None:
        self.agent_id = agent_id
        self.host = host
        self.port = port
        self.name = f"{agent_id}.agent.daalu.internal"
        self.key = new_key()
        self.roots_pem = list(authority.root_certificates_pem)
        self.certificate_pem = authority.sign_agent_certificate(self.request_pem(), agent_id, host)
        self.behaviour = Behaviour()
        # What was called, in order.
        self.calls: list[str] = []
        self.ticket_keys: dict[int, bytes] = {}
        self.deployed: list[str] = []
        # Of the diagnostics that it ran.
        self.levels: list[int] = []
        self.acknowledged = 0
        self.cursors: list[int] = []
        self._server: grpc.aio.Server | None = None
        self._started_unix_ms = 0
        self._changed = asyncio.Event()

    def request_pem(self) -> str:
        return request_pem(self.key, self.name)

    def show_self_signed(self) -> None:
        """From the next start on, as an agent does whose certificate has expired."""
        self.certificate_pem = self_signed_pem(self.key, self.name)

    async def start(self) -> None:
        self._started_unix_ms = time.time_ns() // 1_000_000
        options = [("grpc.http2.min_ping_interval_without_data_ms", 5_000), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        credentials = grpc.ssl_server_credentials(
            [(key_pem(self.key).encode(), self.certificate_pem.encode())],
            "".join(self.roots_pem).encode(),
            require_client_auth=True,
        )
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.port = self._server.add_secure_port(f"{host}:{self.port}", credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def add_receipt(self, receipt: agent_pb2.Receipt) -> None:
        self.behaviour.receipts.append(receipt)
        self._changed.set()

    async def GetInventory(  # noqa: N802
        self, request: agent_pb2.GetInventoryRequest, context: Context
    ) -> agent_pb2.GetInventoryResponse:
        self.calls.append("GetInventory")
        return agent_pb2.GetInventoryResponse(
            agent_version="0.1.0",
            host_name=self.agent_id,
            catalogue=self.behaviour.catalogue,
            card_system=self.behaviour.card_system,
            cards=self.behaviour.cards,
        )

    async def StreamTelemetry(  # noqa: N802
        self, request: agent_pb2.StreamTelemetryRequest, context: Context
    ) -> AsyncIterator[agent_pb2.TelemetrySample]:
        self.calls.append("StreamTelemetry")
        sequence = 0
        while True:
            if not self.behaviour.silent:
                sequence += 1
                yield agent_pb2.TelemetrySample(
                    sequence=sequence,
                    sampled_unix_ms=time.time_ns() // 1_000_000,
                    daemon_started_unix_ms=self._started_unix_ms,
                    engine=self.behaviour.engine,
                    card_system=self.behaviour.card_system,
                    cards=self.behaviour.card_samples,
                )
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def DeployModel(  # noqa: N802
        self, request: agent_pb2.DeployModelRequest, context: Context
    ) -> AsyncIterator[agent_pb2.DeployProgress]:
        self.deployed.append(request.model.model_id)
        engine = self.behaviour.engine
        engine.model.CopyFrom(request.model)
        for phase in (agent_pb2.ENGINE_PHASE_LOADING, self.behaviour.deploy_ends):
            engine.phase = phase
            yield agent_pb2.DeployProgress(phase=phase, detail="out of memory")

    async def StopModel(  # noqa: N802
        self, request: agent_pb2.StopModelRequest, context: Context
    ) -> agent_pb2.StopModelResponse:
        self.calls.append("StopModel")
        self.behaviour.engine = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_STOPPED)
        return agent_pb2.StopModelResponse()

    async def Drain(  # noqa: N802
        self, request: agent_pb2.DrainRequest, context: Context
    ) -> agent_pb2.DrainResponse:
        self.calls.append("Drain")
        self.behaviour.engine.phase = agent_pb2.ENGINE_PHASE_DRAINING
        return agent_pb2.DrainResponse(running_calls=3)

    async def Resume(  # noqa: N802
        self, request: agent_pb2.ResumeRequest, context: Context
    ) -> agent_pb2.ResumeResponse:
        self.calls.append("Resume")
        self.behaviour.engine.phase = agent_pb2.ENGINE_PHASE_READY
        return agent_pb2.ResumeResponse()

    async def SetPoolWork(  # noqa: N802
        self, request: agent_pb2.SetPoolWorkRequest, context: Context
    ) -> agent_pb2.SetPoolWorkResponse:
        self.calls.append("SetPoolWork")
        self.behaviour.engine.pool_refused = request.refused
        return agent_pb2.SetPoolWorkResponse()

    async def InstallTicketKeys(  # noqa: N802
        self, request: agent_pb2.InstallTicketKeysRequest, context: Context
    ) -> agent_pb2.InstallTicketKeysResponse:
        self.calls.append("InstallTicketKeys")
        self.ticket_keys = {each.id: each.key for each in request.keys}
        return agent_pb2.InstallTicketKeysResponse()

    async def RunDiagnostics(  # noqa: N802
        self, request: agent_pb2.RunDiagnosticsRequest, context: Context
    ) -> AsyncIterator[agent_pb2.DiagnosticsProgress]:
        if request.level and self.behaviour.level_refusal is not None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.behaviour.level_refusal)
        if request.only_check:
            return
        self.calls.append("RunDiagnostics")
        self.levels.append(request.level)
        results = self.behaviour.diagnostics
        if results is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        for result in results or []:
            count = len(results or [])
            yield agent_pb2.DiagnosticsProgress(checks_count=count, begun=result.title)
            yield agent_pb2.DiagnosticsProgress(checks_count=count, ended=result)
            if self.behaviour.may_go_on is not None:
                await self.behaviour.may_go_on.wait()

    async def StreamReceipts(  # noqa: N802
        self, request_iterator: AsyncIterator[agent_pb2.StreamReceiptsRequest], context: Context
    ) -> AsyncIterator[agent_pb2.Receipt]:
        first = await anext(aiter(request_iterator))
        cursor = first.after_sequence
        self.cursors.append(cursor)
        acknowledging = asyncio.create_task(self._acknowledge(request_iterator))
        sent = 0
        try:
            while True:
                self._changed.clear()
                for receipt in [each for each in self.behaviour.receipts if each.sequence > cursor]:
                    yield receipt
                    cursor = receipt.sequence
                    sent += 1
                    if sent == self.behaviour.receipts_per_stream:
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "scripted break")
                await self._changed.wait()
        finally:
            acknowledging.cancel()

    async def _acknowledge(self, requests: AsyncIterator[agent_pb2.StreamReceiptsRequest]) -> None:
        async for request in requests:
            self.acknowledged = request.acknowledged_sequence

    async def RenewCertificate(  # noqa: N802
        self, request_iterator: AsyncIterator[agent_pb2.RenewCertificateRequest], context: Context
    ) -> AsyncIterator[agent_pb2.RenewCertificateResponse]:
        self.calls.append("RenewCertificate")
        requests = aiter(request_iterator)
        await anext(requests)
        key = self.behaviour.renewal_key or self.key
        yield agent_pb2.RenewCertificateResponse(certificate_request_pem=request_pem(key, self.name))
        async for answer in requests:
            self.certificate_pem = answer.issued.certificate_pem
            self.roots_pem = list(answer.issued.root_certificates_pem)
            yield agent_pb2.RenewCertificateResponse(in_use=agent_pb2.CertificateInUse(expires_unix_ms=1))


class ScriptedEngine:
    """Answers GET /health on loopback when the ticket is signed with one of `keys`."""

    def __init__(self, agent: ScriptedAgent, host: str) -> None:
        self._agent = agent
        self._host = host
        self.port = 0
        self.tickets: list[dict[str, object]] = []
        self.status = 200
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = self.status if head.startswith("GET /health ") and self._admits(head) else 403
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    def _admits(self, head: str) -> bool:
        ticket = next(
            line.split(": ", 1)[1] for line in head.split("\r\n") if line.startswith("x-daalu-ticket: ")
        )
        encoded, mac = ticket.split(".")
        claims = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        key = self._agent.ticket_keys.get(claims["k"], b"")
        expected = base64.urlsafe_b64encode(hmac.digest(key, encoded.encode(), "sha256")).rstrip(b"=")
        self.tickets.append(claims)
        return hmac.compare_digest(expected.decode(), mac)
