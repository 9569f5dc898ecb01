"""The card's pages' reads of the store. The tenant is part of every one of them."""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.access import OPERATOR, Unknown
from control_plane.api import LoadTestResponse
from control_plane.fleet.load_test import Found, earlier_of_model, find_limit, find_load_test, list_load_tests
from control_plane.identifiers import TenantId
from control_plane.store.load_test_tables import LoadTest, QueueLimit
from control_plane.store.tables import Agent, Audit, User

MOST_RUNS = 8


@dataclass(frozen=True, slots=True)
class Halt:
    """What an agent is not to do now. `since_unix_ms` and `who` None: the audit trail does not say."""

    words: str
    since_unix_ms: int | None
    who: str | None


def halts_of(session: Session, agent: Agent) -> list[Halt]:
    halts = []
    if agent.drained:
        halts.append(_halt(session, agent, "agent.drained", "Drained: it takes no new calls"))
    if agent.pool_paused:
        halts.append(
            _halt(session, agent, "agent.pool_paused", "Paused for pools: it takes no calls of others")
        )
    return halts


def _halt(session: Session, agent: Agent, action: str, words: str) -> Halt:
    query = select(Audit).where(
        Audit.tenant_id == agent.tenant_id, Audit.action == action, Audit.subject == agent.id
    )
    entry = session.exec(query.order_by(col(Audit.id).desc()).limit(1)).first()
    if entry is None:
        return Halt(words, None, None)
    return Halt(words, entry.at_unix_ms, names_of(session, TenantId(agent.tenant_id)).get(entry.actor))


def names_of(session: Session, tenant_id: TenantId) -> dict[str, str]:
    """A tenant's people by how the audit trail names them, removed ones too; and the operator."""
    users = session.exec(select(User).where(User.tenant_id == tenant_id))
    return {user.id: user.email for user in users} | {OPERATOR: "the operator"}


def load_test_of(session: Session, tenant_id: TenantId, test_id: str) -> Found:
    """Raises Unknown, also of another tenant's."""
    found = find_load_test(session, test_id)
    if found.row.tenant_id != tenant_id:
        raise Unknown("load test", test_id)
    return found


def running_test_of(session: Session, tenant_id: TenantId, agent_id: str) -> str | None:
    query = select(LoadTest.id).where(
        LoadTest.tenant_id == tenant_id,
        LoadTest.agent_id == agent_id,
        col(LoadTest.ended_unix_ms).is_(None),
    )
    return session.exec(query).first()


@dataclass(frozen=True, slots=True)
class LoadTestsOfCard:
    """The newest first; `earlier` is what the newest is compared with, `limit` what holds now."""

    tests: list[LoadTestResponse]
    earlier: LoadTestResponse | None
    limit: QueueLimit | None


def load_tests_of(session: Session, tenant_id: TenantId, agent: Agent) -> LoadTestsOfCard:
    found = [
        each
        for each in list_load_tests(session, agent.id, MOST_RUNS)
        # A card may have changed hands.
        if each.row.tenant_id == tenant_id
    ]
    earlier = earlier_of_model(session, found[0]) if found else None
    tests = [LoadTestResponse.of(each, earlier if each is found[0] else None) for each in found]
    return LoadTestsOfCard(
        tests, LoadTestResponse.of(earlier) if earlier else None, find_limit(session, agent.id)
    )
