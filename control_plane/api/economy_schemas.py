"""What the REST interface takes and answers about the economy. Fields are only added."""

from pydantic import BaseModel, ConfigDict, Field

from control_plane.api.schemas import Request
from control_plane.economy import Role
from control_plane.store.economy_tables import Billing, Measure, Overage, PoolKind, TrustPolicy

# Of pydantic's integers into 64-bit columns; rooms have narrower limits of their own.
_MOST = 2**62


class OfRow(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class PoolRequest(Request):
    name: str
    kind: PoolKind
    # Serves tenants without a subscription; hosted pools only.
    default_plan: str | None = None


class PoolResponse(OfRow):
    id: str
    name: str
    kind: PoolKind
    default_plan_id: str | None
    created_unix_ms: int


class ContributionRequest(Request):
    agent: str


class ContributionResponse(OfRow):
    id: str
    pool_id: str
    agent_id: str
    tenant_id: str
    created_unix_ms: int
    withdrawn_unix_ms: int | None


class LentCardResponse(OfRow):
    agent_id: str
    agent_name: str
    tenant_id: str
    operator_run: bool


class PriceRequest(Request):
    model: str
    input_micro_usd_per_mtok: int = Field(ge=0, le=_MOST)
    output_micro_usd_per_mtok: int = Field(ge=0, le=_MOST)
    # Default: the input price.
    cached_input_micro_usd_per_mtok: int | None = Field(default=None, ge=0, le=_MOST)
    # Default: now.
    starts_unix_ms: int | None = Field(default=None, ge=0, le=_MOST)


class PriceResponse(OfRow):
    pool_id: str
    model: str
    starts_unix_ms: int
    input_micro_usd_per_mtok: int
    output_micro_usd_per_mtok: int
    cached_input_micro_usd_per_mtok: int


class ShareRequest(Request):
    share_basis_points: int = Field(ge=-_MOST, le=_MOST)
    starts_unix_ms: int | None = Field(default=None, ge=0, le=_MOST)


class ShareResponse(OfRow):
    pool_id: str
    starts_unix_ms: int
    share_basis_points: int


class PoolDetail(PoolResponse):
    share_basis_points: int
    cards: list[LentCardResponse]
    prices: list[PriceResponse]


class PlanRequest(Request):
    name: str
    monthly_tokens: int = Field(ge=-_MOST, le=_MOST)
    requests_per_minute: int = Field(ge=-_MOST, le=_MOST)
    tokens_per_minute: int = Field(ge=-_MOST, le=_MOST)
    concurrent_calls: int = Field(ge=-_MOST, le=_MOST)
    default_output_tokens: int = Field(default=1024, ge=-_MOST, le=_MOST)
    overage: Overage = Overage.STOP
    billing: Billing = Billing.INVOICED


class PlanResponse(OfRow):
    id: str
    name: str
    monthly_tokens: int
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_calls: int
    default_output_tokens: int
    overage: Overage
    billing: Billing
    created_unix_ms: int


class SubscriptionRequest(Request):
    tenant: str
    pool: str
    plan: str


class SubscriptionResponse(OfRow):
    id: str
    tenant_id: str
    pool_id: str
    plan_id: str
    created_unix_ms: int
    ended_unix_ms: int | None


class PolicyRequest(Request):
    """What is absent stays as it is."""

    is_operator: bool | None = None
    trust: TrustPolicy | None = None
    external_allowed: bool | None = None
    external_cap_micro_usd: int | None = Field(default=None, ge=-_MOST, le=_MOST)


class StandingResponse(OfRow):
    """A tenant's role, from what, and its policy."""

    tenant_id: str
    role: Role
    enrolled_cards: int
    live_contributions: int
    live_subscriptions: int
    is_operator: bool
    trust: TrustPolicy
    external_allowed: bool
    external_cap_micro_usd: int


class PaidRequest(Request):
    tenant: str
    month: str


class ReverseRequest(Request):
    call: str


class ReverseResponse(OfRow):
    transaction_id: str


class FlagResponse(OfRow):
    """A card that claimed more tokens than were counted, and the sums that showed it."""

    agent_id: str
    agent_name: str
    tenant_id: str
    since_unix_ms: int
    measure: Measure
    calls: int
    claimed_tokens: int
    counted_tokens: int
    cleared_unix_ms: int | None
