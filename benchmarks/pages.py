"""Open pages of the console: their live streams, read as browsers read them, until this is killed.

    python -m benchmarks.pages DATA_DIRECTORY PLAIN_PORT PAGES

Signs users in to the tenant whose card it is, opens the streams of its "AI Factory" page, in turns over each
range of its trends, and prints one line once each has had its first event.
"""

import asyncio
import sys
from pathlib import Path

from sqlmodel import Session, select

from control_plane.access import create_user, start_session
from control_plane.config import load_settings
from control_plane.console.door import COOKIE
from control_plane.console.factory_parts import RANGES_MS
from control_plane.console.feed import MAX_STREAMS_PER_VIEWER
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Tenant, UserRole

FIRST_EVENT_S = 30.0
MOST_EVENT_BYTES = 1024 * 1024


def sign_in(session: Session, count: int) -> list[str]:
    """The secrets of as many people's sessions."""
    tenant = session.exec(select(Tenant).where(Tenant.name == "operator")).one()
    secrets = []
    for number in range(count):
        email = f"look-{unix_ms()}-{number}@bench.test"
        user = create_user(session, tenant=tenant, email=email, role=UserRole.ADMIN, actor="bench")
        session.flush()
        secrets.append(start_session(session, user=user, operator_tag=None))
    return secrets


async def look(port: int, secret: str, span: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Returns with the first event of a page's stream, which is open for as long as its writer is kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MOST_EVENT_BYTES)
    writer.write(
        f"GET /console/live/factory?range={span} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"cookie: {COOKIE}={secret}\r\n\r\n".encode()
    )
    async with asyncio.timeout(FIRST_EVENT_S):
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"a page's stream was answered {status!r}")
        while not (await reader.readline()).startswith(b"data: "):
            pass
    return reader, writer


async def drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass
    raise RuntimeError("a page's stream ended")


async def run(data: Path, port: int, pages: int) -> None:
    store = Store(load_settings(data).database_url)
    viewers = -(-pages // MAX_STREAMS_PER_VIEWER)
    secrets = await store.write(lambda session: sign_in(session, viewers))
    store.close()
    spans = list(RANGES_MS)
    streams = [
        await look(port, secrets[number % viewers], spans[number % len(spans)]) for number in range(pages)
    ]
    print("open", flush=True)
    await asyncio.gather(*(drain(reader) for reader, _ in streams))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
