"""Which paths are surfaces, and what stands where a surface has paths that are not served."""

from collections.abc import Callable
from dataclasses import dataclass

from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.surfaces import messages_answer, messages_request, responses_request
from control_plane.gateway.surfaces.answer import Translate

RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"


@dataclass(frozen=True, slots=True)
class Surface:
    path: str
    translate: Translate
    # An error's status, and its body as chat's clients get it.
    error_body: Callable[[int, bytes], bytes]


SURFACES = {
    RESPONSES: Surface(RESPONSES, responses_request.translate, lambda status, body: body),
    MESSAGES: Surface(MESSAGES, messages_request.translate, messages_answer.error_body),
}

_NOTHING_HERE = {
    RESPONSES: "no response is stored here, so there is none to get, cancel, delete or count",
    MESSAGES: "messages are only created here: no tokens are counted ahead, and there are no batches",
}


def surface_of(path: str) -> Surface | None:
    """The surface that `path` is, or is under."""
    for surface in SURFACES.values():
        if path == surface.path or path.startswith(surface.path + "/"):
            return surface
    return None


def nothing_here(surface: Surface) -> Refusal:
    """For the paths under a surface."""
    return Refusal(Condition.UNKNOWN_PATH, _NOTHING_HERE[surface.path])
