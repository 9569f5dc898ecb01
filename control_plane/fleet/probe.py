"""The probe: one real HTTP request to an agent's engine, the way that calls will go."""

import asyncio
import time

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.tickets import TicketClaims, TicketKey, sign_ticket
from control_plane.identifiers import new_attempt_id, new_call_id

PROBE_TIMEOUT_S = 3.0
TICKET_LIFE_S = 30
MAX_HEAD_BYTES = 16_384


class ProbeFailed(Exception):
    """The engine did not answer as it should; the message says how."""


async def probe(facts: AgentFacts, engine: agent_pb2.EngineSample, key: TicketKey) -> None:
    """GET /health with a `probe` ticket. Raises ProbeFailed unless it is answered with 200 in time."""
    where = f"engine at {facts.host} port {facts.engine_port}"
    claims = TicketClaims(
        call_id=new_call_id(),
        attempt_id=new_attempt_id(),
        served_name=engine.served_name,
        tier="probe",
        expires_unix_s=int(time.time()) + TICKET_LIFE_S,
    )
    ticket = sign_ticket(key, claims).decode()
    request = (
        f"GET /health HTTP/1.1\r\nhost: {facts.tls_name}\r\nx-daalu-ticket: {ticket}\r\n"
        "connection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            status = await _status(facts.host, facts.engine_port, request.encode())
    except TimeoutError:
        raise ProbeFailed(f"{where} did not answer within {PROBE_TIMEOUT_S:g} s") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ProbeFailed(f"{where}: {error}") from error
    if status != b"200":
        raise ProbeFailed(f"{where} answered {status.decode(errors='replace')!r} to GET /health, not 200")


async def _status(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_HEAD_BYTES)
    try:
        writer.write(request)
        await writer.drain()
        line = await reader.readuntil(b"\r\n")
        parts = line.split(b" ", 2)
        return parts[1][:8] if len(parts) > 1 and parts[0].startswith(b"HTTP/1.") else line[:16]
    finally:
        writer.transport.abort()
