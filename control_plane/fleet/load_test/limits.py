"""What load tests measured, in memory for the router, as fresh as the store's changes."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from control_plane.access import Unknown, audit
from control_plane.identifiers import AgentId
from control_plane.store import Store, announce, unix_ms, watch
from control_plane.store.load_test_tables import LoadTest, QueueLimit
from control_plane.store.tables import ChangeKind

logger = logging.getLogger(__name__)

RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class MeasuredLimit:
    # It holds for this model alone.
    model_id: str
    # Calls at once.
    concurrency: int
    load_test_id: str


class MeasuredLimits:
    """`run` follows the store until it is cancelled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.current: Mapping[AgentId, MeasuredLimit] = {}

    async def refresh(self) -> None:
        self.current = await self._store.read(_holding)

    async def run(self) -> None:
        while True:
            try:
                async for changes in watch(self._store):
                    if ChangeKind.LOAD_TEST in changes.kinds:
                        await self.refresh()
            except SQLAlchemyError:
                # What is held stays in use.
                logger.exception("could not read measured limits, trying again in %s s", RETRY_S)
                await asyncio.sleep(RETRY_S)


def find_limit(session: Session, agent_id: str) -> QueueLimit | None:
    """The one that holds."""
    row = session.get(QueueLimit, agent_id)
    return row if row is not None and row.cleared_unix_ms is None else None


def set_limit(session: Session, test: LoadTest, concurrency: int) -> None:
    row = session.get(QueueLimit, test.agent_id) or QueueLimit(
        agent_id=test.agent_id, model_id="", concurrency=0, load_test_id=test.id, set_unix_ms=0
    )
    row.model_id, row.concurrency, row.load_test_id = test.model_id, concurrency, test.id
    row.set_unix_ms, row.cleared_unix_ms = unix_ms(), None
    session.add(row)
    announce(session, ChangeKind.LOAD_TEST, test.agent_id)


def clear_limit(session: Session, *, agent_id: str, actor: str) -> QueueLimit:
    """The card's queue is limited as before any load test. Raises Unknown."""
    row = find_limit(session, agent_id)
    if row is None:
        raise Unknown("measured limit of agent", agent_id)
    row.cleared_unix_ms = unix_ms()
    session.add(row)
    detail = {"concurrency": row.concurrency, "load_test": row.load_test_id}
    test = session.get(LoadTest, row.load_test_id)
    tenant_id = test.tenant_id if test else None
    audit(
        session,
        actor=actor,
        action="load_test.limit_cleared",
        subject=agent_id,
        tenant_id=tenant_id,
        detail=detail,
    )
    announce(session, ChangeKind.LOAD_TEST, agent_id)
    return row


def _holding(session: Session) -> Mapping[AgentId, MeasuredLimit]:
    rows = session.exec(select(QueueLimit).where(col(QueueLimit.cleared_unix_ms).is_(None)))
    return {
        AgentId(row.agent_id): MeasuredLimit(row.model_id, row.concurrency, row.load_test_id) for row in rows
    }
