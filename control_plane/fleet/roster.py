"""Who is in the fleet's view. Pure: putting or removing one agent makes a new view."""

from collections.abc import Mapping

from control_plane.fleet.persistent_map import PersistentMap
from control_plane.fleet.view import AgentView, FleetView
from control_plane.identifiers import AgentId, TenantId


class Roster:
    """Holds the current view; readers keep whichever view they took."""

    def __init__(self) -> None:
        self._by_id: PersistentMap[AgentId, AgentView] = PersistentMap()
        self._by_tenant: PersistentMap[TenantId, tuple[AgentView, ...]] = PersistentMap()
        self.view = FleetView(self._by_id, self._by_tenant)

    def put(self, agent: AgentView) -> None:
        """Adds or replaces one agent. Does nothing where it is as it was."""
        known = self._by_id.get(agent.agent_id)
        if known == agent:
            return
        if known is not None and known.tenant_id != agent.tenant_id:
            self.remove(agent.agent_id)
        self._by_id = self._by_id.put(agent.agent_id, agent)
        others = _others(self._by_tenant, agent)
        self._set_tenant(agent.tenant_id, tuple(sorted((*others, agent), key=lambda each: each.agent_id)))

    def remove(self, agent_id: AgentId) -> None:
        known = self._by_id.get(agent_id)
        if known is not None:
            self._by_id = self._by_id.without(agent_id)
            self._set_tenant(known.tenant_id, _others(self._by_tenant, known))

    def _set_tenant(self, tenant_id: TenantId, agents: tuple[AgentView, ...]) -> None:
        if agents:
            self._by_tenant = self._by_tenant.put(tenant_id, agents)
        else:
            self._by_tenant = self._by_tenant.without(tenant_id)
        self.view = FleetView(self._by_id, self._by_tenant)


def _others(by_tenant: Mapping[TenantId, tuple[AgentView, ...]], agent: AgentView) -> tuple[AgentView, ...]:
    return tuple(each for each in by_tenant.get(agent.tenant_id, ()) if each.agent_id != agent.agent_id)
