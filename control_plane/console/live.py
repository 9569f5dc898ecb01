"""A page's stream as an answer: who may look is asked again while it goes on."""

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from control_plane.console.door import Door, NotSignedIn, Refused
from control_plane.console.feed import Feeds, Render, TooManyStreams
from control_plane.console.pages import Page
from control_plane.console.viewer import Viewer


def live_answer(
    request: Request,
    viewer: Viewer,
    door: Door,
    feeds: Feeds,
    page: Page,
    key: tuple[str, ...],
    render: Render,
) -> Response:
    """`viewer`: as the door let them in to this page. `key` as in `Feeds.stream`."""

    async def is_good() -> bool:
        try:
            return (await door.viewer(request, page)).tenant_id == viewer.tenant_id
        except (NotSignedIn, Refused):
            return False

    try:
        feeds.admit(viewer.actor)
    except TooManyStreams:
        return Response(status_code=429)
    stream = feeds.stream(key, viewer.actor, render, is_good)
    return StreamingResponse(stream, media_type="text/event-stream")
