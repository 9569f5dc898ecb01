"""The link to the hub: a WireGuard interface whose only peer is the hub, and the rules that guard it.

The interface is the kernel's own or `wireguard-go`'s, whichever can be had; it outlives the daemon and a
restarted daemon adopts it. What should be and what is are compared by a pure function, and only the
difference is applied. `DirectLink` stands in its place in direct mode: no tunnel, this machine only.
"""

from agent.tunnel.commands import CommandFailed
from agent.tunnel.link import DirectLink, Link, LinkStatus
from agent.tunnel.tunnel import Tunnel, TunnelError

__all__ = ["CommandFailed", "DirectLink", "Link", "LinkStatus", "Tunnel", "TunnelError"]
