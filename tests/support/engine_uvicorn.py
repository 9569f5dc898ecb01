"""The gate in a real HTTP server, in front of an application that streams as vLLM does (through Starlette).

    python tests/support/engine_uvicorn.py PORT

It answers each call with the running usage of one more token every 20 ms, `max_tokens` of them.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from agent.engine.gate import Gate


async def complete(request: Request) -> StreamingResponse:
    tokens = json.loads(await request.body())["max_tokens"]

    async def chunks() -> AsyncIterator[bytes]:
        for count in range(1, tokens + 1):
            usage = {"prompt_tokens": 3, "total_tokens": 3 + count, "completion_tokens": count}
            chunk = {"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage}
            yield b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"
            await asyncio.sleep(0.02)
        yield b"data: [DONE]\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


if __name__ == "__main__":
    behind = Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])
    uvicorn.run(Gate(behind), host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", access_log=False)
