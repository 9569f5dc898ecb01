"""Drives the gate as an ASGI server does, with tickets of a key of its own."""

import asyncio
import base64
import hmac
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.engine.gate import Gate

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]

SERVED_NAME = "tiny-random"
KEY_ID = 1
KEY = bytes(range(32))
LOCAL_KEY = bytes(range(32, 64))

_numbers = itertools.count(1)


def write_gate_config(directory: Path, *, running_max: int = 16, pool_reserve: int = 0) -> dict[str, str]:
    """The gate's files under the directory; the environment that leads it there."""
    keys = [{"id": 0, "key": LOCAL_KEY.hex()}, {"id": KEY_ID, "key": KEY.hex()}]
    (directory / "ticket-keys.json").write_text(json.dumps({"keys": keys}))
    config = {
        "served_name": SERVED_NAME,
        "journal": str(directory / "journal"),
        "ticket_keys": str(directory / "ticket-keys.json"),
        "draining": str(directory / "draining"),
        "pool_refused": str(directory / "pool-refused"),
        "max_running_calls": running_max,
        "pool_reserve": pool_reserve,
    }
    (directory / "config.json").write_text(json.dumps(config))
    return {"DAALU_GATE_CONFIG": str(directory / "config.json")}


def new_attempt() -> str:
    return f"att-{next(_numbers)}"


def ticket(attempt: str | None = None, *, key: bytes = KEY, **claims: object) -> bytes:
    """A ticket as docs/architecture.md says, made without the gate's own code, which it judges."""
    claims = {
        "v": 1,
        "k": KEY_ID,
        "c": "call-1",
        "a": attempt or new_attempt(),
        "m": SERVED_NAME,
        "t": "own",
        "e": int(time.time()) + 30,
    } | claims
    encoded = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    mac = base64.urlsafe_b64encode(hmac.digest(key, encoded, "sha256")).rstrip(b"=")
    return encoded + b"." + mac


@dataclass
class Answered:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> object:
        return json.loads(self.body)["error"]["code"]


def scope_of(header: bytes | None, path: str, method: str = "POST") -> Message:
    headers = [(b"host", b"engine")] + ([(b"x-daalu-ticket", header)] if header is not None else [])
    return {"type": "http", "method": method, "path": path, "headers": headers, "client": ("10.0.0.9", 5)}


async def ask(
    gate: Gate, header: bytes | None, path: str = "/v1/chat/completions", method: str = "POST"
) -> Answered:
    """One request to its end; the client stays until then."""
    answered = Answered()
    stays = asyncio.Event()

    async def receive() -> Message:
        if not stays.is_set():
            stays.set()
            return {"type": "http.request", "body": b"{}", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = dict(message["headers"])
        else:
            answered.body += message.get("body", b"")

    await gate(scope_of(header, path, method), receive, send)
    return answered


def answering(chunks: Iterable[bytes], *, status: int = 200, kind: bytes = b"text/event-stream") -> App:
    """An application that gives this answer, in these chunks."""

    async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def event(index: int | None, completion: int, prompt: int = 19) -> bytes:
    """A chunk as vLLM 0.32 writes it, with its running usage; index None is the closing one."""
    chunk = {
        "id": "chatcmpl-1",
        "choices": [] if index is None else [{"index": index, "delta": {"content": "hi"}}],
        "usage": {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
        },
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def records(directory: Path) -> list[dict[str, Any]]:
    """Everything in the journal, in order."""
    segments = sorted((directory / "journal").glob("*.jsonl"))
    return [json.loads(line) for segment in segments for line in segment.read_bytes().splitlines()]


def receipts(directory: Path) -> list[dict[str, Any]]:
    return [record for record in records(directory) if record["kind"] == "receipt"]
