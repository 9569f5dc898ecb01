"""A control plane that was broken into, or one behind a bad line: it holds the real one's TLS key, and serves
what it is told to. Its clock may be wrong as well."""

import datetime as dt
import http.server
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import format_datetime
from pathlib import Path

from tests.support.netlab import Host

# So many bytes are sent of an answer that is cut off.
CUT_AFTER_BYTES = 1000


class RogueServer(http.server.ThreadingHTTPServer):
    """`content`: files by name; `cut`: names whose answer breaks off; both may change at any time."""

    daemon_threads = True

    def __init__(self, address: str, certificate: Path, key: Path) -> None:
        super().__init__((address, 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.clock_ahead = dt.timedelta()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://{address}:{self.server_address[1]}"

    def serve_directory(self, directory: Path, changed: Mapping[str, bytes] | None = None) -> None:
        """A release's files, some of them changed."""
        self.content = {path.name: path.read_bytes() for path in directory.iterdir()} | dict(changed or {})
        self.cut = set()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: RogueServer

    def do_GET(self) -> None:
        name = self.path.removeprefix("/install/")
        content = self.server.content.get(name)
        self.send_response_only(404 if content is None else 200)
        now = dt.datetime.now(dt.UTC) + self.server.clock_ahead
        self.send_header("date", format_datetime(now, usegmt=True))
        self.send_header("content-length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write((content or b"")[: CUT_AFTER_BYTES if name in self.server.cut else None])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        return


@contextmanager
def rogue_server(host: Host, address: str, certificate: Path, key: Path) -> Iterator[RogueServer]:
    with host.entered():
        server = RogueServer(address, certificate, key)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
