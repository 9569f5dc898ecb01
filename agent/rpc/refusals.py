"""The one table from this program's errors to gRPC's status codes."""

import grpc

from agent.diagnostics import DiagnosticsBusy, DiagnosticsFailed, DiagnosticsRefused
from agent.engine import NotInCatalogue
from agent.identity import StateError


class BadRequest(Exception):
    """The caller broke the protocol; the text says how."""


class CallerSilent(Exception):
    """The caller began a conversation and did not go on."""


class CertificateRefused(Exception):
    """A certificate that this host must not put in use; the text says why."""


TABLE: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (NotInCatalogue, grpc.StatusCode.NOT_FOUND),
    (BadRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (CertificateRefused, grpc.StatusCode.INVALID_ARGUMENT),
    (DiagnosticsBusy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DiagnosticsRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (DiagnosticsFailed, grpc.StatusCode.ABORTED),
    (CallerSilent, grpc.StatusCode.DEADLINE_EXCEEDED),
    # A fault of this host, which no caller can mend.
    (StateError, grpc.StatusCode.INTERNAL),
    (OSError, grpc.StatusCode.INTERNAL),
)
TRANSLATED = tuple(kind for kind, _ in TABLE)


def status_of(error: Exception) -> grpc.StatusCode:
    return next((code for kind, code in TABLE if isinstance(error, kind)), grpc.StatusCode.UNKNOWN)
