"""The description of the REST interface."""

import ast
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI, Query

import control_plane.api
from control_plane.api.csv_table import Form
from control_plane.api.description import describe, operation_id
from control_plane.api.schemas import Response

ROOM = Path(str(control_plane.api.__file__)).parent


class Thing(Response):
    """`size` None: not known. Nonesuch stays."""

    size: int | None


def _described() -> FastAPI:
    routes = APIRouter()

    @routes.get("/things", response_model=list[Thing])
    async def told(form: Form = Form.JSON, limit: Annotated[int, Query(ge=1)] = 1) -> list[Thing]:
        """What there is. The newest first.

        At most 31 days.
        """
        raise NotImplementedError

    @routes.post("/things/{thing}/take-back")
    async def undescribed(thing: str) -> Thing:
        raise NotImplementedError

    application = FastAPI(generate_unique_id_function=operation_id)
    application.include_router(routes, prefix="/api/v1")
    describe(application, "1.2.3")
    return application


def test_a_docstrings_first_sentence_is_the_summary_and_the_rest_the_description() -> None:
    operation = _described().openapi()["paths"]["/api/v1/things"]["get"]
    assert operation["summary"] == "What there is"
    assert operation["description"] == "The newest first. At most 31 days."
    assert operation["tags"] == ["things"]


def test_an_operations_name_is_of_its_path_and_not_of_a_function() -> None:
    paths = _described().openapi()["paths"]
    assert paths["/api/v1/things"]["get"]["operationId"] == "get_things"
    assert paths["/api/v1/things/{thing}/take-back"]["post"]["operationId"] == "post_things_thing_take_back"


def test_the_token_and_the_shape_of_errors_are_told() -> None:
    found = _described().openapi()
    assert found["info"]["version"] == "1.2.3"
    assert found["security"] == [{"operatorToken": []}]
    assert found["components"]["securitySchemes"]["operatorToken"]["scheme"] == "bearer"
    schemas = found["components"]["schemas"]
    assert {"Error", "Thing"} <= schemas.keys()
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()
    for operations in found["paths"].values():
        for operation in operations.values():
            assert sorted(operation["responses"]) == ["200", "default"]
            refused = operation["responses"]["default"]["content"]["application/json"]
            assert refused == {"schema": {"$ref": "#/components/schemas/Error"}}


def test_tables_are_told_to_be_csv_as_well() -> None:
    paths = _described().openapi()["paths"]
    assert list(paths["/api/v1/things"]["get"]["responses"]["200"]["content"]) == [
        "application/json",
        "text/csv",
    ]
    other = paths["/api/v1/things/{thing}/take-back"]["post"]
    assert list(other["responses"]["200"]["content"]) == ["application/json"]


def test_shapes_speak_json() -> None:
    thing = _described().openapi()["components"]["schemas"]["Thing"]
    assert thing["description"] == "`size` null: not known. Nonesuch stays."


def test_it_is_made_once_and_no_second_time() -> None:
    application = _described()
    assert application.openapi() is application.openapi()


def _routes(file: Path) -> list[ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.AsyncFunctionDef)
        and any(ast.unparse(each).startswith("routes.") for each in node.decorator_list)
    ]


@pytest.mark.parametrize("file", sorted(ROOM.glob("*.py")), ids=lambda file: file.name)
def test_every_route_says_in_a_docstring_what_it_does(file: Path) -> None:
    silent = [route.name for route in _routes(file) if not ast.get_docstring(route)]
    assert silent == [], "its first sentence is what the API's documentation says of it"


def test_routes_are_found() -> None:
    assert sum(len(_routes(file)) for file in ROOM.glob("*.py")) > 60
