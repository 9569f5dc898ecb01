"""The claim itself: keys, and the answer put into the state directory."""

from collections.abc import Callable
from dataclasses import dataclass

from daalu_wire.v1 import enrolment_pb2
from google.protobuf import json_format

from agent.enrolment.asking import ask, clock_fault, refusal
from agent.enrolment.connection import CLAIM_PATH, Answer, EnrolmentError
from agent.enrolment.invite import ControlPlane, Invite
from agent.identity import Identity, State, TunnelSettings


@dataclass(frozen=True, slots=True)
class Host:
    """What this host says of itself."""

    name: str
    version: str
    rpc_port: int
    engine_port: int
    direct: bool


@dataclass(frozen=True, slots=True)
class Enrolled:
    identity: Identity
    # In words, where this host's clock will get in the way.
    warning: str | None


def claim(
    invite: Invite,
    host: Host,
    state: State,
    *,
    timeout_s: float,
    report: Callable[[str], None],
) -> Enrolled:
    """Blocks until enrolled, refused, or `timeout_s` have gone by. `report` gets a line for each try.

    `state` must be locked and not enrolled. Raises EnrolmentError, StateError, OSError.
    """
    there = invite.control_plane
    if host.direct and not there.names_this_machine:
        raise EnrolmentError(
            f"direct mode is for one machine, but the invite names {there.host}: enrol without --direct"
        )
    wireguard, tls = state.make_keys()
    request = enrolment_pb2.ClaimRequest(
        token=invite.token,
        agent_name=host.name,
        agent_version=host.version,
        wireguard_public_key=wireguard.public,
        certificate_request_pem=tls.certificate_request_pem(),
        rpc_port=host.rpc_port,
        engine_port=host.engine_port,
        direct=host.direct,
    )
    body = json_format.MessageToJson(request).encode()
    answer = ask(there, CLAIM_PATH, body, timeout_s, report)
    identity, response = _read(there, host, answer)
    try:
        state.enrol(identity, response.certificate_pem, response.root_certificates_pem)
    except ValueError as error:
        raise EnrolmentError(f"{there.url} answered with a certificate that will not do: {error}") from error
    return Enrolled(identity, clock_fault(answer))


def _read(there: ControlPlane, host: Host, answer: Answer) -> tuple[Identity, enrolment_pb2.ClaimResponse]:
    if answer.status != 200:
        raise refusal(there, answer)
    response = enrolment_pb2.ClaimResponse()
    try:
        json_format.Parse(answer.body, response, ignore_unknown_fields=True)
        return _identity(there, host, response), response
    except (json_format.ParseError, ValueError) as error:
        raise EnrolmentError(
            f"{there.url} answered with something else than an enrolment ({error}): is it a control plane?"
        ) from error


def _identity(there: ControlPlane, host: Host, response: enrolment_pb2.ClaimResponse) -> Identity:
    if not response.agent_id or response.HasField("tunnel") == host.direct:
        raise ValueError("it names no agent, or a tunnel where none was asked for")
    tunnel = None
    if not host.direct:
        tunnel = TunnelSettings(
            agent_address=response.tunnel.agent_address,
            hub_address=response.tunnel.hub_address,
            network=response.tunnel.network,
            hub_public_key=response.tunnel.hub_public_key,
            hub_endpoint=response.tunnel.hub_endpoint,
            mtu_bytes=response.tunnel.mtu_bytes,
            keepalive_s=response.tunnel.keepalive_s,
        )
    return Identity(
        agent_id=response.agent_id,
        agent_name=response.agent_name,
        tenant_name=response.tenant_name,
        control_plane_url=there.url,
        control_plane_key_sha256=there.key_sha256.hex(),
        rpc_port=host.rpc_port,
        engine_port=host.engine_port,
        tunnel=tunnel,
    )
