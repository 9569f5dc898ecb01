"""Who this host is, and the files that say so.

An *identity* is what enrolment answered (agent id, name, addresses, ports); the *keys* are made here and
never leave; *credentials* are what the daemon's server shows: the authority's certificate, or, once that has
expired, a self-signed one with the same key. `State` is the directory that holds them: one daemon at a time,
0700, every file written whole. A file that is damaged or open to others is an error with a way out, never a
reason for a new identity.
"""

from agent.identity.files import StateError, read_private, write_atomically
from agent.identity.keys import TlsKey, WireguardKey, agent_dns_name, parse_wireguard_key
from agent.identity.record import DIRECT_ADDRESS, Identity, TunnelSettings, split_endpoint
from agent.identity.state import ENROL_AGAIN, Credentials, State

__all__ = [
    "DIRECT_ADDRESS",
    "ENROL_AGAIN",
    "Credentials",
    "Identity",
    "State",
    "StateError",
    "TlsKey",
    "TunnelSettings",
    "WireguardKey",
    "agent_dns_name",
    "parse_wireguard_key",
    "read_private",
    "split_endpoint",
    "write_atomically",
]
