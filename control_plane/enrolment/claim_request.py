"""What a host says of itself when it claims an invite: parsed once, checked field by field. Pure."""

import re
from dataclasses import dataclass, field

from cryptography import x509
from daalu_wire.v1 import enrolment_pb2
from google.protobuf import json_format

from control_plane.enrolment.authority import BadCertificateRequest, load_certificate_request
from control_plane.enrolment.invites import TOKEN_BYTES, hash_token
from control_plane.enrolment.keys import check_wireguard_key, key_sha256
from control_plane.enrolment.refusal import RefusalCode, Refused

# A claim is about 1 KiB.
MAX_BODY_BYTES = 16_384
MAX_NAME_CHARACTERS = 64
MAX_VERSION_CHARACTERS = 64

_FIELD = re.compile(r"Failed to parse (\w+) field")
_ID = re.compile(r"[a-z]{3,4}-[0-9a-z]{26}\Z")


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    token_sha256: bytes = field(repr=False)
    agent_name: str
    agent_version: str
    wireguard_public_key: str
    certificate_request_pem: str = field(repr=False)
    tls_key_sha256: bytes
    rpc_port: int
    engine_port: int
    direct: bool


def parse_claim(body: bytes) -> ClaimRequest:
    """From protobuf's JSON mapping. Raises Refused (malformed), naming the field; never repeats a value."""
    message = enrolment_pb2.ClaimRequest()
    try:
        # Fields of a newer agent are none of ours.
        json_format.Parse(body, message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        named = _FIELD.search(str(error))
        raise _malformed(_snake(named[1]) if named else "body", "it cannot be read") from None
    except (UnicodeDecodeError, RecursionError):
        raise _malformed("body", "it is not JSON") from None
    if len(message.token) != TOKEN_BYTES:
        raise _malformed("token", f"it is not {TOKEN_BYTES} bytes")
    if message.rpc_port == message.engine_port:
        raise _malformed("engine_port", "it is the same as rpc_port")
    try:
        wireguard_public_key = check_wireguard_key(message.wireguard_public_key)
    except ValueError as error:
        raise _malformed("wireguard_public_key", str(error)) from None
    return ClaimRequest(
        token_sha256=hash_token(message.token),
        agent_name=_name(message.agent_name),
        agent_version=_printable("agent_version", message.agent_version, MAX_VERSION_CHARACTERS),
        wireguard_public_key=wireguard_public_key,
        certificate_request_pem=message.certificate_request_pem,
        tls_key_sha256=_tls_key(message.certificate_request_pem),
        rpc_port=_port("rpc_port", message.rpc_port),
        engine_port=_port("engine_port", message.engine_port),
        direct=message.direct,
    )


def _name(text: str) -> str:
    name = _printable("agent_name", text, MAX_NAME_CHARACTERS)
    if _ID.match(name):
        raise _malformed("agent_name", "it looks like an id")
    return name


def _printable(name: str, text: str, limit: int) -> str:
    if not 1 <= len(text) <= limit or not text.isprintable() or text != text.strip():
        raise _malformed(name, f"it is not 1 to {limit} printable characters without spaces at its ends")
    return text


def _port(name: str, number: int) -> int:
    if not 0 < number < 65536:
        raise _malformed(name, "ports go from 1 to 65535")
    return number


def _tls_key(csr_pem: str) -> bytes:
    try:
        load_certificate_request(csr_pem)
    except BadCertificateRequest as error:
        raise _malformed("certificate_request_pem", str(error)) from None
    return key_sha256(x509.load_pem_x509_csr(csr_pem.encode()))


def _malformed(name: str, reason: str) -> Refused:
    return Refused(RefusalCode.MALFORMED, f"{name} is not acceptable: {reason}")


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda letter: "_" + letter[1].lower(), name)
