"""A certificate authority for a test, and what it signs for a server."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.enrolment.certificates import (
    Signer,
    key_pem,
    leaf_certificate,
    new_key,
    root_certificate,
    server_leaf,
)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Files in PEM form."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """For the server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_tls(directory: Path, *names: str) -> ServerTls:
    """An authority of its own, and a certificate of it that is good for `names` (DNS names or addresses)."""
    directory.mkdir(parents=True)
    now, root_key, key = datetime.now(UTC), new_key(), new_key()
    root = root_certificate(root_key, "an authority for tests", now)
    signed = leaf_certificate(server_leaf(names), key.public_key(), Signer(root_key, root.subject), now)
    made = ServerTls(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    made.ca.write_bytes(root.public_bytes(Encoding.PEM))
    made.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    made.key.write_bytes(key_pem(key))
    return made
