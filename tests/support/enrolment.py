"""A host that claims: its keys, its request, and the store with an invite for it."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from daalu_wire.v1 import enrolment_pb2

from control_plane.access import create_tenant
from control_plane.enrolment import create_invite
from control_plane.store import Store

URL = "https://control.example:8443"
NOW_MS = 1_800_000_000_000


def certificate_request(key: ec.EllipticCurvePrivateKey) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever the host says")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class Claimant:
    """The public halves of a host's keys."""

    wireguard_public_key: str = field(
        default_factory=lambda: base64.b64encode(
            X25519PrivateKey.generate().public_key().public_bytes_raw()
        ).decode()
    )
    tls_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    def fields(self, token: bytes, /, **changes: Any) -> dict[str, Any]:
        return {
            "token": base64.b64encode(token).decode(),
            "agentName": "host",
            "agentVersion": "0.1.0",
            "wireguardPublicKey": self.wireguard_public_key,
            "certificateRequestPem": certificate_request(self.tls_key),
            "rpcPort": 7443,
            "enginePort": 7400,
            **changes,
        }

    def body(self, token: bytes, /, **changes: Any) -> bytes:
        return json.dumps(self.fields(token, **changes)).encode()


def new_tenant(store: Store, name: str = "acme") -> str:
    return store.write_now(lambda session: create_tenant(session, name=name, actor="operator").id)


def new_token(store: Store, tenant_id: str, *, now_unix_ms: int = NOW_MS) -> bytes:
    """An invite's token, read out of its text as an agent does."""
    text = store.write_now(
        lambda session: (
            create_invite(
                session,
                tenant_id=tenant_id,
                url=URL,
                control_plane_key_sha256=bytes(32),
                actor="operator",
                now_unix_ms=now_unix_ms,
            ).text
        )
    )
    return read_invite(text).token


def read_invite(text: str) -> enrolment_pb2.Invite:
    body = text.removeprefix("daalu-invite-")
    return enrolment_pb2.Invite.FromString(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
