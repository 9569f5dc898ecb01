"""What the server shows in a handshake, kept current without a restart."""

import datetime as dt
import logging
import threading
from collections.abc import Callable, Sequence

import grpc
from cryptography import x509

from agent.identity import Credentials, StateError
from agent.rpc.contact import utc_now
from agent.rpc.ports import CredentialStore

log = logging.getLogger(__name__)


class ShownCredentials:
    """gRPC asks before every handshake, in threads of its own; the rest of the room asks in the event loop.

    A self-signed certificate is shown unchanged for half of its life: the control plane trusts the very
    one that it has looked at.
    """

    def __init__(self, store: CredentialStore, clock: Callable[[], dt.datetime] = utc_now) -> None:
        """Raises StateError."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._current = store.credentials(clock())
        self._good_until = _good_until(self._current)
        self._configured = self._current

    @property
    def current(self) -> Credentials:
        with self._lock:
            self._refresh()
            return self._current

    def expired(self) -> bool:
        """Whether a self-signed certificate stands in for the authority's."""
        return self.current.self_signed

    def install(self, certificate_pem: str, roots_pem: Sequence[str]) -> dt.datetime:
        """Writes to disk. Shown from the next handshake on. Raises what the store raises."""
        with self._lock:
            expires = self._store.install_certificate(certificate_pem, roots_pem)
            self._load()
        return expires

    def server_credentials(self) -> grpc.ServerCredentials:
        with self._lock:
            self._configured = self._current
            configuration = _configuration(self._current)
        return grpc.dynamic_ssl_server_credentials(
            configuration,
            self._next_configuration,  # type: ignore[arg-type] # None is documented
            require_client_authentication=True,
        )

    def _next_configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """None: the one before."""
        current = self.current
        if current is self._configured:
            return None
        self._configured = current
        return _configuration(current)

    def _refresh(self) -> None:
        if self._clock() < self._good_until:
            return
        try:
            self._load()
        except (StateError, OSError) as error:
            # Looked at again for the next handshake; what was shown so far is the best there is.
            log.error("the certificate to show cannot be read: %s", error)  # noqa: TRY400 - the words say all

    def _load(self) -> None:
        before, self._current = self._current, self._store.credentials(self._clock())
        self._good_until = _good_until(self._current)
        if self._current.self_signed and not before.self_signed:
            log.warning("this agent's certificate has expired: showing a self-signed one until it is renewed")


def _configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    pair = (credentials.key_pem, credentials.certificate_pem)
    return grpc.ssl_server_certificate_configuration([pair], credentials.roots_pem)


def _good_until(credentials: Credentials) -> dt.datetime:
    if not credentials.self_signed:
        return credentials.expires
    shown = x509.load_pem_x509_certificate(credentials.certificate_pem)
    begins, ends = shown.not_valid_before_utc, shown.not_valid_after_utc
    return begins + (ends - begins) / 2
