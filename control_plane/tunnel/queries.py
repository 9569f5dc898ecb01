"""The hub's read of the store."""

from sqlmodel import Session, col, select

from control_plane.store.tables import Agent, Connection
from control_plane.tunnel.network import HubNetwork


def wanted_peers(session: Session, network: HubNetwork) -> dict[str, str]:
    """Of every enrolled agent that is not revoked: its public key and the one network that it may use."""
    query = (
        select(Agent.wireguard_public_key, Agent.tunnel_address)
        .where(Agent.connection == Connection.TUNNEL)
        .where(col(Agent.revoked_unix_ms).is_(None))
        .where(col(Agent.tunnel_address).is_not(None))
    )
    return {
        key: network.host_prefix(address)
        for key, address in session.exec(query)
        if address is not None and address in network
    }
