"""Public keys by their SHA-256: how a key is pinned and compared."""

import base64
import binascii
import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

WIREGUARD_KEY_BYTES = 32


def key_sha256(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    """SHA-256 of the holder's public key (its SubjectPublicKeyInfo, DER)."""
    public = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).digest()


def file_key_sha256(certificate: Path) -> bytes:
    """`key_sha256` of a certificate in a PEM file. Raises OSError, or ValueError where it holds none."""
    return key_sha256(x509.load_pem_x509_certificate(certificate.read_bytes()))


def check_wireguard_key(text: str) -> str:
    """A public key as `wg` prints it, as given. Raises ValueError.

    Only the one standard spelling passes: base64 has others for the same bytes, and the key is unique in
    the store as text.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64") from None
    if len(key) != WIREGUARD_KEY_BYTES or base64.b64encode(key).decode() != text:
        raise ValueError(f"it is not {WIREGUARD_KEY_BYTES} bytes in standard base64")
    if not any(key):
        raise ValueError("it is all zero")
    return text
