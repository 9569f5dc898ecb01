"""The deployment's network and its agents' addresses, in the store."""

import ipaddress
import secrets

from sqlmodel import Session, select

from control_plane.store.tables import Agent, Setting
from control_plane.tunnel.network import (
    HubNetwork,
    UnusableNetwork,
    free_address,
    hub_network_of,
    new_deployment_network,
)

# The /48 that hubs' networks are cut from; not there where an IPv4 network was chosen.
DEPLOYMENT_NETWORK = "tunnel.deployment_network"
HUB_NETWORK = "tunnel.hub_network"


def choose_network(session: Session, ipv4: str | None = None) -> HubNetwork:
    """The network of this deployment, chosen at random where none was chosen before.

    `ipv4`, for machines where IPv6 is off, is a private network of at least a /24. Raises UnusableNetwork,
    also where another network than `ipv4` was chosen before: agents have their addresses from it.
    """
    wanted = None if ipv4 is None else HubNetwork.parse(ipv4)
    if setting := session.get(Setting, HUB_NETWORK):
        chosen = HubNetwork(ipaddress.ip_network(setting.value))
        if wanted not in (None, chosen):
            raise UnusableNetwork(f"this deployment's network is {chosen} already and cannot be changed")
        return chosen
    if wanted is None:
        deployment = new_deployment_network(secrets.randbits(40))
        session.add(Setting(name=DEPLOYMENT_NETWORK, value=str(deployment)))
        wanted = hub_network_of(deployment)
    elif wanted.is_ipv6:
        raise UnusableNetwork(f"{wanted} is an IPv6 network; those are chosen at random")
    session.add(Setting(name=HUB_NETWORK, value=str(wanted)))
    session.flush()
    return wanted


def allocate_address(session: Session, network: HubNetwork) -> str:
    """An address that no agent has or had: rows of revoked agents keep theirs. Raises NetworkFull.

    The transaction that stores it with an agent is what takes it; the column is unique.
    """
    return free_address(network, _Taken(session), secrets.randbelow)


class _Taken:
    """The addresses in the store, asked for one by one: of 2^64 the first tried is free."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __contains__(self, address: object) -> bool:
        return self._session.exec(select(Agent.id).where(Agent.tunnel_address == address)).first() is not None
