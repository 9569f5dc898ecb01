"""The state directory: opened by one daemon at a time, read as a whole or refused with a way out."""

import datetime as dt
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from agent.identity.files import StateError, check_private, read_private, remove_unfinished, write_atomically
from agent.identity.keys import TlsKey, WireguardKey
from agent.identity.record import Identity

ENROL_AGAIN = (
    "Restore it from a backup, or have the agent revoked, remove the state directory "
    "and enrol with a new invite."
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the daemon's server shows and trusts."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    # One authority root, or two during a rollover.
    roots_pem: bytes
    expires: dt.datetime
    # The authority's certificate has expired: good for a renewal and nothing else.
    self_signed: bool


class State:
    """The files of one agent. Reading needs no lock; everything that writes wants `locked`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: int | None = None

    @property
    def wireguard_key_file(self) -> Path:
        """For `wg set ... private-key`: the key itself never stands in a command line."""
        return self.directory / "wireguard.key"

    @classmethod
    def locked(cls, directory: Path) -> Self:
        """Makes the directory where it is missing and keeps every other daemon out. Raises StateError."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                directory, f"cannot be made ({error.strerror})", "Choose another with --state."
            ) from error
        state = cls(directory)
        state.check()
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StateError(
                directory,
                f"is in use by another daalu-agent (process {holder or 'unknown'})",
                "One daemon for each state directory: stop that one, or choose another with --state.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        state._lock = descriptor
        remove_unfinished(directory)
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check(self) -> None:
        """StateError where the directory is missing, no directory, or open to others."""
        try:
            facts = self.directory.stat()
        except OSError as error:
            raise StateError(
                self.directory,
                f"cannot be opened ({error.strerror})",
                "Enrol first: `daalu-agent enrol`; or name the right directory with --state.",
            ) from error
        if not self.directory.is_dir():
            raise StateError(self.directory, "is no directory", "Choose another with --state.")
        check_private(self.directory, facts)

    def identity(self) -> Identity | None:
        """None: not enrolled. Raises StateError."""
        path = self.directory / "identity.json"
        data = read_private(path, ENROL_AGAIN)
        if data is None:
            return None
        try:
            return Identity.load(data)
        except ValueError as error:
            raise StateError(path, str(error), ENROL_AGAIN) from error

    def wireguard_key(self) -> WireguardKey | None:
        """None: not made yet. Raises StateError."""
        data = read_private(self.wireguard_key_file, ENROL_AGAIN)
        if data is None:
            self._refuse_if_enrolled(self.wireguard_key_file)
            return None
        try:
            return WireguardKey.parse(data.decode("ascii", "replace").strip())
        except ValueError as error:
            raise StateError(self.wireguard_key_file, f"is {error}", ENROL_AGAIN) from error

    def tls_key(self) -> TlsKey | None:
        """None: not made yet. Raises StateError."""
        path = self.directory / "tls.key"
        data = read_private(path, ENROL_AGAIN)
        if data is None:
            self._refuse_if_enrolled(path)
            return None
        try:
            return TlsKey.parse(data)
        except ValueError as error:
            raise StateError(path, "is no EC P-256 private key in PEM", ENROL_AGAIN) from error

    def make_keys(self) -> tuple[WireguardKey, TlsKey]:
        """The keys that are there, and new ones for those that never were. Raises StateError, OSError."""
        wireguard, tls = self.wireguard_key(), self.tls_key()
        if wireguard is None:
            wireguard = WireguardKey.generate()
            write_atomically(self.wireguard_key_file, f"{wireguard.private}\n".encode())
        if tls is None:
            tls = TlsKey.generate()
            write_atomically(self.directory / "tls.key", tls.pem)
        return wireguard, tls

    def enrol(self, identity: Identity, certificate_pem: str, roots_pem: Sequence[str]) -> None:
        """Keeps enrolment's answer. identity.json goes last: with it the host is enrolled, without it not."""
        self.install_certificate(certificate_pem, roots_pem)
        write_atomically(self.directory / "identity.json", identity.dump())

    def install_certificate(self, certificate_pem: str, roots_pem: Sequence[str]) -> dt.datetime:
        """Puts a certificate in use and returns when it expires (UTC).

        ValueError where it has another key than this host's or none of the roots signed it.
        """
        key = self.tls_key()
        if key is None:
            raise StateError(self.directory / "tls.key", "is missing", ENROL_AGAIN)
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        if certificate.public_key() != key.key.public_key():
            raise ValueError("the certificate has another key than this host")
        roots = [root for pem in roots_pem for root in x509.load_pem_x509_certificates(pem.encode())]
        if not any(_signed_by(certificate, root) for root in roots):
            raise ValueError("none of the authority's roots signed the certificate")
        # Roots first: an old certificate with new roots still serves, the other way round might not.
        write_atomically(self.directory / "roots.pem", "".join(roots_pem).encode())
        write_atomically(self.directory / "certificate.pem", certificate_pem.encode())
        return certificate.not_valid_after_utc

    def credentials(self, now: dt.datetime) -> Credentials:
        """For the server, now: the authority's certificate, or a self-signed one once that has expired.

        Raises StateError.
        """
        identity, key = self.identity(), self.tls_key()
        if identity is None or key is None:
            raise StateError(self.directory, "holds no enrolled agent", "Enrol first: `daalu-agent enrol`.")
        certificate_pem, roots_pem = self._required("certificate.pem"), self._required("roots.pem")
        certificate = self._certificates("certificate.pem", certificate_pem)[0]
        self._certificates("roots.pem", roots_pem)
        if certificate.public_key() != key.key.public_key():
            raise StateError(
                self.directory / "certificate.pem", "has another key than tls.key holds", ENROL_AGAIN
            )
        expires = certificate.not_valid_after_utc
        expired = expires <= now
        if expired:
            certificate_pem = key.self_signed_certificate_pem(identity.agent_id, identity.address, now)
        return Credentials(key.pem, certificate_pem, roots_pem, expires, self_signed=expired)

    def _certificates(self, name: str, pem: bytes) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise StateError(self.directory / name, "holds no certificate in PEM", ENROL_AGAIN) from error

    def _required(self, name: str) -> bytes:
        data = read_private(self.directory / name, ENROL_AGAIN)
        if data is None:
            raise StateError(self.directory / name, "is missing, though this host is enrolled", ENROL_AGAIN)
        return data

    def _refuse_if_enrolled(self, key_file: Path) -> None:
        """A missing key of an enrolled host is a fault: a new one would be a new, unknown identity."""
        if (self.directory / "identity.json").exists():
            raise StateError(key_file, "is missing, though this host is enrolled", ENROL_AGAIN)


def _signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True
