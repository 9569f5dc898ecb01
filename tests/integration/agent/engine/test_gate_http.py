"""The gate behind a real HTTP server: what a path, a header or a framing can be made to look like."""

import asyncio
import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from agent.engine.gate import Gate, Ticket, sign_ticket
from agent.engine.gate.middleware import Message, Receive, Scope, Send
from tests.support.programs import eventually

KEY = bytes(32)
SERVED = b"beyond the gate"
PATH = "/v1/completions"


async def engine(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers whatever comes through."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message: Message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": SERVED})


@pytest.fixture(scope="module", params=["h11", "httptools"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """vLLM's server takes httptools where it is installed, else h11."""
    pytest.importorskip(request.param)
    directory: Path = tmp_path_factory.mktemp("gate")
    (directory / "keys").write_text(json.dumps({"keys": [{"id": 2, "key": KEY.hex()}]}))
    config = {"served_name": "tiny", "max_running_calls": 4, "pool_reserve": 0}
    config |= {name: str(directory / name) for name in ("journal", "draining", "pool_refused")}
    (directory / "config.json").write_text(json.dumps(config | {"ticket_keys": str(directory / "keys")}))
    with pytest.MonkeyPatch.context() as patch, socket.socket() as listening:
        patch.setenv("DAALU_GATE_CONFIG", str(directory / "config.json"))
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        settings = uvicorn.Config(Gate(engine), http=request.param, log_level="error", ws="none")
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            eventually(lambda: server.started, "the server", timeout_s=10)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


def ticket() -> str:
    expires_s = int(time.time()) + 30
    return sign_ticket(Ticket(2, "call", secrets.token_hex(8), "tiny", "own", expires_s), KEY).decode()


def request(path: str = PATH, *headers: str, method: str = "POST", version: str = "1.1") -> str:
    lines = (f"{method} {path} HTTP/{version}", "Host: x", "Content-Length: 2", "Connection: close", *headers)
    return "\r\n".join((*lines, "", "{}"))


def answer(port: int, sent: str) -> bytes:
    """All that comes until the server hangs up."""
    received = b""
    address = ("127.0.0.1", port)
    with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=10) as connection:
        connection.sendall(sent.encode())
        while data := connection.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_ticket_opens_the_path_that_it_is_for(port: int, version: str) -> None:
    assert SERVED in answer(port, request(PATH, f"X-Daalu-Ticket: {ticket()}", version=version))


@pytest.mark.parametrize(
    "path",
    [
        "//v1/completions",
        "/v1//completions",
        "/v1/completions/",
        "/v1/./completions",
        "/v1/../v1/completions",
        "/v1/%2e/completions",
        "/v1/completions;x",
        "/v1/completions%00",
        "/v1/completions%2f..%2f..%2finvocations",
        "/V1/completions",
        "/invocations",
        "/tokenize",
        "/metrics",
        "*",
    ],
)
def test_no_other_spelling_of_a_path_is_served(port: int, path: str) -> None:
    found = answer(port, request(path, f"X-Daalu-Ticket: {ticket()}"))
    assert SERVED not in found
    assert found.startswith(b"HTTP/1.1 40")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "CONNECT", "TRACE"])
def test_no_other_method_is_served(port: int, method: str) -> None:
    assert SERVED not in answer(port, request(PATH, f"X-Daalu-Ticket: {ticket()}", method=method))


@pytest.mark.parametrize(
    "header",
    [
        "X-Daalu-Ticket: {0}\r\nX-Daalu-Ticket: {1}",
        "X-Daalu-Ticket: {0},{1}",
        "X_Daalu_Ticket: {0}",
        "X-Daalu-Ticket : {0}",
        "X-Daalu-Ticket:",
        "X-Filler: {2}",
        "X-Daalu-Ticket: {2}",
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Cookie: x-daalu-ticket={0}",
    ],
)
def test_one_whole_ticket_in_its_own_header_or_none(port: int, header: str) -> None:
    assert SERVED not in answer(port, request(PATH, header.format(ticket(), ticket(), "a" * 60_000)))


def test_a_second_request_on_the_connection_needs_its_own_ticket(port: int) -> None:
    first = request(PATH, f"X-Daalu-Ticket: {ticket()}").replace("Connection: close\r\n", "")
    assert answer(port, first + request()).count(SERVED) == 1


def test_a_request_hidden_in_a_body_is_not_served(port: int) -> None:
    hidden = f"0\r\n\r\nPOST {PATH} HTTP/1.1\r\nHost: x\r\n\r\n"
    both = request(PATH, f"X-Daalu-Ticket: {ticket()}", "Transfer-Encoding: chunked").removesuffix("{}")
    assert answer(port, both + hidden).count(SERVED) <= 1
