"""A commercial vendor as the gateway's ports have it, at a scripted engine on loopback."""

import json
from collections.abc import Mapping

from control_plane.economy import PriceTerms
from control_plane.gateway import Limits
from control_plane.gateway.connection import Connection
from control_plane.gateway.pool import Pool
from control_plane.gateway.request import InferenceRequest
from control_plane.router import AtVendor, VendorModel

VENDOR = "far-away-cloud"
VENDORS_PRICE = PriceTerms(1_000_003, 3_000_001, 1_000_003)


class ScriptedVendor:
    """Serves one model, "tiny", which it calls otherwise."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pool = Pool(Limits())
        self._model = VendorModel(VENDOR, "tiny", "vendors-tiny", 4_096, VENDORS_PRICE)

    def serving(self, model: str) -> tuple[VendorModel, ...]:
        return (self._model,) if model == self._model.served_name else ()

    @property
    def models(self) -> Mapping[str, int]:
        return {self._model.served_name: self._model.context_tokens}

    async def connect(self, candidate: AtVendor, *, fresh: bool) -> Connection:
        return await self._pool.acquire("127.0.0.1", self._port, fresh=fresh)

    def request(self, candidate: AtVendor, request: InferenceRequest, max_tokens: int | None) -> bytes:
        body = {**request.body, "model": candidate.model.vendors_name, "max_tokens": max_tokens}
        data = json.dumps(body).encode()
        head = f"POST {request.path} HTTP/1.1\r\nhost: vendor\r\ncontent-length: {len(data)}\r\n\r\n"
        return head.encode() + data

    def close(self) -> None:
        self._pool.close()
