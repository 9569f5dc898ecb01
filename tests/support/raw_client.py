"""A client that sends exactly the bytes it is told to, and gives back those that came."""

import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.support.netlab import Host

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    duration_s: float

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class RawClient:
    """Connects anew for each request, from `host`, over TLS."""

    host: Host
    address: str
    port: int
    tls: ssl.SSLContext
    key: str | None

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        began = time.monotonic()
        connection = self._connected()
        try:
            connection.request(method, path, body or None, self._headers(headers))
            response = connection.getresponse()
            content = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, content, time.monotonic() - began)
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """Bytes as they are; what came back until the server closed, or nothing more came."""
        connection = self._connected()
        received = bytearray()
        try:
            connection.sock.settimeout(5)
            # A server may answer and close while the client still sends: what it said counts.
            with suppress(TimeoutError, ConnectionError, ssl.SSLError):
                connection.sock.sendall(data)
            with suppress(TimeoutError, ConnectionError, ssl.SSLError):
                while chunk := connection.sock.recv(65536):
                    received += chunk
            return bytes(received)
        finally:
            connection.close()

    @contextmanager
    def stream(self, path: str, body: object) -> Iterator["Stream"]:
        """An answer that is read as it comes. Leaving the block hangs up."""
        connection = self._connected()
        try:
            connection.request("POST", path, json.dumps(body).encode(), self._headers(None))
            response = connection.getresponse()
            yield Stream(response)
        finally:
            connection.close()

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        own = {"Content-Type": "application/json"}
        if self.key is not None:
            own["Authorization"] = f"Bearer {self.key}"
        return {**own, **(headers or {})}

    def _connected(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self.address, self.port, timeout=TIMEOUT_S, context=self.tls)
        with self.host.entered():
            connection.connect()
        return connection


class Stream:
    """Server-sent events of one response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.call_id = response.getheader("x-daalu-call-id")
        self._response = response

    def events(self) -> Iterator[str]:
        """The data of each event, until the stream ends; comments are left out."""
        while line := self._response.readline():
            if line.startswith(b"data: "):
                yield line[6:].strip().decode()

    def contents(self, count: int) -> list[Any]:
        """The next `count` events that carry text, parsed."""
        found: list[Any] = []
        for data in self.events():
            if data == "[DONE]":
                break
            event = json.loads(data)
            if any(choice.get("delta", {}).get("content") for choice in event.get("choices", [])):
                found.append(event)
                if len(found) == count:
                    return found
        raise AssertionError(f"the stream ended after {len(found)} of {count} events with text")

    def rest(self) -> bytes:
        """Everything that is still to come."""
        return self._response.read()
