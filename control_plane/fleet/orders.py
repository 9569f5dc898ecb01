"""What operators order of the fleet. Each is one transaction, audited, and announced to every process."""

from collections.abc import Callable, Mapping

from sqlmodel import Session

from control_plane.access import Invalid, Unknown, audit
from control_plane.fleet.pool_hours import zone_of
from control_plane.fleet.pool_limits import PoolLimits
from control_plane.fleet.queries import pool_limits_of
from control_plane.store import Store, announce, unix_ms
from control_plane.store.tables import Agent, ChangeKind, Deployment


async def revoke(store: Store, agent_id: str, actor: str) -> None:
    """Ends an agent for good: its calls are cut, its tunnel closed, its keys and name never accepted again.

    Revoking it a second time changes nothing. Raises Unknown.
    """
    await store.write(lambda session: revoke_agent(session, agent_id=agent_id, actor=actor))


def revoke_agent(session: Session, *, agent_id: str, actor: str) -> None:
    agent = _agent(session, agent_id)
    if agent.revoked_unix_ms is not None:
        return
    agent.revoked_unix_ms = unix_ms()
    session.add(agent)
    deployment = session.get(Deployment, agent_id)
    if deployment is not None and deployment.model_id is not None:
        deployment.model_id = None
        deployment.changed_unix_ms = agent.revoked_unix_ms
        session.add(deployment)
        announce(session, ChangeKind.DEPLOYMENT, agent_id)
    audit(session, actor=actor, action="agent.revoked", subject=agent_id, tenant_id=agent.tenant_id)
    announce(session, ChangeKind.AGENT, agent_id)


def want_model(session: Session, *, agent_id: str, model_id: str | None, actor: str) -> None:
    """Sets the model that an agent is to serve; None: none. The same model again asks anew after a failure.

    Raises Unknown, and Invalid for a revoked agent. Whether the model exists is the caller's to check.
    """
    agent = _live_agent(session, agent_id)
    deployment = session.get(Deployment, agent_id) or Deployment(agent_id=agent_id, changed_unix_ms=0)
    deployment.model_id = model_id
    # Strictly later than before, also within one millisecond: the time tells one wish from the next.
    deployment.changed_unix_ms = max(unix_ms(), deployment.changed_unix_ms + 1)
    session.add(deployment)
    action = "deployment.wanted" if model_id else "deployment.cleared"
    detail = {"model_id": model_id} if model_id else {}
    audit(session, actor=actor, action=action, subject=agent_id, tenant_id=agent.tenant_id, detail=detail)
    announce(session, ChangeKind.DEPLOYMENT, agent_id)


def set_drained(session: Session, *, agent_id: str, drained: bool, actor: str) -> None:
    """Wants an agent to take no new call, or to take calls again. The same wish again changes nothing.

    Raises Unknown, and Invalid for a revoked agent.
    """
    agent = _live_agent(session, agent_id)
    if agent.drained != drained:
        agent.drained = drained
        _note(session, agent, actor, "agent.drained" if drained else "agent.resumed")


def set_pool_paused(session: Session, *, agent_id: str, paused: bool, actor: str) -> None:
    """As `set_drained`, for the calls of pools only."""
    agent = _live_agent(session, agent_id)
    if agent.pool_paused != paused:
        agent.pool_paused = paused
        _note(session, agent, actor, "agent.pool_paused" if paused else "agent.pool_resumed")


def set_pool_limits(
    session: Session, *, agent_id: str, change: Callable[[PoolLimits], PoolLimits], actor: str
) -> PoolLimits:
    """Changes what an owner allows of pool work; returns what holds then. No change is none in the audit.

    `change` may raise ValueErrors of PoolLimits and Window. Raises Unknown, and Invalid for a revoked agent
    and for limits that cannot be kept.
    """
    agent = _live_agent(session, agent_id)
    before = pool_limits_of(agent)
    try:
        limits = change(before)
        if limits.zone is not None and limits.zone != before.zone:
            zone_of(limits.zone)
    except ValueError as error:
        raise Invalid(str(error)) from error
    if limits != before:
        hours = list(map(str, limits.hours))
        agent.pool_hours, agent.pool_zone = "\n".join(hours) or None, limits.zone
        agent.pool_max_celsius, agent.pool_max_watts = limits.max_celsius, limits.max_watts
        action = "agent.pool_limits_set" if limits else "agent.pool_limits_cleared"
        detail = {
            "hours": hours,
            "zone": limits.zone,
            "max_celsius": limits.max_celsius,
            "max_watts": limits.max_watts,
        }
        _note(session, agent, actor, action, detail)
    return limits


def _note(
    session: Session, agent: Agent, actor: str, action: str, detail: Mapping[str, object] | None = None
) -> None:
    session.add(agent)
    audit(session, actor=actor, action=action, subject=agent.id, tenant_id=agent.tenant_id, detail=detail)
    announce(session, ChangeKind.AGENT, agent.id)


def rotate_ticket_key(session: Session, *, agent_id: str, actor: str) -> int:
    """Moves an agent to its next ticket key and returns its generation.

    The key before it stays accepted until the next rotation, so no call in flight is refused.
    Raises Unknown, and Invalid for a revoked agent.
    """
    agent = _live_agent(session, agent_id)
    agent.ticket_key_generation += 1
    session.add(agent)
    detail = {"generation": agent.ticket_key_generation}
    action = "ticket_key.rotated"
    audit(session, actor=actor, action=action, subject=agent_id, tenant_id=agent.tenant_id, detail=detail)
    announce(session, ChangeKind.AGENT, agent_id)
    return agent.ticket_key_generation


def _agent(session: Session, agent_id: str) -> Agent:
    agent = session.get(Agent, agent_id)
    if agent is None:
        raise Unknown("agent", agent_id)
    return agent


def _live_agent(session: Session, agent_id: str) -> Agent:
    agent = _agent(session, agent_id)
    if agent.revoked_unix_ms is not None:
        raise Invalid(f"agent {agent_id} is revoked: enrol the host again to use it")
    return agent
