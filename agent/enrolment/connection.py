"""One HTTPS exchange with the control plane, trusted by its key, which the invite named."""

import datetime as dt
import hashlib
import http.client
import socket
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.enrolment.invite import ControlPlane

CLAIM_PATH = "/enrolment/v1/claim"
LEAVE_PATH = "/enrolment/v1/leave"
# Two certificates, two roots and a few addresses are under 16 KiB.
ANSWER_LIMIT_BYTES = 256 * 1024


class EnrolmentError(Exception):
    """Enrolment did not take place; the text is one line that says why and what to do."""


class Unreachable(EnrolmentError):
    """No answer, or one that says to come back (5xx): worth another try."""


class WrongKey(EnrolmentError):
    """Who answered does not hold the key that the invite names. Nothing was sent."""


class Refused(EnrolmentError):
    """The control plane said no. `code` is EnrolmentRefusal's, or empty where it gave none."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    # How far this host's clock is ahead of the control plane's; None: its answer had no date.
    clock_ahead: dt.timedelta | None


def post(there: ControlPlane, path: str, body: bytes, timeout_s: float) -> Answer:
    """Sends `body` to `path`. `timeout_s` bounds each wait. Raises Unreachable, WrongKey."""
    where = there.url
    connection = _PinnedConnection(there, timeout_s)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            content = response.read(ANSWER_LIMIT_BYTES + 1)
            date = response.getheader("Date")
    except socket.gaierror as error:
        raise Unreachable(
            f"{there.host} cannot be resolved ({error.strerror}): check this host's DNS"
        ) from error
    except ConnectionRefusedError as error:
        raise Unreachable(f"{where} refuses connections: is the control plane running there?") from error
    except TimeoutError as error:
        raise Unreachable(
            f"{where} does not answer: does a firewall stop outbound TCP {there.port}?"
        ) from error
    except ssl.SSLError as error:
        raise Unreachable(
            f"{where} does not speak TLS as expected ({error.reason or error}): is a proxy in between?"
        ) from error
    except http.client.HTTPException as error:
        raise Unreachable(f"{where} broke off its answer ({type(error).__name__})") from error
    except OSError as error:
        raise Unreachable(f"{where} cannot be reached ({error.strerror or error})") from error
    finally:
        connection.close()
    if len(content) > ANSWER_LIMIT_BYTES:
        raise Refused(
            "", f"{where} answered with more than {ANSWER_LIMIT_BYTES} bytes: is it a control plane?"
        )
    if response.status >= 500:
        raise Unreachable(f"{where} has a fault of its own (HTTP {response.status}): see its log")
    return Answer(response.status, content, _clock_ahead(date, dt.datetime.now(dt.UTC)))


class _PinnedConnection(http.client.HTTPConnection):
    """TLS whose peer is known by its public key alone, checked before a byte of the request is sent."""

    def __init__(self, there: ControlPlane, timeout_s: float) -> None:
        super().__init__(there.host, there.port, timeout=timeout_s)
        self._there = there
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The pinned key proves more than a certificate's name and dates would.
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._there.host)
        certificate = self.sock.getpeercert(binary_form=True)
        if certificate is None or key_sha256(certificate) != self._there.key_sha256:
            self.close()
            raise WrongKey(
                f"the server at {self._there.url} has another key than the invite names; "
                "nothing was sent. Either something stands in between, or the control plane was set up anew: "
                "ask for a new invite"
            )


def key_sha256(certificate_der: bytes) -> bytes:
    """SHA-256 of a certificate's SubjectPublicKeyInfo."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _clock_ahead(date: str | None, now: dt.datetime) -> dt.timedelta | None:
    if date is None:
        return None
    try:
        there = parsedate_to_datetime(date)
    except ValueError:
        return None
    return now - (there if there.tzinfo else there.replace(tzinfo=dt.UTC))
