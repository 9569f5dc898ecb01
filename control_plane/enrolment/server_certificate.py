"""What HTTPS shows until an operator puts a certificate of their own in its place."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.enrolment.certificates import key_pem, new_key, self_signed_certificate, server_leaf
from control_plane.secret_files import PUBLIC, SECRET, write_file


def create_server_certificate(certificate: Path, key: Path, hosts: Sequence[str]) -> None:
    """Writes a new key and a self-signed certificate for `hosts` (names and addresses).

    Nothing happens where both are there: invites pin the key.
    """
    if certificate.exists() and key.exists():
        return
    private = new_key()
    signed = self_signed_certificate(server_leaf(hosts), private, datetime.now(UTC))
    write_file(key, key_pem(private), SECRET)
    write_file(certificate, signed.public_bytes(Encoding.PEM), PUBLIC)
