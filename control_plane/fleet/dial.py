"""Channels to agents: mutual TLS over the tunnel address, dialled so that healing is quick."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import grpc
from cryptography import x509

from control_plane.fleet.facts import AgentFacts

# An agent's largest message is its inventory, a few kilobytes.
MAX_MESSAGE_BYTES = 1_048_576
MAX_METADATA_BYTES = 16_384
# Beside a telemetry stream of a sample every 2 s these pings are few; the agent's server permits them.
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_MS = 5_000
# What an agent is told fits; the default's buffers are four times this, for every agent.
TLS_FRAME_BYTES = 4_096


class CertificateAuthority(Protocol):
    """What the fleet asks of the enrolment room's Authority. Certificates and keys are PEM text."""

    @property
    def root_certificates_pem(self) -> list[str]: ...

    def sign_agent_certificate(self, csr_pem: str, agent_id: str, address: str) -> str: ...

    def issue_control_plane_certificate(self) -> tuple[str, str]: ...


@dataclass(frozen=True, slots=True)
class _Held:
    certificate_pem: bytes
    key_pem: bytes
    renew_at: datetime


class Dialler:
    """Makes channels. Holds the control plane's client certificate, in memory only."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority
        self._held: _Held | None = None

    def channel(self, facts: AgentFacts, *, trust_pem: bytes | None = None) -> grpc.aio.Channel:
        """A channel that opens only to the holder of this agent's certificate at this agent's address.

        `trust_pem` replaces the authority's roots, for the one call that renews an expired certificate.
        """
        held = self._client_certificate(datetime.now(UTC))
        roots = trust_pem or "".join(self._authority.root_certificates_pem).encode()
        credentials = grpc.ssl_channel_credentials(roots, held.key_pem, held.certificate_pem)
        return grpc.aio.secure_channel(facts.rpc_target, credentials, options=_options(facts.tls_name))

    def _client_certificate(self, now: datetime) -> _Held:
        """Issued anew when under half of its life is left."""
        if self._held is None or now >= self._held.renew_at:
            certificate_pem, key_pem = self._authority.issue_control_plane_certificate()
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            # Counted from now: the start of validity may be set back for clocks that are behind.
            renew_at = now + (certificate.not_valid_after_utc - now) / 2
            self._held = _Held(certificate_pem.encode(), key_pem.encode(), renew_at)
        return self._held


async def close(channel: grpc.aio.Channel) -> None:
    """Ends a channel at once, also while its owner is being cancelled."""
    await asyncio.shield(channel.close())


def in_words(error: grpc.aio.AioRpcError, target: str) -> str:
    return f"{target}: {error.code().name.lower().replace('_', ' ')}: {error.details() or 'no details'}"


def _options(tls_name: str) -> list[tuple[str, str | int]]:
    return [
        ("grpc.ssl_target_name_override", tls_name),
        ("grpc.default_authority", tls_name),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
        # A new channel must not inherit the waiting of the one before it.
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy named in the environment is no way into a tunnel.
        ("grpc.enable_http_proxy", 0),
        # Nobody looks at channelz, and it remembers several kilobytes for each agent.
        ("grpc.enable_channelz", 0),
        ("grpc.max_channel_trace_event_memory_per_node", 0),
        ("grpc.tsi.max_frame_size", TLS_FRAME_BYTES),
        # The link retries calls itself, where it knows that this is safe.
        ("grpc.enable_retries", 0),
    ]
