"""The host's nftables rules for the tunnel, as one text that replaces the table whole: pure."""

import re

from agent.identity import TunnelSettings


def table_name(interface: str) -> str:
    return "daalu_" + re.sub(r"[^a-zA-Z0-9_]", "_", interface)


def rules(interface: str, settings: TunnelSettings, ports: tuple[int, int]) -> str:
    """Input of `nft -f -`.

    Over the tunnel the hub reaches `ports` and nothing else, and nothing is forwarded. Beside the tunnel no
    packet may come from or go to its two addresses: who stands there can neither spoof the hub nor receive
    what was meant for it while the interface is down.
    """
    name = table_name(interface)
    ip = "ip6" if ":" in settings.agent_address else "ip"
    agent, hub = settings.agent_address, settings.hub_address
    ends = f"{{ {agent}, {hub} }}"
    inside = f'{{ "{interface}", "lo" }}'
    return f"""table inet {name}
delete table inet {name}
table inet {name} {{
  chain arriving {{
    type filter hook prerouting priority -300; policy accept;
    iifname != {inside} {ip} saddr {ends} drop
    iifname != {inside} {ip} daddr {ends} drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname != "{interface}" accept
    {ip} saddr {hub} {ip} daddr {agent} ct state established,related accept
    {ip} saddr {hub} {ip} daddr {agent} tcp dport {{ {ports[0]}, {ports[1]} }} accept
    drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname "{interface}" drop
    oifname "{interface}" drop
  }}
  chain output {{
    type filter hook output priority -10; policy accept;
    oifname != {inside} {ip} saddr {ends} drop
    oifname != {inside} {ip} daddr {ends} drop
  }}
}}
"""
