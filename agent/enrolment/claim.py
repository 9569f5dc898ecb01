"""The claim itself: keys, tries, and the answer put into the state directory."""

import datetime as dt
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from daalu_wire.v1 import enrolment_pb2
from google.protobuf import json_format

from agent.enrolment.connection import Answer, EnrolmentError, Refused, Unreachable, post
from agent.enrolment.invite import Invite
from agent.identity import Identity, State, TunnelSettings

# One try: connecting, the handshake and each wait for the answer.
TRY_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
TRIES_LIMIT = 100
# Half of what a ticket lives: a clock that is further off makes the engine refuse calls.
CLOCK_TOLERANCE = dt.timedelta(seconds=30)

_NEW_INVITE = "ask for a new one (`daalu agents invite`)"
_REFUSALS = {
    "malformed": "the control plane cannot read this agent's request: are their versions too far apart?",
    "unknown_token": f"the control plane does not know this invite: {_NEW_INVITE}",
    "expired_token": f"the invite has expired (an invite is good for one hour): {_NEW_INVITE}",
    "token_used": f"the invite was used already, by a host with other keys: {_NEW_INVITE}",
    "direct_not_allowed": (
        "the control plane does not allow direct mode: "
        "start it with --allow-direct, or enrol without --direct"
    ),
}


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
    if host.direct and not invite.names_this_machine:
        raise EnrolmentError(
            f"direct mode is for one machine, but the invite names {invite.host}: enrol without --direct"
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
    answer = _ask(invite, json_format.MessageToJson(request).encode(), timeout_s, report)
    identity, response = _read(invite, host, answer)
    try:
        state.enrol(identity, response.certificate_pem, response.root_certificates_pem)
    except ValueError as error:
        raise EnrolmentError(f"{invite.url} answered with a certificate that will not do: {error}") from error
    return Enrolled(identity, _clock_fault(answer))


def _ask(invite: Invite, body: bytes, timeout_s: float, report: Callable[[str], None]) -> Answer:
    """Tries again, with full jitter, only what another try can mend."""
    deadline = time.monotonic() + timeout_s
    for number in range(TRIES_LIMIT):
        left_s = deadline - time.monotonic()
        try:
            return post(invite, body, max(0.1, min(TRY_TIMEOUT_S, left_s)))
        except Unreachable as error:
            pause_s = random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(number, 10)))  # noqa: S311
            if time.monotonic() + pause_s >= deadline or number == TRIES_LIMIT - 1:
                raise Unreachable(
                    f"{error} (gave up after {number + 1} tries in {timeout_s:.0f} s)"
                ) from error
            report(f"{error}; trying again in {pause_s:.1f} s")
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def _read(invite: Invite, host: Host, answer: Answer) -> tuple[Identity, enrolment_pb2.ClaimResponse]:
    if answer.status != 200:
        raise _refusal(invite, answer)
    response = enrolment_pb2.ClaimResponse()
    try:
        json_format.Parse(answer.body, response, ignore_unknown_fields=True)
        return _identity(invite, host, response), response
    except (json_format.ParseError, ValueError) as error:
        raise EnrolmentError(
            f"{invite.url} answered with something else than an enrolment ({error}): is it a control plane?"
        ) from error


def _identity(invite: Invite, host: Host, response: enrolment_pb2.ClaimResponse) -> Identity:
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
        control_plane_url=invite.url,
        control_plane_key_sha256=invite.control_plane_key_sha256.hex(),
        rpc_port=host.rpc_port,
        engine_port=host.engine_port,
        tunnel=tunnel,
    )


def _refusal(invite: Invite, answer: Answer) -> Refused:
    refusal = enrolment_pb2.EnrolmentRefusal()
    try:
        json_format.Parse(answer.body, refusal, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError):
        refusal.Clear()
    if not refusal.code:
        return Refused(
            "", f"{invite.url} answered HTTP {answer.status} without a reason: is it a control plane?"
        )
    text = _REFUSALS.get(refusal.code) or one_line(refusal.message) or refusal.code
    fault = _clock_fault(answer) if refusal.code == "expired_token" else None
    return Refused(refusal.code, f"{text}; {fault}" if fault else text)


def one_line(text: str) -> str:
    """Foreign text for a terminal: printable, without line breaks, at most 300 characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()


def _clock_fault(answer: Answer) -> str | None:
    ahead = answer.clock_ahead
    if ahead is None or abs(ahead) <= CLOCK_TOLERANCE:
        return None
    side = "ahead of" if ahead > dt.timedelta() else "behind"
    seconds = dt.timedelta(seconds=round(abs(ahead).total_seconds()))
    return (
        f"this host's clock is {seconds} (h:mm:ss) {side} the control plane's: "
        "set it (timedatectl set-ntp true), or calls will be refused"
    )
