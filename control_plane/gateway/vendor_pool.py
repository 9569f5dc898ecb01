"""Connections to vendors: resolved, verified, kept between attempts; to the configured hosts and no others.

Raw sockets: no proxy of the environment's is used, and nothing here could follow a redirect.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.limits import Limits
from control_plane.gateway.pool import Place, Pool, upstream_socket
from control_plane.vendors import Vendor, Vendors

# Of all that a name resolves to.
MOST_ADDRESSES = 4

# A family and an address as sockets take it.
SocketAddress: TypeAlias = tuple[int, tuple[Any, ...]]
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[SocketAddress]]]


async def resolve_name(host: str, port: int) -> list[SocketAddress]:
    """As the system resolves it, in a thread. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def limits_of(vendor: Vendor, limits: Limits) -> Limits:
    """The gateway's limits with this vendor's waits and sizes in place of an engine's."""
    waits = vendor.waits
    return replace(
        limits,
        connect_s=waits.connect_s,
        first_content_s=waits.first_content_s,
        stream_gap_s=waits.stream_gap_s,
        whole_answer_s=waits.whole_answer_s,
        idle_connection_s=waits.idle_connection_s,
        idle_connections_per_engine=min(limits.idle_connections_per_engine, vendor.connections),
        connections_per_engine=vendor.connections,
    )


class VendorPool:
    """Each vendor's connections apart from the others'. One per process, in its event loop."""

    def __init__(self, vendors: Vendors, limits: Limits, resolve: Resolve = resolve_name) -> None:
        self._pools = {vendor.name: _OneVendor(vendor, limits, resolve) for vendor in vendors.all}

    async def acquire(self, vendor: Vendor, *, fresh: bool = False) -> Connection:
        """A connection for one attempt, a new one if `fresh`. Raises UpstreamFailed."""
        return await self._pools[vendor.name].acquire(vendor.url.host, vendor.url.port, fresh=fresh)

    def sweep(self) -> None:
        """Closes what has been idle for too long."""
        for pool in self._pools.values():
            pool.sweep()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    @property
    def open_count(self) -> int:
        return sum(pool.open_count for pool in self._pools.values())


class _OneVendor(Pool):
    def __init__(self, vendor: Vendor, limits: Limits, resolve: Resolve) -> None:
        super().__init__(limits_of(vendor, limits), f"the vendor {vendor.name}")
        self._vendor = vendor
        self._resolve = resolve
        self._dialling = 0

    async def _dial(self, place: Place, make: Callable[[], Connection]) -> Connection:
        # Connecting takes a while here: what is under way counts, or a burst would exceed the limit.
        if self.open_count + self._dialling >= self._vendor.connections:
            raise UpstreamFailed(Fault.BUSY, f"too many connections to {self._peer} are open")
        limit_s = self._limits.connect_s
        ends_at = asyncio.get_running_loop().time() + limit_s
        self._dialling += 1
        try:
            async with asyncio.timeout(limit_s):
                addresses = await self._addresses(place)
            return await self._connect_to_one(addresses, make, ends_at)
        except TimeoutError:
            words = f"{self._peer}'s name could not be resolved within {limit_s:g} s"
            raise UpstreamFailed(Fault.CONNECT, words) from None
        finally:
            self._dialling -= 1

    async def _addresses(self, place: Place) -> Sequence[SocketAddress]:
        try:
            found = await self._resolve(*place)
        except OSError as error:
            words = f"{self._peer}'s name cannot be resolved: {error.strerror or error}"
            raise UpstreamFailed(Fault.CONNECT, words) from None
        if self._vendor.tls is None:
            # Without TLS the address is all that says who is there.
            found = [each for each in found if ipaddress.ip_address(each[1][0]).is_loopback]
        if not found:
            raise UpstreamFailed(Fault.CONNECT, f"{self._peer}'s name has no address that may be used")
        return found[:MOST_ADDRESSES]

    async def _connect_to_one(
        self, addresses: Sequence[SocketAddress], make: Callable[[], Connection], ends_at: float
    ) -> Connection:
        """To the first that answers; one that is silent leaves the others their part of the time."""
        failure = UpstreamFailed(Fault.CONNECT, f"{self._peer} cannot be reached")
        for position, address in enumerate(addresses):
            left_s = ends_at - asyncio.get_running_loop().time()
            part_s = left_s / (len(addresses) - position)
            try:
                async with asyncio.timeout(part_s):
                    return await self._connect_to(address, make)
            except TimeoutError:
                words = f"{self._peer} did not answer within {self._limits.connect_s:g} s"
                failure = UpstreamFailed(Fault.CONNECT, words)
            except ssl.SSLCertVerificationError as error:
                words = f"{self._peer} did not prove to be {self._vendor.url.host}: {error.verify_message}"
                failure = UpstreamFailed(Fault.CERTIFICATE, words)
            except OSError as error:
                words = f"{self._peer} cannot be reached: {error.strerror or error}"
                failure = UpstreamFailed(Fault.CONNECT, words)
        raise failure

    async def _connect_to(self, address: SocketAddress, make: Callable[[], Connection]) -> Connection:
        loop, tls = asyncio.get_running_loop(), self._vendor.tls
        family, where = address
        sock = upstream_socket(family)
        try:
            await loop.sock_connect(sock, where)
            name = self._vendor.url.host if tls is not None else None
            _, connection = await loop.create_connection(make, sock=sock, ssl=tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        return connection
