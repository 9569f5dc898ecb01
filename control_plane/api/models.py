"""REST: the catalogue."""

from collections.abc import Iterable

from daalu_wire.v1 import catalogue_pb2
from fastapi import APIRouter

from control_plane.api.schemas import ModelResponse
from control_plane.catalogue import Entry


def model_routes(catalogue: Iterable[Entry]) -> APIRouter:
    routes = APIRouter()

    @routes.get("/models")
    async def models() -> list[ModelResponse]:
        """The catalogue."""
        return [_response(entry) for entry in catalogue]

    return routes


def _response(entry: Entry) -> ModelResponse:
    model = entry.model
    return ModelResponse(
        id=model.model_id,
        served_name=model.served_name,
        description=model.description,
        kind=catalogue_pb2.ModelKind.Name(model.kind).removeprefix("MODEL_KIND_").lower(),
        licence=model.licence,
        parameters_count=model.parameters_count,
        context_tokens=model.context_tokens,
        max_running_calls=model.max_running_calls,
        digest=entry.digest,
    )
