"""ASGI middleware for the engine of tests: writes down what it is sent and what it sends.

Standard library only. Goes in front of the gate, so that it sees exactly what crosses the tunnel. The file
that DAALU_TEST_RECORD names gets one line of JSON for each call: path, request headers, both bodies as text.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]


class Recorder:
    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._record = Path(os.environ["DAALU_TEST_RECORD"])

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request, response = bytearray(), bytearray()

        async def receive_and_note() -> Message:
            message = await receive()
            request.extend(message.get("body", b""))
            return message

        async def send_and_note(message: Message) -> None:
            response.extend(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_and_note)
        finally:
            headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
            line = {"path": scope["path"], "headers": headers}
            line |= {"request": request.decode(), "response": response.decode()}
            with self._record.open("a") as file:
                file.write(json.dumps(line) + "\n")
