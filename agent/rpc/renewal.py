"""The renewal conversation: a request goes out, a certificate comes in and is put in use."""

import asyncio
import logging
from collections.abc import AsyncIterator

from daalu_wire.v1 import agent_pb2

from agent.identity import Identity, TlsKey, agent_dns_name
from agent.rpc.contact import utc_now
from agent.rpc.issued import Expected, check_issued
from agent.rpc.refusals import BadRequest, CallerSilent, CertificateRefused
from agent.rpc.shown import ShownCredentials

log = logging.getLogger(__name__)

STEP_TIMEOUT_S = 15.0

Requests = AsyncIterator[agent_pb2.RenewCertificateRequest]


class Renewal:
    """The key stays; only the certificate, and the roots that go with it, are replaced."""

    def __init__(self, identity: Identity, shown: ShownCredentials) -> None:
        key = TlsKey.parse(shown.current.key_pem)
        self._request_pem = key.certificate_request_pem()
        self._public_key = key.key.public_key()
        self._identity = identity
        self._shown = shown
        self._one_at_a_time = asyncio.Lock()

    async def converse(self, requests: Requests) -> AsyncIterator[agent_pb2.RenewCertificateResponse]:
        """Raises BadRequest, CallerSilent, CertificateRefused, and what the store raises."""
        await _next(requests, "begin")
        yield agent_pb2.RenewCertificateResponse(certificate_request_pem=self._request_pem)
        issued = (await _next(requests, "issued")).issued
        async with self._one_at_a_time:
            in_use = await self._install(issued)
        yield agent_pb2.RenewCertificateResponse(in_use=in_use)

    async def _install(self, issued: agent_pb2.IssuedCertificate) -> agent_pb2.CertificateInUse:
        roots_pem = list(issued.root_certificates_pem)
        expected = Expected(
            self._public_key,
            agent_dns_name(self._identity.agent_id),
            self._identity.address,
            self._shown.current.roots_pem,
        )
        check_issued(issued.certificate_pem, roots_pem, expected, utc_now())
        try:
            expires = await asyncio.to_thread(self._shown.install, issued.certificate_pem, roots_pem)
        except ValueError as error:
            raise CertificateRefused(str(error)) from error
        log.info("a new certificate is in use; it expires %s", expires.isoformat())
        return agent_pb2.CertificateInUse(expires_unix_ms=int(expires.timestamp() * 1000))


async def _next(requests: Requests, step: str) -> agent_pb2.RenewCertificateRequest:
    try:
        async with asyncio.timeout(STEP_TIMEOUT_S):
            request = await anext(requests, None)
    except TimeoutError as error:
        raise CallerSilent(f"the renewal did not go on with {step!r} within {STEP_TIMEOUT_S:g} s") from error
    if request is None or request.WhichOneof("step") != step:
        raise BadRequest(f"the renewal must go on with {step!r}")
    return request
