"""The page "Try it": a chat that goes the way of any other call of its tenant. What is said stays in it."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from control_plane.access import Principal, page_principal
from control_plane.api import find_call
from control_plane.catalogue import AUTO
from control_plane.console.door import Door, Refused
from control_plane.console.page_client import PageClient
from control_plane.console.pages import TRY_IT
from control_plane.console.rendering import Rendering
from control_plane.gateway import Client
from control_plane.identifiers import TenantId
from control_plane.store.tables import CallOutcome, Purpose

if TYPE_CHECKING:
    import asyncio

    from control_plane.console.console import ConsoleParts

# A conversation, escaped for a form.
MOST_FORM_BYTES = 256 * 1024
MOST_MESSAGES = 100
MOST_ERROR_CHARACTERS = 2_000


class Conversing(Protocol):
    """What the page needs of the gateway."""

    def converse(
        self, principal: Principal, declared: Purpose, raw: bytes, client: Client
    ) -> "asyncio.Task[None]": ...

    def models_of(self, tenant_id: TenantId) -> dict[str, int]: ...


def try_it_routes(parts: "ConsoleParts", door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()
    store = parts.store

    @routes.get(TRY_IT.path)
    async def page(request: Request) -> Response:
        viewer = await door.viewer(request, TRY_IT)
        models = sorted(parts.conversing.models_of(viewer.tenant_id))
        return rendering.page(viewer, TRY_IT, "try/page.html", models=models, auto=AUTO)

    @routes.post(TRY_IT.path)
    async def ask(request: Request) -> Response:
        """The answer as it comes, in OpenAI's events, between two kinds of our own: `call`, with its id, and
        `refused`, with the reason in words."""
        # A member may use what the tenant has, as with a key.
        viewer, form = await door.change(request, TRY_IT, admins_only=False, most_bytes=MOST_FORM_BYTES)
        purpose, body = (
            _purpose(form.get("purpose", "")),
            _body(form.get("model", ""), form.get("messages", "")),
        )
        principal = await store.write(lambda session: page_principal(session, viewer.actor))
        client = PageClient()
        answer = parts.conversing.converse(principal, purpose, body, client)
        answer.add_done_callback(lambda _: client.close())
        return StreamingResponse(_events(client), media_type="text/event-stream")

    @routes.get("/console/try/calls/{call_id}")
    async def figures(request: Request, call_id: str) -> Response:
        """Where a call was served and what it took: a piece of the page. 202 until it is settled."""
        viewer = await door.viewer(request, TRY_IT)
        row, _ = await store.read(lambda session: find_call(session, call_id, tenant_id=viewer.tenant_id))
        if row.call.outcome == CallOutcome.RUNNING:
            return Response(status_code=202)
        return HTMLResponse(rendering.part("try/figures.html", row=row))

    return routes


async def _events(client: PageClient) -> AsyncIterator[bytes]:
    told, refusal = False, bytearray()
    try:
        async for piece in client.pieces():
            if not told and client.call_id is not None:
                told = True
                yield _event("call", client.call_id)
            if client.status == 200:
                if piece:
                    yield piece
            else:
                refusal += piece
        if client.status != 200:
            yield _event("refused", _words(bytes(refusal)))
    finally:
        client.lost()


def _event(name: str, value: str) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


def _words(refusal: bytes) -> str:
    """Of a refusal's body: the gateway's own, or an engine's."""
    try:
        error = json.loads(refusal)["error"]
        return str(error["message"])[:MOST_ERROR_CHARACTERS]
    except (ValueError, KeyError, TypeError):
        return "The call failed, and what failed did not say why."


def _purpose(text: str) -> Purpose:
    """Raises Refused."""
    try:
        return Purpose(text)
    except ValueError:
        raise Refused(422, f"A purpose is one of {', '.join(Purpose)}.") from None


def _body(model: str, messages: str) -> bytes:
    """A request of the fields that this page has, and no other. Raises Refused."""
    try:
        said = json.loads(messages)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, list) or not 0 < len(said) <= MOST_MESSAGES or not all(map(_is_message, said)):
        raise Refused(
            422, f"A conversation is a list of 1 to {MOST_MESSAGES} messages with role and content."
        )
    if not model:
        raise Refused(422, "Choose a model.")
    return json.dumps({"model": model, "messages": said, "stream": True}).encode()


def _is_message(each: object) -> bool:
    return (
        isinstance(each, dict)
        and each.keys() == {"role", "content"}
        and each["role"] in ("user", "assistant")
        and isinstance(each["content"], str)
    )
