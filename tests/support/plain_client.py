"""A client over plain HTTP on loopback that keeps what it was given, also where the server dies under it."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway_engine import END

PATH = "/v1/chat/completions"
# What the words of the engines begin with.
WORD = b'"content":"word'
_CALL_ID = re.compile(rb"x-daalu-call-id: ([\w-]+)")
_LENGTH = re.compile(rb"content-length: (\d+)")


def body_of(prompt: str, *, streamed: bool, max_tokens: int = 20) -> dict[str, Any]:
    message = {"role": "user", "content": prompt}
    return {"model": "tiny", "messages": [message], "max_tokens": max_tokens, "stream": streamed}


@dataclass(slots=True)
class Asked:
    """One request, and what its client has seen."""

    body: dict[str, Any]
    key: str
    received: bytearray = field(default_factory=bytearray)
    # The whole request was handed over.
    sent: bool = False
    # The client went away by itself.
    left: bool = False

    @property
    def status(self) -> int | None:
        head, end, _ = self.received.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]) if end else None

    @property
    def call_id(self) -> str | None:
        found = _CALL_ID.search(self.received.partition(b"\r\n\r\n")[0])
        return found[1].decode() if found else None

    @property
    def words(self) -> int:
        return self.received.count(WORD)

    @property
    def saw_end(self) -> bool:
        """The end marker, or the whole of an answer that is not streamed."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        length = _LENGTH.search(head)
        if length is not None:
            return len(body) >= int(length[1])
        return END in body

    def request(self) -> bytes:
        body = json.dumps(self.body).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\nconnection: close\r\n"
        return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, asked: Asked, leave: Callable[[Asked], bool] = lambda _: False) -> None:
    """Returns at the answer's end, when the server is gone, or as soon as `leave` says so."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return
    try:
        writer.write(asked.request())
        await writer.drain()
        asked.sent = True
        while not leave(asked):
            data = await reader.read(65_536)
            if not data:
                return
            asked.received += data
        asked.left = True
    except ConnectionError:
        return
    finally:
        writer.transport.abort()
