"""Flags: a provider's card whose engine's claims drift is flagged, and its held credit kept back until the
operator, who has looked into it, clears the flag."""

from collections.abc import Mapping

from sqlmodel import Session, col, select

from control_plane.access import Unknown, audit
from control_plane.economy import sql
from control_plane.economy.drift import WINDOWS_CALLS, Drift, Metered, judge
from control_plane.economy.ledger import Transaction, kept_back, post, release_entries
from control_plane.store import announce
from control_plane.store.economy_tables import (
    AttemptTerms,
    Contribution,
    Measure,
    ProviderFlag,
    TransactionKind,
    UsageRecord,
)
from control_plane.store.tables import Agent, Call, CallOutcome, ChangeKind

# The actor where no person acted.
JUDGE = "drift judge"


def flagged_agents(session: Session) -> frozenset[str]:
    return frozenset(
        session.exec(select(ProviderFlag.agent_id).where(col(ProviderFlag.cleared_unix_ms).is_(None)))
    )


def find_drift(session: Session) -> dict[str, Drift]:
    """By agent, of those that are not flagged. Reads at most the 1,000 newest calls of each card that was
    ever lent; for a reading session, since a busy card takes some milliseconds."""
    flagged = flagged_agents(session)
    lent = session.exec(select(Contribution.agent_id).distinct()).all()
    cleared: dict[str, int] = {}
    for flag in session.exec(select(ProviderFlag).where(col(ProviderFlag.cleared_unix_ms).is_not(None))):
        cleared[flag.agent_id] = max(cleared.get(flag.agent_id, 0), flag.cleared_unix_ms or 0)
    found = {}
    for agent_id in sorted(set(lent) - flagged):
        # What was cleared is not held against it again.
        drift = _drift(session, agent_id, since_unix_ms=cleared.get(agent_id, 0))
        if drift is not None:
            found[agent_id] = drift
    return found


MOST_STORED = 2**63 - 1


def judge_providers(session: Session, now_unix_ms: int) -> list[str]:
    """Flags every card that find_drift finds, and returns their agents; for a writing session, after
    find_drift found something in a reading one."""
    sql.one_writer_at_a_time(session)
    found = find_drift(session)
    for agent_id, drift in found.items():
        agent = session.get_one(Agent, agent_id)
        session.add(
            ProviderFlag(
                agent_id=agent_id,
                since_unix_ms=now_unix_ms,
                tenant_id=agent.tenant_id,
                measure=drift.measure,
                calls=drift.calls,
                # Of claims that were stored before they were checked there may be more than fits.
                claimed_tokens=min(drift.claimed_tokens, MOST_STORED),
                counted_tokens=drift.counted_tokens,
            )
        )
        detail = {
            "measure": drift.measure,
            "calls": drift.calls,
            "claimed_tokens": drift.claimed_tokens,
            "counted_tokens": drift.counted_tokens,
        }
        _record(session, actor=JUDGE, action="provider.flagged", agent=agent, detail=detail)
    return list(found)


def list_flags(session: Session, *, cleared: bool = False) -> list[tuple[ProviderFlag, str]]:
    """With the agent's name; the newest first. `cleared`: also those that were cleared."""
    query = select(ProviderFlag, Agent.name).join(Agent, col(Agent.id) == col(ProviderFlag.agent_id))
    if not cleared:
        query = query.where(col(ProviderFlag.cleared_unix_ms).is_(None))
    newest = query.order_by(col(ProviderFlag.since_unix_ms).desc(), col(ProviderFlag.agent_id))
    return [(flag, name) for flag, name in session.exec(newest)]


def clear_flag(session: Session, agent: Agent, *, actor: str, now_unix_ms: int) -> ProviderFlag:
    """Its credit from statements that were paid meanwhile becomes payable at once.

    Raises Unknown where the agent is not flagged.
    """
    sql.one_writer_at_a_time(session)
    flag = session.exec(
        select(ProviderFlag).where(
            ProviderFlag.agent_id == agent.id, col(ProviderFlag.cleared_unix_ms).is_(None)
        )
    ).first()
    if flag is None:
        raise Unknown("flag of agent", agent.id)
    flag.cleared_unix_ms = now_unix_ms
    session.add(flag)
    released = 0
    for kept in kept_back(session, agent.id):
        post(
            session,
            Transaction(TransactionKind.RELEASE, kept.consumer_tenant_id, kept.month, now_unix_ms),
            release_entries((kept.balance,)),
        )
        released += kept.balance.amount_pico_usd
    detail = {"released_pico_usd": released}
    _record(session, actor=actor, action="provider.cleared", agent=agent, detail=detail)
    return flag


def _drift(session: Session, agent_id: str, *, since_unix_ms: int) -> Drift | None:
    query = (
        select(
            UsageRecord.claimed_prompt_tokens,
            UsageRecord.counted_prompt_tokens,
            UsageRecord.claimed_completion_tokens,
            UsageRecord.counted_completion_tokens,
        )
        .join(AttemptTerms, col(AttemptTerms.attempt_id) == col(UsageRecord.attempt_id))
        .join(Call, col(Call.id) == col(UsageRecord.call_id))
        .where(
            # Of a call that was cut or lost, claim and count may be of different parts of the answer.
            Call.outcome == CallOutcome.COMPLETE,
            UsageRecord.agent_id == agent_id,
            UsageRecord.settled_unix_ms > since_unix_ms,
            col(AttemptTerms.operator_card).is_(False),
            col(UsageRecord.claimed_completion_tokens).is_not(None),
            col(UsageRecord.counted_completion_tokens).is_not(None),
        )
        .order_by(col(UsageRecord.settled_unix_ms).desc())
        .limit(max(WINDOWS_CALLS))
    )
    prompts: list[Metered] = []
    completions: list[Metered] = []
    for claimed_prompt, counted_prompt, claimed_completion, counted_completion in session.exec(query):
        prompts.append(Metered(claimed_prompt or 0, counted_prompt or 0))
        completions.append(Metered(claimed_completion or 0, counted_completion or 0))
    return judge(Measure.PROMPT, prompts) or judge(Measure.COMPLETION, completions)


def _record(session: Session, *, actor: str, action: str, agent: Agent, detail: Mapping[str, object]) -> None:
    audit(session, actor=actor, action=action, subject=agent.id, tenant_id=agent.tenant_id, detail=detail)
    announce(session, ChangeKind.ECONOMY, agent.id)
