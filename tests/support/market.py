"""Pools over scripted engines: an operator's card, a provider's card, and a consumer who may use them."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from control_plane.economy import (
    NewPlan,
    PolicyChange,
    PriceTerms,
    Tokens,
    change_policy,
    contribute,
    create_plan,
    create_pool,
    set_price,
    set_share,
    start_subscription,
)
from control_plane.fleet import AgentView
from control_plane.gateway.ports import AnswerText
from control_plane.gateway.request import InferenceRequest
from control_plane.identifiers import TenantId
from control_plane.store import Store
from control_plane.store.economy_tables import Billing, Overage, PoolKind, TrustPolicy
from control_plane.store.tables import Agent, Tenant
from tests.support.gateway import OTHER_TENANT, TENANT, agent_view
from tests.support.gateway_engine import PROMPT_TOKENS

OPERATOR = TenantId("ten-operator")
PROVIDER = TENANT
CONSUMER = OTHER_TENANT
PRICE = PriceTerms(150_000, 600_001, 50_000)
SHARE_BASIS_POINTS = 7_001
MODEL = "tiny"
# What the scripted engine's model is in the catalogue.
MODEL_ID = "tiny-random-llama"


def operators_card(port: int, name: str = "hosted", **changes: Any) -> AgentView:
    return agent_view(name, port, tenant_id=OPERATOR, **changes)


def providers_card(port: int, name: str = "lent", **changes: Any) -> AgentView:
    return agent_view(name, port, tenant_id=PROVIDER, **changes)


@dataclass(frozen=True, slots=True)
class Terms:
    """Of the consumer's subscription."""

    monthly_tokens: int = 100_000
    requests_per_minute: int = 1_000
    tokens_per_minute: int = 10_000_000
    concurrent_calls: int = 100
    overage: Overage = Overage.STOP
    billing: Billing = Billing.INVOICED
    trust: TrustPolicy = TrustPolicy.ANY_POOL_CARD
    priced: bool = True
    # Whether the consumer has a subscription at all.
    subscribed: bool = True
    external_cap_micro_usd: int | None = None


def open_market(store: Store, agents: tuple[AgentView, ...], terms: Terms | None = None) -> None:
    """One pool, "shared", of these agents, to which the consumer is subscribed. Their rows must be there."""
    store.write_now(lambda session: _open(session, agents, terms or Terms()))


def _open(session: Session, agents: tuple[AgentView, ...], terms: Terms) -> None:
    operator = session.get(Tenant, OPERATOR)
    if operator is not None:
        change_policy(session, tenant=operator, change=PolicyChange(is_operator=True), actor="test")
        session.flush()
    pool = create_pool(session, name="shared", kind=PoolKind.PROVIDER, default_plan=None, actor="test")
    session.flush()
    for agent in agents:
        contribute(session, agent=session.get_one(Agent, agent.agent_id), pool=pool, actor="test")
    if terms.priced:
        set_price(session, pool=pool, model=MODEL, price=PRICE, starts_unix_ms=0, actor="test")
    set_share(session, pool=pool, share_basis_points=SHARE_BASIS_POINTS, starts_unix_ms=0, actor="test")
    plan = create_plan(
        session,
        NewPlan(
            "team",
            terms.monthly_tokens,
            terms.requests_per_minute,
            terms.tokens_per_minute,
            terms.concurrent_calls,
            64,
            terms.overage,
            terms.billing,
        ),
        actor="test",
    )
    session.flush()
    consumer = session.get_one(Tenant, CONSUMER)
    if terms.subscribed:
        start_subscription(session, tenant=consumer, pool=pool, plan=plan, actor="test")
    change = PolicyChange(
        trust=terms.trust,
        external_allowed=terms.external_cap_micro_usd is not None,
        external_cap_micro_usd=terms.external_cap_micro_usd or 0,
    )
    change_policy(session, tenant=consumer, change=change, actor="test")


class EventCounting:
    """Counts as the scripted engine does: a token for each event with text, and one for the end.

    Stands in for the models' tokenizers, which have tests of their own.
    """

    def __init__(self, models: Container[str] = frozenset({MODEL_ID})) -> None:
        self._models = models

    @property
    def models(self) -> Container[str]:
        return self._models

    def text_of(self, request: InferenceRequest) -> "Events":
        return Events()

    async def prompt_tokens(self, model_id: str, request: InferenceRequest) -> int:
        return PROMPT_TOKENS

    async def count(self, model_id: str, request: InferenceRequest, text: AnswerText) -> Tokens:
        assert isinstance(text, Events)
        return Tokens(PROMPT_TOKENS, text.count())


class Events:
    def __init__(self) -> None:
        self._seen = bytearray()

    def events(self, data: bytes) -> None:
        self._seen += data

    def whole(self, body: bytes) -> None:
        # An answer of the scripted engine has 5 tokens, whatever its text.
        self._seen += b'"content":"x"' * 5

    def so_far(self) -> "Events":
        taken = Events()
        taken.events(bytes(self._seen))
        return taken

    def count(self) -> int:
        texts = self._seen.count(b'"content":"') - self._seen.count(b'"content":""')
        return texts + self._seen.count(b'"finish_reason":"stop"')
