"""A small economy in a store: an operator, a provider, consumers, a pool with a price; calls in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from control_plane.economy import (
    CardRing,
    ExternalPolicy,
    Held,
    NewTerms,
    PlanTerms,
    PoolCard,
    PoolOffer,
    PoolPlace,
    PriceTerms,
    QuotaExceeded,
    VendorPlace,
    hold,
    hold_all,
)
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId, PlanId, PoolId, TenantId
from control_plane.store.economy_tables import Billing, Overage, Plan, Pool, PoolKind, TenantPolicy
from control_plane.store.tables import Agent, ApiKey, Attempt, Call, Connection, Tenant

# 2026-11-10 and 2026-12-10, UTC.
NOVEMBER_MS = 1_794_300_000_000
DECEMBER_MS = NOVEMBER_MS + 30 * 86_400_000
PRICE = PriceTerms(150_000, 600_001, 50_000)
FREE = PlanTerms(PlanId("plan-free"), "free", 1_000, 60, 10_000, 4, 64, Overage.STOP, Billing.FREE)
INVOICED = replace(FREE, plan_id=PlanId("plan-invoiced"), name="invoiced", billing=Billing.INVOICED)
POOL = PoolId("pool-1")
PROVIDERS_CARD = PoolCard(AgentId("agt-provider"), TenantId("ten-provider"), operator_run=False)
SECOND_CARD = PoolCard(AgentId("agt-second"), TenantId("ten-provider"), operator_run=False)
OPERATORS_CARD = PoolCard(AgentId("agt-operator"), TenantId("ten-operator"), operator_run=True)
CARDS = (PROVIDERS_CARD, SECOND_CARD, OPERATORS_CARD)
CONSUMER = TenantId("ten-consumer")
CONSUMERS_AGENT = AgentId("agt-consumer")


def offer(plan: PlanTerms = INVOICED, share_basis_points: int = 7_001) -> PoolOffer:
    operators = CardRing((OPERATORS_CARD,))
    return PoolOffer(
        POOL, "shared", PoolKind.PROVIDER, plan, True, CardRing(CARDS), operators, PRICE, share_basis_points
    )


def add_economy(session: Session) -> None:
    for tenant in ("operator", "provider", "consumer"):
        session.add(Tenant(id=f"ten-{tenant}", name=tenant, created_unix_ms=1))
    session.flush()
    session.add(TenantPolicy(tenant_id="ten-operator", is_operator=True))
    for tenant, agent in [
        ("operator", "agt-operator"),
        ("provider", "agt-provider"),
        ("provider", "agt-second"),
        ("consumer", "agt-consumer"),
    ]:
        session.add(_agent(agent, f"ten-{tenant}"))
    for tenant in ("operator", "provider", "consumer"):
        session.add(
            ApiKey(
                id=f"key-{tenant}",
                tenant_id=f"ten-{tenant}",
                name="k",
                hint="h",
                hash_sha256=tenant.encode(),
                purpose="general",
                created_unix_ms=1,
            )
        )
    for plan in (FREE, INVOICED):
        session.add(
            Plan(
                id=plan.plan_id,
                name=plan.name,
                monthly_tokens=plan.monthly_tokens,
                requests_per_minute=plan.requests_per_minute,
                tokens_per_minute=plan.tokens_per_minute,
                concurrent_calls=plan.concurrent_calls,
                default_output_tokens=plan.default_output_tokens,
                overage=plan.overage,
                billing=plan.billing,
                created_unix_ms=1,
            )
        )
    session.add(Pool(id=POOL, name="shared", kind=PoolKind.PROVIDER, created_unix_ms=1))
    session.flush()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """An attempt as a gateway would make it; its ids come from `number`."""

    number: int
    place: PoolPlace | VendorPlace
    prompt_tokens: int = 10
    max_tokens: int = 20
    choices: int = 1
    shrinkable: bool = False
    now_unix_ms: int = NOVEMBER_MS
    # The call of another number, where this is a later attempt of it.
    of_call: int | None = None

    @property
    def call_id(self) -> CallId:
        return CallId(f"call-{self.number if self.of_call is None else self.of_call}")

    @property
    def attempt_id(self) -> AttemptId:
        return AttemptId(f"att-{self.number}")

    @property
    def terms(self) -> NewTerms:
        return NewTerms(
            attempt_id=self.attempt_id,
            call_id=self.call_id,
            tenant_id=CONSUMER,
            api_key_id=ApiKeyId("key-consumer"),
            model="tiny",
            place=self.place,
            prompt_tokens=self.prompt_tokens,
            max_tokens=self.max_tokens,
            choices=self.choices,
            shrinkable=self.shrinkable,
            now_unix_ms=self.now_unix_ms,
        )

    def __call__(self, session: Session) -> Held | QuotaExceeded:
        """A unit of work: the hold, with the call's and the attempt's rows."""
        return hold(session, self.terms, self.save)

    def save(self, session: Session) -> None:
        pool = isinstance(self.place, PoolPlace)
        add_attempt(
            session,
            self.call_id,
            self.attempt_id,
            tier="pool" if pool else "external",
            card=self.place.card if isinstance(self.place, PoolPlace) else None,
            now_unix_ms=self.now_unix_ms,
        )


def dispatch_all(session: Session, dispatches: Sequence[Dispatch]) -> list[Held | QuotaExceeded]:
    """The same for several, in one batch."""

    def save(session: Session, held: list[Dispatch]) -> None:
        for each in held:
            each.save(session)

    return hold_all(session, [(each.terms, each) for each in dispatches], save)


def in_pool(
    number: int, *, plan: PlanTerms = INVOICED, card: PoolCard = PROVIDERS_CARD, **fields: int
) -> Dispatch:
    return Dispatch(number, PoolPlace(offer(plan), card), **fields)  # type: ignore[arg-type]


def at_vendor(number: int, *, cap_micro_usd: int = 1_000, **fields: int) -> Dispatch:
    place = VendorPlace("vendor", PRICE, ExternalPolicy(True, cap_micro_usd))
    return Dispatch(number, place, **fields)  # type: ignore[arg-type]


def add_attempt(
    session: Session,
    call_id: str,
    attempt_id: str,
    *,
    tier: str,
    card: PoolCard | None,
    now_unix_ms: int = NOVEMBER_MS,
) -> None:
    if session.get(Call, call_id) is None:
        session.add(
            Call(
                id=call_id,
                tenant_id=CONSUMER,
                api_key_id="key-consumer",
                purpose="general",
                path="/v1/chat/completions",
                model="tiny",
                streamed=True,
                outcome="running",
                tier=tier,
                started_unix_ms=now_unix_ms,
                decision="{}",
            )
        )
        session.flush()
    session.add(
        Attempt(
            id=attempt_id,
            call_id=call_id,
            number=1,
            tier=tier,
            agent_id=card.agent_id if card is not None else None,
            agent_tenant_id=card.tenant_id if card is not None else None,
            outcome="running",
            started_unix_ms=now_unix_ms,
        )
    )
    session.flush()


def _agent(agent_id: str, tenant_id: str) -> Agent:
    return Agent(
        id=agent_id,
        tenant_id=tenant_id,
        name=agent_id,
        connection=Connection.DIRECT,
        rpc_port=7443,
        engine_port=7400,
        wireguard_public_key=agent_id,
        tls_key_sha256=agent_id.encode(),
        certificate_pem="",
        certificate_expires_unix_ms=1,
        agent_version="0.1.0",
        created_unix_ms=1,
    )
