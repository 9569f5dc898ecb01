"""An engine that does as it is told: a raw HTTP server that can split, stall, break off and lie.

It stands in for vLLM where vLLM cannot be made to misbehave; its well-behaved answers have the shape of
vLLM's, and the tests end to end run the same calls against a real one.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

PROMPT_TOKENS = 11


def chunk(
    content: str | None = None,
    *,
    index: int = 0,
    done: int = 0,
    finish: str | None = None,
    usage: bool = True,
    **delta: Any,
) -> bytes:
    """One event as vLLM's chat stream has it; `done` is the choice's running count of tokens."""
    choice: dict[str, Any] = {"index": index, "delta": dict(delta)}
    if content is not None:
        choice["delta"]["content"] = content
    choice |= {"logprobs": None, "finish_reason": finish}
    value: dict[str, Any] = {
        "id": "chatcmpl-x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny",
        "choices": [choice],
    }
    if usage:
        value["usage"] = _usage(done)
    return event(value)


def last_chunk(completion: int) -> bytes:
    """The chunk with no choices that closes a stream whose usage was asked for."""
    value = {
        "id": "chatcmpl-x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny",
        "choices": [],
    }
    return event(value | {"usage": _usage(completion)})


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


END = b"data: [DONE]\n\n"


def stream_of(*words: str) -> list[bytes]:
    """A whole stream of one choice, one word an event."""
    events = [chunk("", role="assistant")]
    events += [chunk(word, done=number) for number, word in enumerate(words, 1)]
    events.append(chunk("", done=len(words) + 1, finish="stop"))
    return [*events, last_chunk(len(words) + 1), END]


def answer(content: str, completion: int = 5) -> dict[str, Any]:
    return {
        "id": "chatcmpl-x",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        ],
        "usage": _usage(completion),
    }


def _usage(completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "total_tokens": PROMPT_TOKENS + completion,
        "completion_tokens": completion,
    }


@dataclass
class Exchange:
    """One request, and the means to answer it badly or well."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    hung_up: asyncio.Event
    keep_open: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def start_stream(self) -> None:
        await self.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    async def piece(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def stream(self, events: Sequence[bytes]) -> None:
        await self.start_stream()
        for one in events:
            await self.piece(one)
        await self.end_stream()

    async def send_json(self, value: object, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        await self.raw(head.encode() + body)

    def break_off(self) -> None:
        """As a killed process does: no end, no farewell."""
        self.keep_open = False
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


async def well_behaved(exchange: Exchange) -> None:
    if exchange.json.get("stream"):
        await exchange.stream(stream_of("Hello", " wörld", " 🌍"))
    else:
        await exchange.send_json(answer("Hello"))


@dataclass
class ScriptedEngine:
    """Answers each request with the next script, and as it does `otherwise` once they are used up."""

    scripts: list[Script] = field(default_factory=list)
    otherwise: Script = well_behaved
    received: list[Exchange] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(self, count: int) -> Exchange:
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= count)
        return self.received[count - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (exchange := await _read(reader, writer)) is not None:
                async with self.arrived:
                    self.received.append(exchange)
                    self.arrived.notify_all()
                script = self.scripts.pop(0) if self.scripts else self.otherwise
                watching = asyncio.create_task(_watch(reader, exchange))
                try:
                    await script(exchange)
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])
                if not exchange.keep_open or exchange.hung_up.is_set():
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _watch(reader: asyncio.StreamReader, exchange: Exchange) -> None:
    # The gateway sends nothing while it waits for an answer: the end of input is a hang-up.
    try:
        if not await reader.read(1):
            exchange.hung_up.set()
    except ConnectionError:
        exchange.hung_up.set()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Exchange(method, path, headers, body, writer, asyncio.Event())


@asynccontextmanager
async def scripted_engine(
    *scripts: Script,
    otherwise: Script = well_behaved,
    listen: tuple[str, int] = ("127.0.0.1", 0),
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ScriptedEngine]:
    engine = ScriptedEngine(list(scripts), otherwise)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(engine._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, *listen, limit=32 * 1024 * 1024, ssl=tls)
    engine.port = server.sockets[0].getsockname()[1]
    try:
        yield engine
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
