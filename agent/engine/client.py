"""What the daemon asks of its own engine: a probe token, and its figures. Through the gate, like anybody."""

import asyncio
import contextlib
import http.client
import json
import re
import secrets
import time
from dataclasses import dataclass

from daalu_wire.v1 import catalogue_pb2

from agent.engine.gate import LOCAL_KEY_ID, Ticket, sign_ticket

ANSWER_BYTES_MAX = 4 << 20
_METRIC = re.compile(r"^vllm:(\w+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)


class EngineSilent(Exception):
    """The engine gave no usable answer; the text says what came instead."""


@dataclass(frozen=True, slots=True)
class Figures:
    running_calls: int
    waiting_calls: int
    kv_cache_percent: float | None


class EngineClient:
    """Short requests with the daemon's own key, each on its own connection, in a thread."""

    def __init__(self, address: str, port: int, local_key: bytes, served_name: str) -> None:
        self._address, self._port = address, port
        self._key = local_key
        self._served_name = served_name

    async def healthy(self, timeout_s: float = 2) -> bool:
        try:
            await self._ask("GET", "/health", None, timeout_s)
        except EngineSilent:
            return False
        return True

    async def probe(self, kind: catalogue_pb2.ModelKind.ValueType, timeout_s: float = 60) -> float:
        """One real token (or one vector); the seconds that it took. Raises EngineSilent."""
        began_s = time.monotonic()
        if kind == catalogue_pb2.MODEL_KIND_EMBEDDING:
            path = "/v1/embeddings"
            question: dict[str, object] = {"model": self._served_name, "input": "1"}
        else:
            path = "/v1/completions"
            question = {"model": self._served_name, "prompt": "1", "max_tokens": 1, "ignore_eos": True}
        answer = await self._ask("POST", path, json.dumps(question).encode(), timeout_s)
        try:
            tokens = json.loads(answer)["usage"]["total_tokens"]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineSilent(f"its answer to the probe has no usage ({error!r})") from error
        if not tokens:
            raise EngineSilent("it answered the probe with no token")
        return time.monotonic() - began_s

    async def figures(self, timeout_s: float = 2) -> Figures:
        """From vLLM's /metrics, summed over its cores. Raises EngineSilent."""
        return read_figures((await self._ask("GET", "/metrics", None, timeout_s)).decode(errors="replace"))

    async def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        # The thread ends by its socket's own timeouts, a little after this one at the latest.
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(self._ask_now, method, path, body, timeout_s)
        except TimeoutError as error:
            raise EngineSilent(f"no answer to {method} {path} in {timeout_s} s") from error

    def _ask_now(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        ticket = Ticket(
            key_id=LOCAL_KEY_ID,
            call_id="daemon",
            attempt_id=f"daemon-{secrets.token_hex(8)}",
            served_name=self._served_name,
            tier="agent",
            expires_s=int(time.time()) + 30,
        )
        headers = {"x-daalu-ticket": sign_ticket(ticket, self._key).decode(), "connection": "close"}
        if body is not None:
            headers["content-type"] = "application/json"
        connection = http.client.HTTPConnection(self._address, self._port, timeout=timeout_s)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                answer = response.read(ANSWER_BYTES_MAX)
            except (OSError, http.client.HTTPException) as error:
                raise EngineSilent(f"no answer to {method} {path}: {error}") from error
        if response.status != 200:
            raise EngineSilent(f"{method} {path} was answered {response.status}: {answer[:200]!r}")
        return answer


def read_figures(metrics: str) -> Figures:
    """From Prometheus's text form. What is not there is 0 calls, and no KV cache reading."""
    sums: dict[str, float] = {}
    for name, value in _METRIC.findall(metrics):
        sums[name] = sums.get(name, 0.0) + float(value)
    usage = sums.get("kv_cache_usage_perc")
    return Figures(
        running_calls=int(sums.get("num_requests_running", 0)),
        waiting_calls=int(sums.get("num_requests_waiting", 0)),
        # vLLM's name says per cent, its value is a share of 1.
        kv_cache_percent=None if usage is None else round(usage * 100, 2),
    )
