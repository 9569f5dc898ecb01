"""Plans: terms of use, never changed once made."""

from dataclasses import dataclass

from sqlmodel import Session, col, or_, select

from control_plane.access import Duplicate, Invalid, Unknown, audit, check_name
from control_plane.identifiers import new_plan_id
from control_plane.store import announce, unix_ms
from control_plane.store.economy_tables import Billing, Overage, Plan
from control_plane.store.tables import ChangeKind

MOST_MONTHLY_TOKENS = 10**15
MOST_PER_MINUTE = 10**9


@dataclass(frozen=True, slots=True)
class NewPlan:
    name: str
    monthly_tokens: int
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_calls: int
    default_output_tokens: int
    overage: Overage
    billing: Billing


def create_plan(session: Session, new: NewPlan, *, actor: str) -> Plan:
    """Raises Invalid, or Duplicate where the name is taken."""
    check_name("plan", new.name)
    for what, value, least, most in (
        ("monthly tokens", new.monthly_tokens, 0, MOST_MONTHLY_TOKENS),
        ("requests per minute", new.requests_per_minute, 0, MOST_PER_MINUTE),
        ("tokens per minute", new.tokens_per_minute, 0, MOST_PER_MINUTE),
        ("concurrent calls", new.concurrent_calls, 0, MOST_PER_MINUTE),
        ("default output tokens", new.default_output_tokens, 1, 1_000_000),
    ):
        if not least <= value <= most:
            raise Invalid(f"a plan's {what} are {least} to {most}")
    if session.exec(select(Plan.id).where(Plan.name == new.name)).first():
        raise Duplicate(f"there is a plan named {new.name!r} already: plans do not change, name a new one")
    plan = Plan(
        id=new_plan_id(),
        name=new.name,
        monthly_tokens=new.monthly_tokens,
        requests_per_minute=new.requests_per_minute,
        tokens_per_minute=new.tokens_per_minute,
        concurrent_calls=new.concurrent_calls,
        default_output_tokens=new.default_output_tokens,
        overage=new.overage,
        billing=new.billing,
        created_unix_ms=unix_ms(),
    )
    session.add(plan)
    audit(session, actor=actor, action="plan.created", subject=plan.id, detail={"name": new.name})
    announce(session, ChangeKind.ECONOMY, plan.id)
    return plan


def find_plan(session: Session, id_or_name: str) -> Plan:
    """Raises Unknown."""
    plan = session.exec(
        select(Plan).where(or_(col(Plan.id) == id_or_name, col(Plan.name) == id_or_name))
    ).first()
    if plan is None:
        raise Unknown("plan", id_or_name)
    return plan


def list_plans(session: Session) -> list[Plan]:
    return list(session.exec(select(Plan).order_by(col(Plan.name))))
