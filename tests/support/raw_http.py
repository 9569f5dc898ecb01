"""An HTTP/1.1 connection in raw bytes: requests as they are written, answers parsed one by one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.gateway import KEY

WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of an error in OpenAI's shape."""
        return str(json.loads(self.body)["error"]["code"])


def call(body: Any, *lines: str, method: str = "POST", path: str = "/v1/chat/completions") -> bytes:
    """A request with the general key, and further header lines."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {KEY}", *lines]
    return "\r\n".join([*head, f"content-length: {len(content)}", "", ""]).encode() + content


class RawHttp:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *requests: bytes) -> None:
        """In one write."""
        self.writer.write(b"".join(requests))

    async def reply(self, *, has_body: bool = True) -> Reply:
        """The next answer, `has_body` unless it is one to HEAD."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self._body(headers) if has_body else b""
        return Reply(int(first.split(" ")[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the other side closed with nothing more to say."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    def vanish(self) -> None:
        self.writer.transport.abort()

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return await self.reader.readexactly(int(headers["content-length"]))
        whole = b""
        while size := int(await self.reader.readline(), 16):
            whole += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return whole


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RawHttp]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawHttp(reader, writer)
    finally:
        writer.close()
