"""Leaving: this host's own word that it is given up, signed with the key that enrolment pinned."""

from collections.abc import Callable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from daalu_wire.v1 import enrolment_pb2
from google.protobuf import json_format

from agent.enrolment.asking import ask, refusal
from agent.enrolment.connection import LEAVE_PATH
from agent.enrolment.invite import ControlPlane
from agent.identity import Identity, TlsKey

_PURPOSE = b"daalu-leave-1\0"


def leave(identity: Identity, key: TlsKey, *, timeout_s: float, report: Callable[[str], None]) -> None:
    """Returns once the control plane has revoked this agent, which cannot be undone.

    Sent again it changes nothing. Raises EnrolmentError.
    """
    there = ControlPlane.of(identity.control_plane_url, bytes.fromhex(identity.control_plane_key_sha256))
    public_key = key.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    request = enrolment_pb2.LeaveRequest(
        agent_id=identity.agent_id,
        tls_public_key=public_key,
        signature=key.key.sign(_PURPOSE + identity.agent_id.encode(), ec.ECDSA(hashes.SHA256())),
    )
    answer = ask(there, LEAVE_PATH, json_format.MessageToJson(request).encode(), timeout_s, report)
    if answer.status != 200:
        raise refusal(there, answer)
