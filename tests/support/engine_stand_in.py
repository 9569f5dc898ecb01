"""A program in vLLM's place for tests of what goes on around the engine: the daemon that starts and ends it.

It takes vLLM's command line, listens where that says, behind the gate that the daemon put there, and streams
an answer of `max_tokens` words, one each 20 ms. What it says of itself at /metrics is what vLLM would say.
Real engines are tested in tests/integration/agent/engine/test_real_engine.py and tests/e2e.
"""

import asyncio
import json
import sys
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

BETWEEN_WORDS_S = 0.02
ROOT = Path(__file__).parents[2]
# While the file is there, an engine that starts gets no further.
HOLD = "hold"
_WRAPPER = """#!/bin/sh
while [ -e "{hold}" ]; do sleep 0.1; done
PYTHONPATH="$PYTHONPATH:{root}" exec "{python}" -m tests.support.engine_stand_in "$@"
"""


def stand_in(directory: Path) -> Path:
    """What to give as the engine's Python."""
    path = directory / "stand-in-python"
    path.write_text(_WRAPPER.format(hold=directory / HOLD, root=ROOT, python=sys.executable))
    path.chmod(0o755)
    return path


class StandIn:
    def __init__(self, served_name: str) -> None:
        self._served_name = served_name
        self._running = 0

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
            ]
        )

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(
            f'vllm:num_requests_running{{engine="0"}} {float(self._running)}\n'
            'vllm:num_requests_waiting{engine="0"} 0.0\n'
        )

    async def _complete(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        tokens = asked.get("max_tokens") or asked.get("max_completion_tokens") or 1
        if not asked.get("stream"):
            choice = {"index": 0, "text": "x" * tokens, "finish_reason": "length"}
            return JSONResponse(self._answer([choice], tokens))
        return StreamingResponse(self._stream(tokens), media_type="text/event-stream")

    async def _stream(self, tokens: int) -> AsyncIterator[bytes]:
        self._running += 1
        try:
            for done in range(1, tokens + 1):
                delta = {"role": "assistant", "content": f"word{done} "}
                finish = "length" if done == tokens else None
                choice = {"index": 0, "delta": delta, "finish_reason": finish}
                yield _event(self._answer([choice], done))
                await asyncio.sleep(BETWEEN_WORDS_S)
            yield _event(self._answer([], tokens))
            yield b"data: [DONE]\n\n"
        finally:
            self._running -= 1

    def _answer(self, choices: list[dict[str, object]], tokens: int) -> dict[str, object]:
        usage = {"prompt_tokens": 3, "total_tokens": 3 + tokens, "completion_tokens": tokens}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self._served_name,
            "choices": choices,
            "usage": usage,
        }


def _event(value: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def main() -> None:
    # In this process as in vLLM's: the copy that the daemon put into the state directory.
    from daalu_gate import Gate  # noqa: PLC0415

    options = ArgumentParser()
    options.add_argument("--host", required=True)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--served-model-name", required=True)
    given, _ = options.parse_known_args()
    gate = Gate(StandIn(given.served_model_name).application())
    uvicorn.run(gate, host=given.host, port=given.port, lifespan="off", access_log=False)


if __name__ == "__main__":
    main()
