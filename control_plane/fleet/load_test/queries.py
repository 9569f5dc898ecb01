"""What the store keeps of load tests."""

import json
from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from control_plane.access import (
    Duplicate,
    NewKey,
    Temporary,
    Unknown,
    audit,
    create_key,
    extend_key,
    revoke_key,
)
from control_plane.fleet.load_test.knee import find_knee
from control_plane.fleet.load_test.limits import set_limit
from control_plane.fleet.load_test.step import FIGURES, StepFigures
from control_plane.fleet.load_test.sweep import Sweep
from control_plane.identifiers import AgentId, LoadTestId
from control_plane.store import unix_ms
from control_plane.store.load_test_tables import LoadTest, LoadTestStep
from control_plane.store.tables import Agent, Purpose, Tenant

# The key of a test whose process is gone is good for no longer than this.
LEASE_MS = 30_000
LOST = "the control plane ended before it did"


@dataclass(frozen=True, slots=True)
class Found:
    """A load test, with the name of its agent, and its steps in order."""

    row: LoadTest
    agent_name: str
    steps: tuple[StepFigures, ...]


def begin(
    session: Session, *, test_id: LoadTestId, agent_id: AgentId, model_id: str, sweep: Sweep, actor: str
) -> NewKey:
    """With a key that lives as long as the test. Raises Unknown, and Duplicate where one is under way."""
    agent = session.get(Agent, agent_id)
    if agent is None or agent.revoked_unix_ms is not None:
        raise Unknown("agent", agent_id)
    now = unix_ms()
    reap(session)
    live = select(LoadTest.id).where(LoadTest.agent_id == agent_id, col(LoadTest.ended_unix_ms).is_(None))
    other = session.exec(live).first()
    if other is not None:
        raise Duplicate(f"this card is under load already: daalu loadtests show {other}")
    tenant = session.get_one(Tenant, agent.tenant_id)
    key = create_key(
        session,
        tenant=tenant,
        name="load test",
        purpose=Purpose.GENERAL,
        actor=actor,
        temporary=Temporary(now + LEASE_MS, agent_id),
    )
    session.flush()
    session.add(
        LoadTest(
            id=test_id,
            tenant_id=tenant.id,
            agent_id=agent_id,
            model_id=model_id,
            api_key_id=key.row.id,
            actor=actor,
            sweep=json.dumps(asdict(sweep)),
            started_unix_ms=now,
            lease_unix_ms=now + LEASE_MS,
        )
    )
    detail = {"load_test": test_id, "model": model_id} | asdict(sweep)
    audit(
        session,
        actor=actor,
        action="load_test.started",
        subject=agent_id,
        tenant_id=tenant.id,
        detail=detail,
    )
    return key


def live_on(session: Session, test_id: LoadTestId) -> bool:
    """Extends the lease of a test and its key; False: it was cancelled, or ended by another process."""
    row = session.get_one(LoadTest, test_id)
    if row.cancelled_unix_ms is not None or row.ended_unix_ms is not None:
        return False
    row.lease_unix_ms = unix_ms() + LEASE_MS
    session.add(row)
    extend_key(session, key_id=row.api_key_id, expires_unix_ms=row.lease_unix_ms)
    return True


def add_step(session: Session, *, test_id: LoadTestId, step: StepFigures) -> None:
    session.add(LoadTestStep(load_test_id=test_id, **asdict(step)))


def end(session: Session, *, test_id: LoadTestId, error: str | None) -> None:
    """Revokes its key. Where it came to its last step, its knee becomes the card's limit."""
    row = session.get_one(LoadTest, test_id)
    if row.ended_unix_ms is not None:
        return
    revoke_key(session, key_id=row.api_key_id, actor=row.actor)
    row.ended_unix_ms = unix_ms()
    row.error = error
    if error is None:
        row.knee_concurrency = find_knee(_steps(session, test_id))
        if row.knee_concurrency is not None:
            set_limit(session, row, row.knee_concurrency)
    session.add(row)
    detail = {"load_test": row.id, "error": error, "knee": row.knee_concurrency}
    audit(
        session,
        actor=row.actor,
        action="load_test.ended",
        subject=row.agent_id,
        tenant_id=row.tenant_id,
        detail=detail,
    )


def cancel_load_test(session: Session, *, test_id: str, actor: str) -> None:
    """Its key is no good from here on; its process ends it. Again, or once ended: nothing. Raises Unknown."""
    row = session.get(LoadTest, test_id)
    if row is None:
        raise Unknown("load test", test_id)
    if row.ended_unix_ms is None and row.cancelled_unix_ms is None:
        row.cancelled_unix_ms = unix_ms()
        session.add(row)
        revoke_key(session, key_id=row.api_key_id, actor=actor)
        audit(
            session,
            actor=actor,
            action="load_test.cancelled",
            subject=row.agent_id,
            tenant_id=row.tenant_id,
            detail={"load_test": row.id},
        )


def reap(session: Session) -> None:
    """Ends those whose process is gone."""
    lost = select(LoadTest.id).where(
        col(LoadTest.ended_unix_ms).is_(None), col(LoadTest.lease_unix_ms) < unix_ms()
    )
    for test_id in session.exec(lost).all():
        end(session, test_id=LoadTestId(test_id), error=LOST)


def find_load_test(session: Session, test_id: str) -> Found:
    """Raises Unknown."""
    row = session.get(LoadTest, test_id)
    if row is None:
        raise Unknown("load test", test_id)
    return _found(session, row)


def list_load_tests(session: Session, agent_id: str, limit: int) -> list[Found]:
    """The newest first."""
    rows = session.exec(
        select(LoadTest)
        .where(LoadTest.agent_id == agent_id)
        .order_by(col(LoadTest.started_unix_ms).desc(), col(LoadTest.id).desc())
        .limit(limit)
    )
    return [_found(session, row) for row in rows]


def earlier_of_model(session: Session, found: Found) -> Found | None:
    """The last that came to its end before this one: same agent, model and sweep."""
    row = session.exec(
        select(LoadTest)
        .where(
            LoadTest.agent_id == found.row.agent_id,
            LoadTest.model_id == found.row.model_id,
            LoadTest.sweep == found.row.sweep,
            col(LoadTest.id) < found.row.id,
            col(LoadTest.ended_unix_ms).is_not(None),
            col(LoadTest.error).is_(None),
        )
        .order_by(col(LoadTest.id).desc())
        .limit(1)
    ).first()
    return _found(session, row) if row is not None else None


def _found(session: Session, row: LoadTest) -> Found:
    agent = session.get(Agent, row.agent_id)
    return Found(row, agent.name if agent else row.agent_id, _steps(session, row.id))


def _steps(session: Session, test_id: str) -> tuple[StepFigures, ...]:
    rows = session.exec(
        select(LoadTestStep)
        .where(LoadTestStep.load_test_id == test_id)
        .order_by(col(LoadTestStep.concurrency))
    )
    return tuple(StepFigures(**{name: getattr(row, name) for name in FIGURES}) for row in rows)
