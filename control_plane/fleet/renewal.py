"""Renewing an agent's certificate: when, for which key, and the conversation."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session

from control_plane.access import audit
from control_plane.enrolment import key_sha256
from control_plane.fleet.dial import CertificateAuthority
from control_plane.fleet.facts import AgentFacts
from control_plane.store import Store
from control_plane.store.tables import Agent

if TYPE_CHECKING:
    # There for type checkers only.
    from daalu_wire.v1.agent_pb2_grpc import AgentServiceAsyncStub

logger = logging.getLogger(__name__)

RENEW_EVERY = timedelta(hours=24)
CONVERSATION_TIMEOUT_S = 30.0
MAX_REQUEST_BYTES = 16_384
# Over any number of connections: what was refused is not asked again at once, nor fills the audit trail.
REFUSED_PAUSE_S = 3_600.0
# An agent that goes on showing its expired certificate after a renewal is not sent one every few seconds.
RENEWED_PAUSE_S = 30.0


_Call = grpc.aio.StreamStreamCall[agent_pb2.RenewCertificateRequest, agent_pb2.RenewCertificateResponse]


class RenewalRefused(Exception):
    """The agent asked for a certificate that it must not have."""


def renew_at(certificate_pem: str) -> datetime:
    """A day after it began, or at half of its life, whichever comes first."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return min(begins + RENEW_EVERY, begins + (ends - begins) / 2)


def renew_in_s(certificate_pem: str, now: datetime) -> float:
    return max(0.0, (renew_at(certificate_pem) - now).total_seconds())


def check_request(csr_pem: str, pinned_key_sha256: bytes) -> None:
    """Raises RenewalRefused unless this is a sound request for the key pinned at enrolment."""
    if len(csr_pem) > MAX_REQUEST_BYTES:
        raise RenewalRefused(f"the certificate request is larger than {MAX_REQUEST_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        sound = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RenewalRefused("the certificate request cannot be read") from error
    if not sound:
        raise RenewalRefused("the certificate request is not signed by its own key")
    if key_sha256(request) != pinned_key_sha256:
        raise RenewalRefused("the certificate request is for another key than the one enrolled")


async def renew(
    stub: "AgentServiceAsyncStub", facts: AgentFacts, authority: CertificateAuthority, store: Store
) -> str:
    """One conversation; afterwards the agent uses the certificate returned (PEM), and the store knows it.

    Raises RenewalRefused (audited), grpc.aio.AioRpcError, TimeoutError.
    """
    async with asyncio.timeout(CONVERSATION_TIMEOUT_S):
        call = stub.RenewCertificate(timeout=CONVERSATION_TIMEOUT_S)
        await _say(call, agent_pb2.RenewCertificateRequest(begin=agent_pb2.BeginRenewal()))
        request_pem = (await _answer(call)).certificate_request_pem
        try:
            check_request(request_pem, facts.tls_key_sha256)
        except RenewalRefused as refusal:
            call.cancel()
            await store.write(partial(_audit_refusal, facts=facts, reason=str(refusal)))
            raise
        certificate_pem = authority.sign_agent_certificate(request_pem, facts.agent_id, facts.host)
        issued = agent_pb2.IssuedCertificate(
            certificate_pem=certificate_pem, root_certificates_pem=authority.root_certificates_pem
        )
        await _say(call, agent_pb2.RenewCertificateRequest(issued=issued))
        if (await _answer(call)).WhichOneof("step") != "in_use":
            raise RenewalRefused("the agent did not confirm its new certificate")
        await call.done_writing()
    await store.write(lambda session: _keep(session, facts.agent_id, certificate_pem))
    return certificate_pem


async def _say(call: _Call, request: agent_pb2.RenewCertificateRequest) -> None:
    try:
        await call.write(request)
    except asyncio.InvalidStateError:
        # The agent has ended it; reading the answer says why.
        logger.debug("the agent ended its renewal early")


async def _answer(call: _Call) -> agent_pb2.RenewCertificateResponse:
    answer = await call.read()
    if isinstance(answer, agent_pb2.RenewCertificateResponse):
        return answer
    # The stream ended: with an error, where the status is one.
    code, details = await call.code(), await call.details()
    raise RenewalRefused(f"the agent ended the renewal: {code.name.lower()}: {details or 'no details'}")


def _keep(session: Session, agent_id: str, certificate_pem: str) -> None:
    agent = session.get(Agent, agent_id)
    if agent is None or agent.revoked_unix_ms is not None:
        return
    expires = x509.load_pem_x509_certificate(certificate_pem.encode()).not_valid_after_utc
    agent.certificate_pem = certificate_pem
    agent.certificate_expires_unix_ms = int(expires.timestamp() * 1000)
    session.add(agent)
    audit(
        session,
        actor="fleet",
        action="certificate.renewed",
        subject=agent_id,
        tenant_id=agent.tenant_id,
        detail={"expires": expires.astimezone(UTC).isoformat()},
    )


def _audit_refusal(session: Session, *, facts: AgentFacts, reason: str) -> None:
    audit(
        session,
        actor=facts.agent_id,
        action="certificate.refused",
        subject=facts.agent_id,
        tenant_id=facts.tenant_id,
        detail={"reason": reason},
    )
