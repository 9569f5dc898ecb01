"""The operator's reads of the store that REST has none of."""

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from control_plane.access import AuditEntry, AuditSearch, read_trail
from control_plane.fleet.diagnostics import Run, list_runs
from control_plane.fleet.load_test import Found, list_load_tests
from control_plane.store.tables import Agent, Attempt, Call, Invite, Tenant, User

MOST_RUNS = 5
MOST_ATTEMPTS = 20
MOST_ENTRIES = 30


@dataclass(frozen=True, slots=True)
class Served:
    """An attempt at a call that an agent had, and whose call it was."""

    attempt: Attempt
    model: str
    streamed: bool
    tenant_name: str


@dataclass(frozen=True, slots=True)
class Story:
    """What the store knows of an agent. `invite`: by which it enrolled; None: not by one that is kept."""

    invite: Invite | None
    runs: tuple[Run, ...]
    load_tests: tuple[Found, ...]
    served: tuple[Served, ...]
    entries: tuple[AuditEntry, ...]


def story_of(session: Session, agent: Agent) -> Story:
    """The newest of everything first, and of each as many as a page shows."""
    invite = session.exec(select(Invite).where(Invite.agent_id == agent.id)).first()
    attempts = (
        select(Attempt, Call.model, Call.streamed, Tenant.name)
        .join(Call, col(Call.id) == col(Attempt.call_id))
        .join(Tenant, col(Tenant.id) == col(Call.tenant_id))
        .where(Attempt.agent_id == agent.id)
        # Ids sort by the time of their creation.
        .order_by(col(Attempt.id).desc())
        .limit(MOST_ATTEMPTS)
    )
    trail = read_trail(session, AuditSearch(subject=agent.id), before=None, limit=MOST_ENTRIES)
    return Story(
        invite=invite,
        runs=tuple(list_runs(session, agent.id, MOST_RUNS)),
        load_tests=tuple(list_load_tests(session, agent.id, MOST_RUNS)),
        served=tuple(Served(*row) for row in session.exec(attempts)),
        entries=trail.entries,
    )


def users_by_tenant(session: Session) -> dict[str, int]:
    """How many there are, without those that were removed."""
    query = (
        select(User.tenant_id, func.count())
        .where(col(User.removed_unix_ms).is_(None))
        .group_by(User.tenant_id)
    )
    return dict(session.exec(query).all())
