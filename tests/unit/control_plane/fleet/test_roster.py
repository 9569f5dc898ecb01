"""The roster's views: whole, immutable, and new only when something changed."""

from dataclasses import replace

from control_plane.fleet import AgentView, Liveness
from control_plane.fleet.roster import Roster
from control_plane.identifiers import AgentId, TenantId


def _agent(number: int, tenant: str = "ten-a") -> AgentView:
    return AgentView(
        agent_id=AgentId(f"agt-{number}"),
        tenant_id=TenantId(tenant),
        name=f"host-{number}",
        host="fd00::1",
        engine_port=7400,
        liveness=Liveness.LIVE,
        engine=None,
        simulated=False,
    )


def test_an_agent_is_found_by_its_id_and_its_tenant() -> None:
    roster = Roster()
    for each in (_agent(2), _agent(1), _agent(3, "ten-b")):
        roster.put(each)
    assert roster.view.by_id[AgentId("agt-1")] == _agent(1)
    assert roster.view.by_tenant[TenantId("ten-a")] == (_agent(1), _agent(2))
    assert roster.view.by_tenant[TenantId("ten-b")] == (_agent(3, "ten-b"),)


def test_a_view_that_was_taken_does_not_change() -> None:
    roster = Roster()
    roster.put(_agent(1))
    taken = roster.view
    roster.put(replace(_agent(1), liveness=Liveness.OUT))
    roster.put(_agent(2))
    assert dict(taken.by_id) == {AgentId("agt-1"): _agent(1)}


def test_putting_what_is_there_already_makes_no_new_view() -> None:
    roster = Roster()
    roster.put(_agent(1))
    taken = roster.view
    roster.put(_agent(1))
    assert roster.view is taken


def test_a_removed_agent_is_gone_and_a_tenant_without_agents_with_it() -> None:
    roster = Roster()
    roster.put(_agent(1))
    roster.remove(AgentId("agt-1"))
    roster.remove(AgentId("agt-1"))
    assert len(roster.view.by_id) == 0
    assert TenantId("ten-a") not in roster.view.by_tenant
