"""A host's own word that it is given up, signed with the key that was pinned at its enrolment. Pure."""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from daalu_wire.v1 import enrolment_pb2
from google.protobuf import json_format

from control_plane.enrolment.refusal import Refusal, RefusalCode, Refused
from control_plane.identifiers import AgentId

_PURPOSE = b"daalu-leave-1\0"


@dataclass(frozen=True, slots=True)
class LeaveRequest:
    """Whose signature was checked; whether the key is the agent's own is not known yet."""

    agent_id: AgentId
    tls_key_sha256: bytes


def parse_leave(body: bytes) -> LeaveRequest:
    """From protobuf's JSON mapping. Raises Refused."""
    message = enrolment_pb2.LeaveRequest()
    try:
        json_format.Parse(body, message, ignore_unknown_fields=True)
        key = load_der_public_key(message.tls_public_key)
    except (json_format.ParseError, RecursionError, ValueError, UnsupportedAlgorithm):
        raise _malformed() from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise _malformed()
    try:
        key.verify(message.signature, _PURPOSE + message.agent_id.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise _malformed() from None
    return LeaveRequest(AgentId(message.agent_id), hashlib.sha256(message.tls_public_key).digest())


def unknown_agent() -> Refusal:
    """The same for a foreign key, so that nobody learns which agents there are."""
    return Refusal(RefusalCode.UNKNOWN_AGENT, "there is no agent of this id and key here")


def _malformed() -> Refused:
    return Refused(
        RefusalCode.MALFORMED, "this is not an agent's word, signed with the key that comes with it"
    )
