"""What a request under /api/ may bring, decided before any of it is parsed: the token, and a small body."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from control_plane.access import OperatorToken
from control_plane.api.errors import error_body

MAX_BODY_BYTES = 65_536
BODY_TIMEOUT_S = 10.0
_GUARDED = "/api/"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Intake:
    """An ASGI application in front of another, whose other paths look after themselves."""

    def __init__(self, inner: Application, token: OperatorToken) -> None:
        self._inner = inner
        self._token = token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self._inner(scope, receive, send)
            return
        try:
            self._authorize(scope)
            body = await _read(receive)
        except _Refused as refusal:
            await _answer(send, refusal)
            return
        if body is not None:
            await self._inner(scope, _replay(body, receive), send)

    def _authorize(self, scope: Message) -> None:
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(presented) != 1:
            raise _Refused(401, "unauthorized", "present the operator's token: Authorization: Bearer …")
        kind, _, token = presented[0].decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not self._token.matches(token.strip()):
            raise _Refused(401, "unauthorized", "this is not the operator's token")


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None: the client went away."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise _Refused(413, "too_large", f"a request here has at most {MAX_BODY_BYTES} bytes")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _Refused(408, "timeout", f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _answer(send: Send, refusal: _Refused) -> None:
    body = json.dumps(error_body(refusal.code, str(refusal))).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What is left of the request is not read.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
