"""Raw clients of a gateway under test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.support.gateway import KEY, Front
from tests.support.gateway_engine import chunk

ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**ASK, "stream": True}
HEADERS = {"authorization": f"Bearer {KEY}"}
ROLE = chunk("", role="assistant")


def path(front: Front) -> str:
    return f"{front.url}/v1/chat/completions"


@asynccontextmanager
async def streaming(front: Front) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[bytes]]]:
    async with (
        httpx2.AsyncClient(headers=HEADERS, timeout=20) as http,
        http.stream("POST", path(front), json=STREAM) as reply,
    ):
        yield reply, reply.aiter_raw()


async def post(front: Front, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient(headers=HEADERS, timeout=20) as http:
        return await http.post(path(front), json=body)


async def until(parts: AsyncIterator[bytes], wanted: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(5):
        while wanted not in seen:
            seen += await anext(parts)
    return seen
