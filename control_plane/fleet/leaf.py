"""The certificate that an agent shows when a normal connection fails, and what it says. Not trusted."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.enrolment import key_sha256

HANDSHAKE_TIMEOUT_S = 5.0
MAX_UNREAD_BYTES = 4_096


class Verdict(StrEnum):
    """What a leaf says of the host that showed it."""

    FOREIGN = "foreign"  # another key than the one pinned at enrolment
    EXPIRED = "expired"  # the pinned key, under a certificate of its own or one that has expired
    GOOD = "good"  # the pinned key, under a certificate that is still valid: something else is wrong


@dataclass(frozen=True, slots=True)
class Leaf:
    certificate_pem: bytes
    verdict: Verdict


def judge(certificate_der: bytes, pinned_key_sha256: bytes, now: datetime) -> Leaf:
    """Raises ValueError for bytes that are no certificate."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    pem = certificate.public_bytes(Encoding.PEM)
    if key_sha256(certificate) != pinned_key_sha256:
        return Leaf(pem, Verdict.FOREIGN)
    if _self_signed(certificate) or certificate.not_valid_after_utc <= now:
        return Leaf(pem, Verdict.EXPIRED)
    return Leaf(pem, Verdict.GOOD)


async def fetch(host: str, port: int) -> bytes:
    """The leaf (DER) shown at this address, by a TLS handshake that sends nothing and trusts nothing.

    Raises OSError (TimeoutError and ssl.SSLError among them) where there is none to be had.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Here the handshake ends for the client before the server looks for the client's certificate.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context, limit=MAX_UNREAD_BYTES)
    try:
        tls = writer.get_extra_info("ssl_object")
        shown: bytes | None = tls.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if shown is None:
        raise ssl.SSLError(f"{host} port {port} showed no certificate")
    return shown


def _self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
