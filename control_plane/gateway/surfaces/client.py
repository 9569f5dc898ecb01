"""The client of a surface, as the core of a call sees it: it is sent chat answers, and gets the surface's."""

from collections.abc import Callable

import orjson

from control_plane.gateway.errors import Condition, error_body
from control_plane.gateway.metering import END_MARKER
from control_plane.gateway.ports import Client, Headers
from control_plane.gateway.reading import AnswerBroken
from control_plane.gateway.request import CHAT_COMPLETIONS, InferenceRequest, read_body, request_of
from control_plane.gateway.surfaces.answer import Answer
from control_plane.gateway.surfaces.surface import Surface
from control_plane.gateway.vendor_metering import parsed_loosely

_JSON_DATA = b"data:"


class SurfaceClient:
    """A Client of ports.py in front of another one."""

    def __init__(self, client: Client, surface: Surface) -> None:
        self._client = client
        self._surface = surface
        self._answer: Answer | None = None
        # Status and headers of a whole answer: its length is known when it has been translated.
        self._head: tuple[int, Headers] | None = None

    def read(self, raw: bytes) -> InferenceRequest:
        """The chat request that stands for the client's. Raises Refusal with the field at fault."""
        translated = self._surface.translate(read_body(raw))
        self._answer = translated.answer
        body = translated.chat_body
        return request_of(CHAT_COMPLETIONS, body, len(orjson.dumps(body)), self._surface.path)

    @property
    def on_gone(self) -> Callable[[], None] | None:
        return self._client.on_gone

    @on_gone.setter
    def on_gone(self, callback: Callable[[], None] | None) -> None:
        self._client.on_gone = callback

    @property
    def gone(self) -> bool:
        return self._client.gone

    @property
    def started(self) -> bool:
        return self._client.started

    async def start(self, status: int, headers: Headers) -> None:
        if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
            await self._client.start(status, headers)
        else:
            self._head = (status, headers)

    async def send(self, data: bytes) -> None:
        """Raises AnswerBroken too."""
        await self._client.send(b"".join(map(self._event, data.split(b"\n\n"))))

    def send_now(self, data: bytes) -> bool:
        """Never: what could not be sent at once would be translated a second time by send()."""
        return False

    async def end(self, data: bytes = b"") -> None:
        if self._head is not None:
            await self._end_whole(*self._head, data)
        elif data == END_MARKER:
            await self._client.end(self._answering.end())
        else:
            # The gateway's own event, or an engine's that was read before.
            error = (parsed_loosely(data.removeprefix(_JSON_DATA)) or {}).get("error")
            told = error if isinstance(error, dict) else {"message": "the answer broke off"}
            await self._client.end(self._answering.error(told))

    async def _end_whole(self, status: int, headers: Headers, data: bytes) -> None:
        if status < 400:
            value = parsed_loosely(data)
            if value is None:
                status = Condition.ENGINE_FAILED.value.status
                data = error_body(Condition.ENGINE_FAILED, "the answer that came is no JSON object")
            else:
                try:
                    data = self._answering.whole(value)
                except AnswerBroken as broken:
                    status = Condition.ENGINE_FAILED.value.status
                    data = error_body(Condition.ENGINE_FAILED, str(broken))
        if status >= 400:
            data = self._surface.error_body(status, data)
        length = (b"content-length", b"%d" % len(data))
        others = [header for header in headers if header[0] != b"content-length"]
        await self._client.start(status, (*others, length))
        await self._client.end(data)

    @property
    def _answering(self) -> Answer:
        if self._answer is None:
            raise RuntimeError("there is no answer before the request was read")
        return self._answer

    def _event(self, event: bytes) -> bytes:
        if not event:
            return b""
        if event.startswith(b":"):
            return event + b"\n\n"
        value = parsed_loosely(event.removeprefix(_JSON_DATA))
        if value is None:
            raise AnswerBroken("an event of the stream is no JSON object")
        return self._answering.chunk(value)
