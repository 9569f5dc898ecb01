"""A page's stream as an answer: who may look is asked before it begins, and again while it goes on."""

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from control_plane.console.door import Door, NotSignedIn, Refused
from control_plane.console.feed import Feeds, Render, TooManyStreams
from control_plane.console.pages import Page


async def live_answer(
    request: Request, door: Door, feeds: Feeds, page: Page, key: tuple[str, ...], render: Render
) -> Response:
    """`key` as in `Feeds.stream`. Raises NotSignedIn, or Refused where the page is not the viewer's."""
    viewer = await door.viewer(request, page)

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
