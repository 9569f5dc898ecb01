"""The tunnels' end in the control plane.

The *hub network* is where the hub and its agents have their addresses; an address is given to one agent and
never again. The *hub* is a process of its own that keeps a WireGuard interface, its *peers* and its
firewall *rules* equal to what the store says: every enrolled agent that is not revoked, and nobody else.
"""

from control_plane.tunnel.addressing import allocate_address, choose_network
from control_plane.tunnel.conditions import HubError
from control_plane.tunnel.hub import run_hub
from control_plane.tunnel.keys import HubKeyUnusable, create_hub_key, hub_public_key
from control_plane.tunnel.network import HubNetwork, NetworkFull, UnusableNetwork, tunnel_configuration

__all__ = [
    "HubError",
    "HubKeyUnusable",
    "HubNetwork",
    "NetworkFull",
    "UnusableNetwork",
    "allocate_address",
    "choose_network",
    "create_hub_key",
    "hub_public_key",
    "run_hub",
    "tunnel_configuration",
]
