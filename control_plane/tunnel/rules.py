"""The hub's firewall as text for `nft -f -`. Pure.

What must hold, whatever AllowedIPs a host gave itself and whatever it sends beside the tunnel:
an agent reaches no other agent and no port of this machine, only answers come back; and a tunnel address
is a packet's source or destination on the tunnel's interface or not at all.
"""

from control_plane.tunnel.network import HubNetwork


def table_name(interface: str) -> str:
    """Interface names have letters, digits and dashes (config.checked), so two never share a table."""
    return "daalu_" + interface.replace("-", "_")


def rules(interface: str, network: HubNetwork) -> str:
    """Replaces the whole table in one step: there is no moment without it."""
    ip = "ip6" if network.is_ipv6 else "ip"
    family = "ipv6" if network.is_ipv6 else "ipv4"
    hub = network.hub_address
    # This machine's own packets to its own tunnel address travel over lo.
    inside = f'{{ "{interface}", "lo" }}'
    name = table_name(interface)
    return f"""\
table inet {name} {{}}
delete table inet {name}
table inet {name} {{
  chain arriving {{
    type filter hook prerouting priority raw; policy accept;
    iifname != {inside} {ip} saddr {network} drop
    iifname != {inside} {ip} daddr {network} drop
    iifname "{interface}" meta nfproto != {family} drop
    iifname "{interface}" {ip} saddr != {network} drop
    iifname "{interface}" {ip} daddr != {hub} drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{interface}" ct state established,related accept
    iifname "{interface}" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{interface}" drop
    oifname "{interface}" drop
  }}
  chain leaving {{
    type filter hook output priority filter; policy accept;
    oifname != {inside} {ip} saddr {network} drop
    oifname != {inside} {ip} daddr {network} drop
    oifname "{interface}" meta nfproto != {family} drop
    oifname "{interface}" {ip} saddr != {hub} drop
  }}
}}
"""


def no_rules(interface: str) -> str:
    """Removes the table where it is."""
    name = table_name(interface)
    return f"table inet {name} {{}}\ndelete table inet {name}\n"
