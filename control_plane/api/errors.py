"""Errors of the REST interface: one table from conditions to HTTP, and one shape."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException

from control_plane.access import Duplicate, Invalid, Unknown
from control_plane.fleet import NotConnected
from control_plane.store import WriterClosed, WriterOverloaded

logger = logging.getLogger(__name__)

_BY_STATUS = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}
_MAX_PROBLEMS = 5


def error_body(code: str, message: str) -> dict[str, dict[str, str]]:
    return {"error": {"code": code, "message": message}}


def translate_errors(application: FastAPI) -> None:
    """Installs the table. Whatever is not in it is a 500 that says nothing of the inside."""
    table: dict[type[Exception], tuple[int, str]] = {
        Unknown: (404, "not_found"),
        Duplicate: (409, "duplicate"),
        Invalid: (422, "invalid"),
        NotConnected: (409, "not_connected"),
        WriterOverloaded: (503, "overloaded"),
        WriterClosed: (503, "stopping"),
    }
    for condition, (status, code) in table.items():
        application.add_exception_handler(condition, _answering(status, code))
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(RequestValidationError, _validation)
    application.add_exception_handler(IntegrityError, _conflict)
    application.add_exception_handler(SQLAlchemyError, _database)
    application.add_exception_handler(Exception, _unforeseen)


def _answering(status: int, code: str) -> Any:
    async def answer(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(code, str(error)), status)

    return answer


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler's type is wider than its use
    code = _BY_STATUS.get(error.status_code, "refused")
    return JSONResponse(error_body(code, error.detail), error.status_code, error.headers)


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    # Where and what, never the value: it may be a secret in the wrong field.
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()[:_MAX_PROBLEMS]
    ]
    return JSONResponse(error_body("invalid", "; ".join(problems)), 422)


async def _conflict(_request: Request, error: Exception) -> JSONResponse:
    # Two requests for one name at the same moment: the look before the insert saw neither.
    logger.info("conflict: %s", type(error).__name__)
    return JSONResponse(error_body("duplicate", "this exists already"), 409)


async def _database(_request: Request, error: Exception) -> JSONResponse:
    logger.error("the database refused", exc_info=error)
    return JSONResponse(error_body("database", "the database refused; see the control plane's log"), 503)


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    # Logged by the server, which sees the exception again.
    return JSONResponse(error_body("internal", "an error inside; see the control plane's log"), 500)
