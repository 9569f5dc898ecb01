"""Listeners: the TLS and the plain one. uvicorn's server accepts and stops, our protocol does the rest."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from control_plane.api.http_protocol import HttpConnection, Inference
from control_plane.config import Address, InvalidSetting

KEEP_ALIVE_S = 65
BACKLOG = 2048
# How long calls in flight may go on once a stop was asked for.
STOP_GRACE_S = 10
# From the connection to the end of TLS's handshake, which no request's deadline covers; and for a goodbye.
HANDSHAKE_TIMEOUT_S = 10.0
TLS_GOODBYE_TIMEOUT_S = 5.0
# Open at a time on one listener. An idle one costs some kilobytes, with TLS tens of them; what is beyond is
# told so and closed, so that many idle ones cannot take the memory and files of the calls under way.
MAX_CONNECTIONS = 10_000


class CannotListen(Exception):
    """The address cannot be had; the message says why and what to do."""


class Listener(uvicorn.Server):
    """One address. Signals are the composition root's."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, inference: Inference | None) -> None:
        super().__init__(config)
        self._inference = inference
        self._listening = listening
        self.servers: list[asyncio.Server] = []
        # For the log and for messages.
        self.address = str(Address(*listening.getsockname()[:2]))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own has no deadline for TLS's handshake."""
        for listening in sockets or ():
            self.servers.append(await self._accept(listening))
        self.started = True

    async def _accept(self, listening: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        protocol = partial(
            HttpConnection,
            self.config,
            self.server_state,
            inference=self._inference,
            max_connections=MAX_CONNECTIONS,
        )
        if self.config.ssl is None:
            return await loop.create_server(protocol, sock=listening, backlog=BACKLOG)
        return await loop.create_server(
            protocol,
            sock=listening,
            backlog=BACKLOG,
            ssl=self.config.ssl,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=TLS_GOODBYE_TIMEOUT_S,
        )

    async def run_until_stopped(self) -> None:
        await self.serve(sockets=[self._listening])

    @property
    def connections_count(self) -> int:
        return len(self.server_state.connections)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Accepts nothing more; calls in flight have STOP_GRACE_S to end, then `run_until_stopped` does."""
        self.should_exit = True


def bind(address: Address, setting: str) -> socket.socket:
    """A listening socket. `setting` is the flag's name, for the message. Raises CannotListen."""
    try:
        family, _, _, _, sockaddr = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror} (change {setting})") from error
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] also takes IPv4, where the system allows it.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(sockaddr)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(f"cannot listen on {address}: {_advice(error, setting)}") from error
    listening.setblocking(False)
    return listening


def plain_listener(application: Any, address: Address, inference: Inference | None = None) -> Listener:
    """`inference` answers what it takes, `application` (ASGI) everything else. Raises CannotListen, and
    InvalidSetting where the address is not loopback."""
    if not address.is_loopback:
        raise InvalidSetting(f"plain HTTP on {address} is refused: only loopback addresses may have it")
    return Listener(_configuration(application, None), bind(address, "--listen-plain"), inference)


def tls_listener(
    application: Any, address: Address, certificate: Path, key: Path, inference: Inference | None = None
) -> Listener:
    """TLS 1.2 or newer; otherwise as the plain one. Raises CannotListen, also where certificate or key cannot
    be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise CannotListen(f"{certificate} and {key} cannot be used: {error}") from error
    return Listener(_configuration(application, context), bind(address, "--listen"), inference)


def _configuration(application: Any, context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_GRACE_S,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


def _advice(error: OSError, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program uses this port (stop it, or change {setting})"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address (change {setting})"
    if error.errno == errno.EACCES:
        return f"ports below 1024 need root (change {setting})"
    return f"{error.strerror} ({setting})"
