"""A host's own word that it is given up: only with the key that comes with it."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from control_plane.enrolment.leave import parse_leave
from control_plane.enrolment.refusal import RefusalCode, Refused

KEY = ec.generate_private_key(ec.SECP256R1())
SIGNATURE = KEY.sign(b"daalu-leave-1\0agt-1", ec.ECDSA(hashes.SHA256()))


def _der(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _body(agent_id: str = "agt-1", key: bytes | None = None, signature: bytes = SIGNATURE) -> bytes:
    fields = {"tlsPublicKey": _der(KEY) if key is None else key, "signature": signature}
    return json.dumps(
        {"agentId": agent_id} | {name: base64.b64encode(value).decode() for name, value in fields.items()}
    ).encode()


def test_a_signed_word_names_agent_and_key() -> None:
    request = parse_leave(_body())
    assert request.agent_id == "agt-1"
    assert len(request.tls_key_sha256) == 32


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 5000,
        _body(agent_id="agt-2"),
        _body(signature=b""),
        _body(signature=SIGNATURE[:-1] + bytes([SIGNATURE[-1] ^ 1])),
        _body(signature=KEY.sign(b"agt-1", ec.ECDSA(hashes.SHA256()))),
        _body(key=b""),
        _body(key=_der(ec.generate_private_key(ec.SECP256R1()))),
        _body(key=_der(ed25519.Ed25519PrivateKey.generate())),
    ],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_leave(body)
    assert caught.value.refusal.code == RefusalCode.MALFORMED
