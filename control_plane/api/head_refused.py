"""A request that was refused before anybody heard of it."""

import json
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import STATUS_LINE


@dataclass(frozen=True, slots=True)
class HeadRefused:
    """In the shape that OpenAI's clients read."""

    status: int
    code: str
    message: str

    def answer(self) -> bytes:
        """All of it, after which the connection ends."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        body = json.dumps({"error": error}).encode()
        head = (
            b"content-type: application/json\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n"
        )
        return STATUS_LINE[self.status] + head + body
