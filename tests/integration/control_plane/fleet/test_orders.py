"""Orders change rows, the audit trail and the announcements together. On both databases."""

import pytest
from sqlmodel import select

from control_plane.access import Invalid, Unknown
from control_plane.fleet import revoke_agent, rotate_ticket_key, want_model
from control_plane.fleet.queries import enrolled_agents
from control_plane.store import Store
from control_plane.store.tables import Agent, Audit, Change, Deployment
from tests.support.fleet_rows import add_tenant_and_agents


@pytest.fixture
def enrolled(any_store: Store) -> Store:
    any_store.write_now(lambda session: add_tenant_and_agents(session, "agt-1", "agt-2"))
    return any_store


def _want(store: Store, model_id: str | None) -> int:
    store.write_now(lambda session: want_model(session, agent_id="agt-1", model_id=model_id, actor="op"))
    with store.reading() as session:
        return session.exec(select(Deployment.changed_unix_ms)).one()


def _revoke(store: Store, agent_id: str = "agt-1") -> None:
    store.write_now(lambda session: revoke_agent(session, agent_id=agent_id, actor="op"))


def _told(store: Store) -> tuple[list[str], list[str]]:
    with store.reading() as session:
        actions = session.exec(select(Audit.action).order_by(Audit.id)).all()  # type: ignore[arg-type]
        kinds = session.exec(select(Change.kind).order_by(Change.id)).all()  # type: ignore[arg-type]
    return list(actions), list(kinds)


def test_a_revoked_agent_leaves_the_fleet_and_wants_nothing(enrolled: Store) -> None:
    _want(enrolled, "tiny")
    _revoke(enrolled)
    with enrolled.reading() as session:
        assert [facts.agent_id for facts in enrolled_agents(session)] == ["agt-2"]
        assert session.exec(select(Deployment.model_id)).one() is None
    assert _told(enrolled) == (
        ["deployment.wanted", "agent.revoked"],
        ["deployment", "deployment", "agent"],
    )


def test_revoking_twice_changes_nothing(enrolled: Store) -> None:
    _revoke(enrolled)
    with enrolled.reading() as session:
        first = session.exec(select(Agent.revoked_unix_ms).where(Agent.id == "agt-1")).one()
    _revoke(enrolled)
    with enrolled.reading() as session:
        assert session.exec(select(Agent.revoked_unix_ms).where(Agent.id == "agt-1")).one() == first
    assert _told(enrolled) == (["agent.revoked"], ["agent"])


def test_an_agent_that_is_not_there_is_unknown(enrolled: Store) -> None:
    with pytest.raises(Unknown, match="agt-9"):
        _revoke(enrolled, "agt-9")


def test_nothing_is_ordered_of_a_revoked_agent(enrolled: Store) -> None:
    _revoke(enrolled)
    with pytest.raises(Invalid, match="revoked"):
        _want(enrolled, "tiny")
    with pytest.raises(Invalid, match="revoked"):
        enrolled.write_now(lambda session: rotate_ticket_key(session, agent_id="agt-1", actor="op"))


def test_each_wish_is_later_than_the_one_before(enrolled: Store) -> None:
    times = [_want(enrolled, model) for model in ("tiny", "tiny", None, "tiny")]
    assert times == sorted(set(times))


def test_what_is_wanted_is_read_with_the_agent(enrolled: Store) -> None:
    _want(enrolled, "tiny")
    with enrolled.reading() as session:
        wanted = {facts.agent_id: facts.desired.model_id for facts in enrolled_agents(session)}
        assert wanted == {"agt-1": "tiny", "agt-2": None}
        assert [facts.rpc_target for facts in enrolled_agents(session, ["agt-2"])] == ["[fd00::2]:7443"]


def test_a_rotation_moves_to_the_next_generation(enrolled: Store) -> None:
    assert enrolled.write_now(lambda session: rotate_ticket_key(session, agent_id="agt-1", actor="op")) == 2
    assert _told(enrolled) == (["ticket_key.rotated"], ["agent"])
