"""The certificate authority: who may be an agent's server, and who may be its client."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from control_plane.enrolment.certificates import (
    Leaf,
    Signer,
    agent_leaf,
    control_plane_leaf,
    key_pem,
    leaf_certificate,
    new_key,
    root_certificate,
)
from control_plane.secret_files import PUBLIC, SECRET, write_file

ROOT_KEY = "root.key"
ROOT_CERTIFICATE = "root.pem"
# The root before this one, trusted beside it until no certificate of its is left.
PREVIOUS_CERTIFICATE = "previous.pem"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class AuthorityUnusable(Exception):
    """The authority's files are missing or broken; the message names the file and the way out."""


class BadCertificateRequest(ValueError):
    """A certificate request that is refused; the message says why."""


class Authority:
    """Signs with one root, trusts that one and, during a rollover, the one before it."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        roots: list[x509.Certificate],
        clock: Clock = utc_now,
    ) -> None:
        """`roots`: the certificate of `key` first."""
        self._signer = Signer(key, roots[0].subject)
        self._roots_pem = [pem(root) for root in roots]
        self._clock = clock

    @classmethod
    def create(cls, directory: Path, clock: Clock = utc_now) -> Self:
        """Makes what is missing in `directory`, changes nothing that is there, and loads it."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key_file, root_file = directory / ROOT_KEY, directory / ROOT_CERTIFICATE
        if not key_file.exists():
            if root_file.exists():
                raise AuthorityUnusable(
                    f"{root_file} is there but {key_file} is not: restore it from a backup"
                )
            write_file(key_file, key_pem(new_key()), SECRET)
        if not root_file.exists():
            now = clock()
            root = root_certificate(_load_key(key_file), f"Daalu authority {now:%Y-%m-%d}", now)
            write_file(root_file, root.public_bytes(Encoding.PEM), PUBLIC)
        return cls.load(directory, clock)

    @classmethod
    def load(cls, directory: Path, clock: Clock = utc_now) -> Self:
        """Raises AuthorityUnusable."""
        key = _load_key(directory / ROOT_KEY)
        root = _load_certificate(directory / ROOT_CERTIFICATE)
        if root.public_key() != key.public_key():
            raise AuthorityUnusable(
                f"{directory / ROOT_CERTIFICATE} and {directory / ROOT_KEY} do not belong together:"
                " restore both from one backup"
            )
        previous = directory / PREVIOUS_CERTIFICATE
        roots = [root, _load_certificate(previous)] if previous.exists() else [root]
        return cls(key, roots, clock)

    @property
    def root_certificates_pem(self) -> list[str]:
        """All roots to trust, PEM; the one that signs comes first."""
        return list(self._roots_pem)

    def sign_agent_certificate(self, csr_pem: str, agent_id: str, address: str) -> str:
        """A certificate for the key of `csr_pem`; every name in it is ours. Raises BadCertificateRequest."""
        return pem(self._sign(agent_leaf(agent_id, address), load_certificate_request(csr_pem)))

    def issue_control_plane_certificate(self) -> tuple[str, str]:
        """Certificate and key, PEM, for a day. The key is new each time and meant to stay in memory."""
        key = new_key()
        return pem(self._sign(control_plane_leaf(), key.public_key())), key_pem(key).decode()

    def _sign(self, leaf: Leaf, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        return leaf_certificate(leaf, public_key, self._signer, self._clock())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def load_certificate_request(csr_pem: str) -> ec.EllipticCurvePublicKey:
    """The key that the request proves to be held by who made it. Raises BadCertificateRequest."""
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        public_key = request.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificateRequest("it is not a certificate request in PEM") from None
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != "secp256r1":
        raise BadCertificateRequest("its key is not EC P-256")
    # Not before: other kinds of key can be made to take very long.
    try:
        sound = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        sound = False
    if not sound:
        raise BadCertificateRequest("it is not signed with its own key")
    return public_key


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityUnusable(f"{path} is not an EC private key in PEM: restore it from a backup")
    return key


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise AuthorityUnusable(f"{path} is not a certificate in PEM: restore it from a backup") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise AuthorityUnusable(
            f"{path} is not there: run `daalu init`, or restore it from a backup"
        ) from None
    except PermissionError:
        raise AuthorityUnusable(f"{path} cannot be read: run as the user who ran `daalu init`") from None
