"""Renewal end to end: the client half is written here as docs/architecture.md describes it."""

import asyncio
import datetime as dt
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from daalu_wire.v1 import agent_pb2

from control_plane import enrolment
from tests.support.fleet_authority import new_key, request_pem
from tests.support.rpc import (
    AGENT_ID,
    AnyAuthority,
    Authority,
    RunningAgent,
    enrolled_state,
    running_agent,
    tls_key_of,
)

if TYPE_CHECKING:
    # There for type checkers only.
    from daalu_wire.v1.agent_pb2_grpc import AgentServiceAsyncStub

TIMEOUT_S = 10.0
Sign = Callable[[str], agent_pb2.IssuedCertificate]


async def shown_by(agent: RunningAgent) -> x509.Certificate:
    """The certificate of a new handshake, which trusts nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(TIMEOUT_S):
        _, writer = await asyncio.open_connection(agent.address, agent.server.port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def key_sha256(certificate: x509.Certificate) -> bytes:
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).digest()


async def renew(stub: "AgentServiceAsyncStub", sign: Sign) -> agent_pb2.CertificateInUse:
    call = stub.RenewCertificate(timeout=TIMEOUT_S)
    await call.write(agent_pb2.RenewCertificateRequest(begin=agent_pb2.BeginRenewal()))
    answer = await call.read()
    assert isinstance(answer, agent_pb2.RenewCertificateResponse)
    await call.write(agent_pb2.RenewCertificateRequest(issued=sign(answer.certificate_request_pem)))
    confirmed = await call.read()
    assert isinstance(confirmed, agent_pb2.RenewCertificateResponse)
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    return confirmed.in_use


async def inventory(stub: "AgentServiceAsyncStub") -> None:
    await stub.GetInventory(agent_pb2.GetInventoryRequest(), timeout=TIMEOUT_S)


def signer(authority: AnyAuthority, roots_pem: list[str] | None = None) -> Sign:
    def sign(csr_pem: str) -> agent_pb2.IssuedCertificate:
        return agent_pb2.IssuedCertificate(
            certificate_pem=authority.sign_agent_certificate(csr_pem, AGENT_ID, "127.0.0.1"),
            root_certificates_pem=roots_pem or authority.root_certificates_pem,
        )

    return sign


async def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    agent: RunningAgent,
) -> None:
    stub = agent.stub()
    telemetry = stub.StreamTelemetry(agent_pb2.StreamTelemetryRequest(interval_ms=500))
    await telemetry.read()
    before = await shown_by(agent)
    in_use = await renew(stub, signer(agent.authority))
    after = await shown_by(agent)
    assert after.serial_number != before.serial_number
    assert key_sha256(after) == key_sha256(before)
    assert in_use.expires_unix_ms == int(after.not_valid_after_utc.timestamp() * 1000)
    assert isinstance(await telemetry.read(), agent_pb2.TelemetrySample)
    await inventory(agent.stub())
    telemetry.cancel()


async def test_a_renewal_survives_the_daemons_restart(tmp_path: Path, authority: Authority) -> None:
    state = enrolled_state(tmp_path / "state", authority)
    async with running_agent(state, authority) as agent:
        await renew(agent.stub(), signer(authority))
        renewed = await shown_by(agent)
    async with running_agent(state, authority) as agent:
        assert await shown_by(agent) == renewed


async def test_an_agent_whose_certificate_has_expired_is_renewed_over_its_pinned_key(
    tmp_path: Path, authority: Authority
) -> None:
    authority.agent_life = dt.timedelta(seconds=-0.5)
    state = enrolled_state(tmp_path / "state", authority)
    authority.agent_life = dt.timedelta(days=7)
    pinned = hashlib.sha256(
        tls_key_of(state).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()
    async with running_agent(state, authority) as agent:
        # The authority does not vouch for what is shown now.
        with pytest.raises(grpc.aio.AioRpcError) as untrusted:
            await inventory(agent.stub())
        assert untrusted.value.code() is grpc.StatusCode.UNAVAILABLE

        shown = await shown_by(agent)
        assert shown.issuer == shown.subject
        assert key_sha256(shown) == pinned
        recovering = agent.stub(roots_pem=pem(shown))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await inventory(recovering)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "expired" in (refused.value.details() or "")
        await renew(recovering, signer(authority))

        assert key_sha256(await shown_by(agent)) == pinned
        await inventory(agent.stub())


async def test_even_for_a_renewal_an_expired_agent_lets_no_other_agent_in(
    tmp_path: Path, authority: Authority
) -> None:
    authority.agent_life = dt.timedelta(seconds=-0.5)
    state = enrolled_state(tmp_path / "state", authority)
    async with running_agent(state, authority) as agent:
        other = authority.issue_client_certificate("agt_2.agent.daalu.internal")
        call = agent.stub(other, roots_pem=pem(await shown_by(agent))).RenewCertificate(timeout=TIMEOUT_S)
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_certificate_that_expires_while_the_daemon_runs_gives_way_to_a_self_signed_one(
    tmp_path: Path, authority: Authority
) -> None:
    authority.agent_life = dt.timedelta(seconds=2)
    state = enrolled_state(tmp_path / "state", authority)
    async with running_agent(state, authority) as agent:
        shown = await shown_by(agent)
        async with asyncio.timeout(TIMEOUT_S):
            while shown.issuer != shown.subject:
                shown = await shown_by(agent)
        # The very same one again: the control plane trusts the one that it has looked at.
        assert await shown_by(agent) == shown


async def test_in_a_rollover_the_new_root_comes_in_beside_the_old_and_then_stands_alone(
    tmp_path: Path,
) -> None:
    # The product's own: roots of one name are told apart by key identifiers, which the short-lived lacks.
    old, new = (enrolment.Authority.create(tmp_path / name) for name in ("old", "new"))
    both, only_new = [*old.root_certificates_pem, *new.root_certificates_pem], new.root_certificates_pem
    state = enrolled_state(tmp_path / "state", old)
    async with running_agent(state, old) as agent:
        old_client, new_client = old.issue_control_plane_certificate(), new.issue_control_plane_certificate()
        await renew(agent.stub(), signer(new, both))
        await inventory(agent.stub(old_client, roots_pem="".join(both)))
        await renew(agent.stub(new_client, roots_pem="".join(both)), signer(new))
        await inventory(agent.stub(new_client, roots_pem="".join(only_new)))
        with pytest.raises(grpc.aio.AioRpcError):
            await inventory(agent.stub(old_client, roots_pem="".join(both)))


async def test_a_certificate_with_another_key_or_authority_is_refused_and_nothing_changes(
    agent: RunningAgent,
) -> None:
    def another_key(csr_pem: str) -> agent_pb2.IssuedCertificate:
        del csr_pem
        return signer(agent.authority)(request_pem(new_key(), "daalu-agent"))

    before = await shown_by(agent)
    for sign, words in (
        (another_key, "another key"),
        (signer(Authority()), "trusts already"),
        (signer(Authority(), agent.authority.root_certificates_pem), "signed the certificate"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await renew(agent.stub(), sign)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await shown_by(agent) == before


async def test_a_renewal_that_begins_in_the_middle_is_refused(agent: RunningAgent) -> None:
    call = agent.stub().RenewCertificate(timeout=TIMEOUT_S)
    await call.write(agent_pb2.RenewCertificateRequest(issued=agent_pb2.IssuedCertificate()))
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
