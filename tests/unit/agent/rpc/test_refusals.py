"""The one table from errors to gRPC's status codes."""

from pathlib import Path

import grpc
import pytest

from agent.engine import NotInCatalogue
from agent.identity import StateError
from agent.rpc.refusals import BadRequest, status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotInCatalogue(), grpc.StatusCode.NOT_FOUND),
        (BadRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (StateError(Path("f"), "is empty", "Restore it."), grpc.StatusCode.INTERNAL),
        (PermissionError(), grpc.StatusCode.INTERNAL),
        (RuntimeError(), grpc.StatusCode.UNKNOWN),
    ],
)
def test_every_error_has_its_code(error: Exception, code: grpc.StatusCode) -> None:
    assert status_of(error) is code
