"""The control socket: one request a connection, one line each way.

Its path goes through the directory's descriptor, since a socket's own path may be 107 bytes at most.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from enum import StrEnum
from pathlib import Path

NAME = "agent.sock"
REQUEST_TIMEOUT_S = 5.0
# The engine may end its calls first.
DOWN_TIMEOUT_S = 90.0
STATUS_TIMEOUT_S = 15.0
ANSWER_LIMIT_BYTES = 1024 * 1024


class Request(StrEnum):
    STATUS = "status"
    DOWN = "down"


class ControlFailed(Exception):
    """A daemon runs but does not answer as it should; the text says what to do."""


class Control:
    """The daemon's end. `answer` makes one line of a request; it is awaited in the connection's own task."""

    def __init__(self, directory: Path, answer: Callable[[Request], Awaitable[bytes]]) -> None:
        self._directory = directory
        self._answer = answer
        self._conversations: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serves until cancelled. The state directory's lock keeps every other daemon away."""
        with _short(self._directory) as path:
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._accept, str(path))
            path.chmod(0o600)
            try:
                async with server:
                    await server.serve_forever()
            finally:
                path.unlink(missing_ok=True)

    async def finish(self) -> None:
        """Lets those who have asked hear their answer."""
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=REQUEST_TIMEOUT_S)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
            writer.write(await self._answer(Request(line.decode("ascii", "replace").strip())))
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            writer.transport.abort()
        finally:
            writer.close()


def ask(directory: Path, request: Request) -> bytes | None:
    """The daemon's answer, one line; None: no daemon runs there. Raises ControlFailed."""
    timeout_s = DOWN_TIMEOUT_S if request is Request.DOWN else STATUS_TIMEOUT_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with _short(directory) as path:
                connection.connect(str(path))
            connection.sendall(f"{request}\n".encode())
            with connection.makefile("rb") as answers:
                line = answers.readline(ANSWER_LIMIT_BYTES)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except TimeoutError as error:
            raise ControlFailed(f"the daemon did not answer within {timeout_s:.0f} s: see its log") from error
        except OSError as error:
            raise ControlFailed(
                f"the daemon's socket {directory / NAME} cannot be used ({error.strerror})"
            ) from error
    if not line.endswith(b"\n"):
        raise ControlFailed("the daemon broke off its answer: see its log")
    return line


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[Path]:
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}") / NAME
    finally:
        os.close(descriptor)
