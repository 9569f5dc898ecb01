"""Answers that go on: a page's feed as its viewer's stream, for as long as the viewer may look."""

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from control_plane.console.door import Door, NotSignedIn, Refused
from control_plane.console.feed import Feeds, Render, TooManyStreams
from control_plane.console.pages import Page
from control_plane.console.viewer import Viewer


def live_answer(
    feeds: Feeds,
    door: Door,
    request: Request,
    viewer: Viewer,
    page: Page,
    key: tuple[str, ...],
    render: Render,
) -> Response:
    """`key` names page and tenant: who shares it, shares what is rendered."""

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
