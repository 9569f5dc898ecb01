"""What a stream costs in memory while nothing comes over it."""

import socket
import time

from benchmarks.product import Proxy
from benchmarks.programs import CannotMeasure, memory_kib

STREAMS = 1_000
# Streams are opened in turns of so many, each waited for: opening them is not what is measured.
AT_ONCE = 50
FIRST_S = 30.0
_BODY = b'{"model":"%s","messages":[{"role":"user","content":"hi"}],"stream":true}'


def kib_per_stream(proxy: Proxy) -> float:
    """The growth of the process's resident memory over STREAMS streams that have sent one chunk each."""
    body, key = _BODY % proxy.model.encode(), proxy.key.encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer %s\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (key, len(body), body)
    )
    before = memory_kib(proxy.pid)
    streams: list[socket.socket] = []
    try:
        while len(streams) < STREAMS:
            turn = [socket.create_connection(("127.0.0.1", proxy.port), FIRST_S) for _ in range(AT_ONCE)]
            streams += turn
            for stream in turn:
                stream.sendall(request)
            for stream in turn:
                _wait_for_content(stream)
        time.sleep(1.0)
        return (memory_kib(proxy.pid) - before) / STREAMS
    finally:
        for stream in streams:
            stream.close()


def _wait_for_content(stream: socket.socket) -> None:
    seen = b""
    while b'"content":"' not in seen:
        try:
            part = stream.recv(65_536)
        except TimeoutError:
            part = b""
        if not part:
            raise CannotMeasure(f"an idle stream did not begin: {seen[:300].decode(errors='replace')}")
        seen += part
