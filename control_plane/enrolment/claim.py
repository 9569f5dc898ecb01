"""The claim of an invite: one transaction that makes an agent, or says why not."""

from dataclasses import dataclass

from cryptography import x509
from daalu_wire.v1 import enrolment_pb2
from sqlmodel import Session

from control_plane.access import audit
from control_plane.enrolment.authority import Authority
from control_plane.enrolment.claim_request import MAX_NAME_CHARACTERS, ClaimRequest
from control_plane.enrolment.queries import (
    agent_with_either_key,
    invite_for_update,
    tenant_name,
    unique_name,
)
from control_plane.enrolment.refusal import Refusal, RefusalCode
from control_plane.identifiers import AgentId, new_agent_id
from control_plane.store import announce
from control_plane.store.tables import Agent, ChangeKind, Connection, Invite
from control_plane.tunnel import allocate_address, choose_network, tunnel_configuration

# Where an agent in direct mode is reached.
LOOPBACK = "127.0.0.1"
_ASK = "ask for a new invite (`daalu agents invite`)"


@dataclass(frozen=True, slots=True)
class Hub:
    """What agents are told of the hub."""

    public_key: str
    # Host and UDP port, as seen from outside.
    endpoint: str


def claim(
    session: Session, request: ClaimRequest, authority: Authority, hub: Hub, now_unix_ms: int
) -> enrolment_pb2.ClaimResponse | Refusal:
    """A unit of work. Asked again with the same token and the same keys, it answers the same.

    Raises NetworkFull. Whether direct mode is allowed was decided before.
    """
    invite = invite_for_update(session, request.token_sha256)
    if invite is None:
        return unknown_token()
    if request.wireguard_public_key == hub.public_key:
        return Refusal(
            RefusalCode.MALFORMED, "wireguard_public_key is not acceptable: it is the hub's own key"
        )
    agent = None if invite.agent_id is None else session.get(Agent, invite.agent_id)
    if agent is None:
        if refusal := _refuse_first(session, invite, request, now_unix_ms):
            return refusal
        agent = _enrol(session, invite, request, authority, now_unix_ms)
    else:
        if refusal := _refuse_again(session, invite, agent, request):
            return refusal
        _bring_up_to_date(session, agent, request, authority, now_unix_ms)
    return _answer(session, agent, authority, hub)


def unknown_token() -> Refusal:
    return Refusal(
        RefusalCode.UNKNOWN_TOKEN, f"this invite is not known here: copy the whole of it, or {_ASK}"
    )


def _refuse_again(session: Session, invite: Invite, agent: Agent, request: ClaimRequest) -> Refusal | None:
    same_keys = (
        agent.wireguard_public_key == request.wireguard_public_key
        and agent.tls_key_sha256 == request.tls_key_sha256
    )
    if not same_keys:
        # Either a copied invite or somebody else's: the operator wants to know.
        audit(
            session,
            actor="enrolment",
            action="invite.claimed_with_another_key",
            subject=invite.id,
            tenant_id=invite.tenant_id,
            detail={
                "claimed_by": agent.id,
                "agent_name": request.agent_name,
                "wireguard_public_key": request.wireguard_public_key,
            },
        )
        return Refusal(RefusalCode.TOKEN_USED, f"this invite was used by a host with other keys: {_ASK}")
    if agent.revoked_unix_ms is not None:
        return Refusal(RefusalCode.REVOKED, f"this agent was revoked: {_new_keys()}")
    if agent.connection != _connection(request):
        return Refusal(
            RefusalCode.TOKEN_USED,
            f"this host used this invite already, in {agent.connection} mode: claim again in that mode",
        )
    return None


def _refuse_first(
    session: Session, invite: Invite, request: ClaimRequest, now_unix_ms: int
) -> Refusal | None:
    if now_unix_ms >= invite.expires_unix_ms:
        return Refusal(
            RefusalCode.EXPIRED_TOKEN, f"this invite has expired (it is good for one hour): {_ASK}"
        )
    known = agent_with_either_key(
        session,
        wireguard_public_key=request.wireguard_public_key,
        tls_key_sha256=request.tls_key_sha256,
    )
    if known is None:
        return None
    whose = (
        "that was revoked and can't come back with its old keys" if known.revoked_unix_ms else "that exists"
    )
    return Refusal(RefusalCode.KEYS_KNOWN, f"this host's keys belong to an agent {whose}: {_new_keys()}")


def _new_keys() -> str:
    return (
        "stop the agent, remove its state directory so that it makes new keys, and claim again; "
        f"where the invite was used, {_ASK}"
    )


def _enrol(
    session: Session, invite: Invite, request: ClaimRequest, authority: Authority, now_unix_ms: int
) -> Agent:
    agent_id = new_agent_id()
    address = None if request.direct else allocate_address(session, choose_network(session))
    certificate, expires_unix_ms = _certificate(authority, request, agent_id, address)
    agent = Agent(
        id=agent_id,
        tenant_id=invite.tenant_id,
        name=unique_name(session, invite.tenant_id, request.agent_name, MAX_NAME_CHARACTERS),
        connection=_connection(request),
        tunnel_address=address,
        rpc_port=request.rpc_port,
        engine_port=request.engine_port,
        wireguard_public_key=request.wireguard_public_key,
        tls_key_sha256=request.tls_key_sha256,
        certificate_pem=certificate,
        certificate_expires_unix_ms=expires_unix_ms,
        agent_version=request.agent_version,
        created_unix_ms=now_unix_ms,
    )
    session.add(agent)
    # The invite's reference needs the row to be there.
    session.flush()
    invite.claimed_unix_ms = now_unix_ms
    invite.agent_id = agent_id
    session.add(invite)
    audit(
        session,
        actor=agent_id,
        action="agent.enrolled",
        subject=agent_id,
        tenant_id=invite.tenant_id,
        detail={"name": agent.name, "invite": invite.id, "connection": agent.connection},
    )
    announce(session, ChangeKind.AGENT, agent_id)
    return agent


def _bring_up_to_date(
    session: Session, agent: Agent, request: ClaimRequest, authority: Authority, now_unix_ms: int
) -> None:
    """The answer is the same; ports may have been set anew in between, and the certificate must be good."""
    if (agent.rpc_port, agent.engine_port) != (request.rpc_port, request.engine_port):
        agent.rpc_port, agent.engine_port = request.rpc_port, request.engine_port
        announce(session, ChangeKind.AGENT, agent.id)
    if agent.certificate_expires_unix_ms <= now_unix_ms:
        agent.certificate_pem, agent.certificate_expires_unix_ms = _certificate(
            authority, request, AgentId(agent.id), agent.tunnel_address
        )
        announce(session, ChangeKind.AGENT, agent.id)
    session.add(agent)


def _certificate(
    authority: Authority, request: ClaimRequest, agent_id: AgentId, address: str | None
) -> tuple[str, int]:
    """The certificate and when it expires, Unix milliseconds."""
    signed = authority.sign_agent_certificate(request.certificate_request_pem, agent_id, address or LOOPBACK)
    expires = x509.load_pem_x509_certificate(signed.encode()).not_valid_after_utc
    return signed, int(expires.timestamp() * 1000)


def _answer(session: Session, agent: Agent, authority: Authority, hub: Hub) -> enrolment_pb2.ClaimResponse:
    tunnel = None
    if agent.tunnel_address is not None:
        tunnel = tunnel_configuration(
            choose_network(session),
            agent_address=agent.tunnel_address,
            hub_public_key=hub.public_key,
            hub_endpoint=hub.endpoint,
        )
    return enrolment_pb2.ClaimResponse(
        agent_id=agent.id,
        agent_name=agent.name,
        tenant_name=tenant_name(session, agent.tenant_id),
        certificate_pem=agent.certificate_pem,
        root_certificates_pem=authority.root_certificates_pem,
        tunnel=tunnel,
    )


def _connection(request: ClaimRequest) -> Connection:
    return Connection.DIRECT if request.direct else Connection.TUNNEL
