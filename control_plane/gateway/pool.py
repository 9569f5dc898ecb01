"""Connections to engines, kept between attempts."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.limits import Limits

logger = logging.getLogger(__name__)

Place = tuple[str, int]

# A host that vanished is noticed by its kernel's silence, also while the engine has nothing to say: first
# probe after 5 s, then every 3 s, lost after the third: 14 s.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 14_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


def upstream_socket(family: int) -> socket.socket:
    """Not connected yet, with the options that every connection to an upstream has. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        for option in _KEEPALIVE:
            sock.setsockopt(*option)
    except OSError:
        sock.close()
        raise
    return sock


class Pool:
    def __init__(self, limits: Limits, peer: str = "the engine") -> None:
        """`peer`: as in Connection."""
        self._limits = limits
        self._peer = peer
        self._idle: dict[Place, list[Connection]] = {}
        self._open: dict[Place, set[Connection]] = {}

    async def acquire(self, host: str, port: int, *, fresh: bool) -> Connection:
        """A connection for one attempt, a new one if `fresh`. Raises UpstreamFailed."""
        place = (host, port)
        connection = None if fresh else self._kept(place)
        if connection is None:
            if len(self._open.get(place, ())) >= self._limits.connections_per_engine:
                raise UpstreamFailed(Fault.BUSY, f"too many connections to {self._peer} are open")
            connection = await self._connect(place)
        connection.take()
        return connection

    def sweep(self) -> None:
        """Closes what has been idle for too long."""
        oldest = asyncio.get_running_loop().time() - self._limits.idle_connection_s
        for idle in list(self._idle.values()):
            for connection in [one for one in idle if one.idle_since < oldest]:
                idle.remove(connection)
                connection.close()

    def close(self) -> None:
        for connections in list(self._open.values()):
            for connection in list(connections):
                connection.close()

    @property
    def open_count(self) -> int:
        return sum(map(len, self._open.values()))

    def _kept(self, place: Place) -> Connection | None:
        idle = self._idle.get(place)
        oldest = asyncio.get_running_loop().time() - self._limits.idle_connection_s
        while idle:
            connection = idle.pop()
            if not connection.closed and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, place: Place) -> Connection:
        connection = await self._dial(
            place, lambda: Connection(self._limits, lambda idle: self._keep(place, idle), self._peer)
        )
        self._open.setdefault(place, set()).add(connection)
        connection.on_closed = lambda closed: self._forget(place, closed)
        return connection

    async def _dial(self, place: Place, make: Callable[[], Connection]) -> Connection:
        """A new connection, made by `make`. Raises UpstreamFailed."""
        host, port = place
        loop = asyncio.get_running_loop()
        sock = upstream_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await loop.sock_connect(sock, place)
                _, connection = await loop.create_connection(make, sock=sock)
        except BaseException as error:
            sock.close()
            if isinstance(error, TimeoutError):
                logger.info("%s at %s port %s does not answer", self._peer, host, port)
                words = f"{self._peer} did not answer within {self._limits.connect_s:g} s"
                raise UpstreamFailed(Fault.CONNECT, words) from None
            if isinstance(error, OSError):
                # Where it is goes to the log alone: the words may reach another tenant.
                logger.info("%s at %s port %s cannot be reached: %s", self._peer, host, port, error)
                # The loop's own words name the address as well.
                why = os.strerror(error.errno) if error.errno else type(error).__name__
                words = f"{self._peer} cannot be reached: {why}"
                raise UpstreamFailed(Fault.CONNECT, words) from None
            raise
        return connection

    def _keep(self, place: Place, connection: Connection) -> None:
        idle = self._idle.setdefault(place, [])
        if len(idle) >= self._limits.idle_connections_per_engine:
            connection.close()
        else:
            idle.append(connection)

    def _forget(self, place: Place, connection: Connection) -> None:
        members = self._open.get(place)
        if members is not None:
            members.discard(connection)
            if not members:
                del self._open[place]
        idle = self._idle.get(place)
        if idle is not None:
            if connection in idle:
                idle.remove(connection)
            if not idle:
                del self._idle[place]
