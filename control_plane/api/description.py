"""The description of the REST interface (OpenAPI), said as it is: the token, the shape of errors, CSV.

Pure but for reading the application's own routes. A route's docstring is its description; its first sentence
is the summary.
"""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

PREFIX = "/api/v1"
_TOKEN = "operatorToken"  # noqa: S105 - the scheme's name
_ERROR = {"$ref": "#/components/schemas/Error"}
# FastAPI describes an error that it would answer with; errors.py answers with another.
_NOT_OURS = ("HTTPValidationError", "ValidationError")
_INTRODUCTION = """\
The operators' interface: everything that the console and the command line do. Fields and paths are only
added.

Names of fields end in their units. Moments are Unix milliseconds in UTC, days are `YYYY-MM-DD`, months
`YYYY-MM`.\
"""


def operation_id(route: APIRoute) -> str:
    """Of method and path, so that renaming a function changes nothing for generated clients."""
    (method,) = sorted(route.methods or ())
    words = route.path.removeprefix(PREFIX).replace("{", "").replace("}", "").replace("-", "_")
    return method.lower() + words.replace("/", "_")


def describe(application: FastAPI, version: str) -> None:
    """Has `application` describe itself by what is below."""

    def description() -> dict[str, Any]:
        if application.openapi_schema is None:
            found = get_openapi(
                title=application.title,
                version=version,
                description=_INTRODUCTION,
                routes=application.routes,
            )
            application.openapi_schema = corrected(found)
        return application.openapi_schema

    application.openapi = description  # type: ignore[method-assign]


def corrected(found: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description, changed in place."""
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _correct(path, operation)
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _NOT_OURS:
        schemas.pop(name, None)
    for schema in schemas.values():
        if "description" in schema:
            # Docstrings speak Python.
            schema["description"] = re.sub(r"\bNone\b", "null", schema["description"])
    schemas["Error"] = _error_schema()
    components["securitySchemes"] = {
        _TOKEN: {"type": "http", "scheme": "bearer", "description": "The content of `operator-token`."}
    }
    found["security"] = [{_TOKEN: []}]
    return found


def _correct(path: str, operation: dict[str, Any]) -> None:
    operation["tags"] = [path.removeprefix(PREFIX + "/").split("/")[0]]
    summary, _, rest = " ".join(operation.pop("description", "").split()).partition(". ")
    if summary:
        operation["summary"] = summary.removesuffix(".")
    if rest:
        operation["description"] = rest
    responses = operation["responses"]
    responses.pop("422", None)
    responses["default"] = {
        "description": "Refused: the reason in words, and as a code",
        "content": {"application/json": {"schema": _ERROR}},
    }
    if any(parameter["name"] == "form" for parameter in operation.get("parameters", ())):
        responses["200"]["content"]["text/csv"] = {"schema": {"type": "string"}}


def _error_schema() -> dict[str, Any]:
    """What errors.error_body() makes."""
    text = {"type": "string"}
    inner = {"type": "object", "properties": {"code": text, "message": text}, "required": ["code", "message"]}
    return {
        "type": "object",
        "description": "`code` is for programs, `message` for people.",
        "properties": {"error": inner},
        "required": ["error"],
    }
