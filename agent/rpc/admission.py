"""Who may call what: pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import grpc

CONTROL_PLANE_NAME = "control-plane.daalu.internal"
RENEW_METHOD = "/daalu_wire.v1.AgentService/RenewCertificate"
# The names that gRPC gives to a verified certificate's DNS names.
_NAMES_PROPERTY = "x509_subject_alternative_name"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection."""

    # None: not an IP connection, or one that could not be understood.
    address: str | None
    names: frozenset[str]

    @classmethod
    def of(cls, peer: str, auth_context: Mapping[str, Iterable[bytes]]) -> "Peer":
        """From gRPC's words for it, e.g. `ipv6:%5Bfd00::1%5D:50412`."""
        names = auth_context.get(_NAMES_PROPERTY, ())
        return cls(_address(peer), frozenset(name.decode("utf-8", "replace") for name in names))


@dataclass(frozen=True, slots=True)
class Rule:
    # None: direct mode, where loopback is the only way in.
    hub_address: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    code: grpc.StatusCode
    reason: str


def judge(peer: Peer, method: str, rule: Rule, *, certificate_expired: bool) -> Refusal | None:
    """None: admitted."""
    if rule.hub_address is not None and not _same(peer.address, rule.hub_address):
        return Refusal(grpc.StatusCode.PERMISSION_DENIED, "only the hub's tunnel address may call this agent")
    if CONTROL_PLANE_NAME not in peer.names:
        return Refusal(
            grpc.StatusCode.PERMISSION_DENIED, f"the certificate does not carry the name {CONTROL_PLANE_NAME}"
        )
    if certificate_expired and method != RENEW_METHOD:
        return Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "this agent's certificate has expired: only RenewCertificate is answered until it is renewed",
        )
    return None


def _address(peer: str) -> str | None:
    scheme, _, rest = unquote(peer).partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return None
    host, _, _ = rest.rpartition(":")
    return host.removeprefix("[").removesuffix("]") or None


def _same(address: str | None, expected: str) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address) == ipaddress.ip_address(expected)
    except ValueError:
        return False
