"""Asks an engine for its metrics over the tunnel, with a ticket made as docs/architecture.md says.

Written from that page alone, so that the product's own tickets have something to be compared with.
"""

import base64
import hmac
import http.client
import json
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.support.netlab import Host

TICKET_LIFE_S = 30
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class EngineProbe:
    """From the control plane's host, as its tier `probe`."""

    control: Host
    ticket_secret: Path
    agent_id: str
    address: str
    port: int
    served_name: str
    generation: int = 1

    def running_calls(self) -> int:
        return int(self._metric("vllm:num_requests_running"))

    def generated_tokens(self) -> int:
        return int(self._metric("vllm:generation_tokens_total"))

    def get(self, path: str, ticket: str | None) -> tuple[int, bytes]:
        headers = {} if ticket is None else {"x-daalu-ticket": ticket}
        connection = http.client.HTTPConnection(self.address, self.port, timeout=TIMEOUT_S)
        try:
            with self.control.entered():
                connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ticket(self, *, tier: str = "probe") -> str:
        claims = {
            "v": 1,
            "k": self.generation,
            "c": f"call-{secrets.token_hex(13)}",
            "a": f"att-{secrets.token_hex(13)}",
            "m": self.served_name,
            "t": tier,
            "e": int(time.time()) + TICKET_LIFE_S,
        }
        key = HKDF(
            SHA256(), 32, salt=self.agent_id.encode(), info=f"daalu-ticket-{self.generation}".encode()
        ).derive(self.ticket_secret.read_bytes())
        text = _base64(json.dumps(claims).encode())
        return f"{text}.{_base64(hmac.digest(key, text.encode('ascii'), 'sha256'))}"

    def _metric(self, name: str) -> float:
        status, body = self.get("/metrics", self.ticket())
        assert status == 200, f"the engine's metrics: {status} {body!r}"
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", body.decode(), re.MULTILINE)
        assert values, f"{name} is not among the engine's metrics"
        return sum(float(value) for value in values)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
