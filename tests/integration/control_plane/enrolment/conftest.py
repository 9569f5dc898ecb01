import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from control_plane.enrolment import Authority, create_server_certificate, enrolment_routes
from control_plane.fleet import revoke
from control_plane.store import Store
from tests.support.databases import database_url, postgresql_server, store
from tests.support.enrolment import NOW_MS
from tests.support.programs import eventually

__all__ = ["database_url", "postgresql_server", "store"]

HUB_KEY = "aHVicyBwdWJsaWMga2V5IGluIHRoZXNlIHRlc3RzISE="


@dataclass
class Clock:
    now_unix_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_unix_ms


@dataclass
class Site:
    """Enrolment over real HTTPS."""

    url: str
    client: httpx2.Client
    clock: Clock

    def leave(self, body: bytes) -> httpx2.Response:
        return self.client.post(f"{self.url}/enrolment/v1/leave", content=body)

    def claim(self, body: bytes, **headers: str) -> httpx2.Response:
        return self.client.post(f"{self.url}/enrolment/v1/claim", content=body, headers=headers)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Authority:
    return Authority.create(
        tmp_path / "authority", lambda: datetime.fromtimestamp(clock.now_unix_ms / 1000, UTC)
    )


@pytest.fixture
def allow_direct(request: pytest.FixtureRequest) -> bool:
    return getattr(request, "param", False) is True


@pytest.fixture
def site(
    store: Store, authority: Authority, clock: Clock, tmp_path: Path, allow_direct: bool
) -> Iterator[Site]:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    create_server_certificate(certificate, key, ["127.0.0.1"])
    application = FastAPI()
    application.include_router(
        enrolment_routes(
            store,
            authority,
            hub_public_key=HUB_KEY,
            hub_endpoint="control.example:51820",
            allow_direct=allow_direct,
            revoke_agent=partial(revoke, store),
            clock=clock,
        )
    )
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            host="127.0.0.1",
            port=0,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            log_config=None,
            lifespan="off",
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, "the server listens", timeout_s=10)
        port = server.servers[0].sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=str(certificate))
        with httpx2.Client(verify=trust, timeout=20, trust_env=False) as client:
            yield Site(f"https://127.0.0.1:{port}", client, clock)
    finally:
        server.should_exit = True
        thread.join(20)
