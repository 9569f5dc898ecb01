"""The tables of the economy: pools, plans, prices, quota, usage and the ledger.

Money is integers: prices in micro-USD per million tokens, so that tokens times price is exact in pico-USD,
which is what usage and ledger rows hold (64 bits carry 9.2 million USD in one amount). Shares are basis
points. Prices and shares are versions with a start time; what an attempt was made under is frozen in its
terms.
"""

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from control_plane.store.tables import big, ms


class PoolKind(StrEnum):
    HOSTED = "hosted"  # operator-run cards only
    PROVIDER = "provider"  # cards contributed by tenants


class Billing(StrEnum):
    FREE = "free"  # what it earns a provider is never payable
    INVOICED = "invoiced"


class Overage(StrEnum):
    """What happens to a call that the month's quota does not cover."""

    STOP = "stop"
    EXTERNAL = "external"


class TrustPolicy(StrEnum):
    """Whose cards of a pool may serve a tenant. For coding calls it is always OPERATOR_CARDS."""

    OPERATOR_CARDS = "operator_cards"
    ANY_POOL_CARD = "any_pool_card"


class HoldState(StrEnum):
    OPEN = "open"
    SETTLED = "settled"
    VOID = "void"


class TransactionKind(StrEnum):
    SETTLEMENT = "settlement"
    REVERSAL = "reversal"
    RELEASE = "release"  # held credit became payable: the consumer's statement was paid


class Account(StrEnum):
    """Whose part an entry is. A provider's accounts are kept for each of its agents."""

    CONSUMER = "consumer"
    PLATFORM = "platform"
    NON_PAYABLE = "non_payable"  # credit from free usage
    HELD = "held"  # credit from invoiced usage that is not paid yet
    PAYABLE = "payable"


class Measure(StrEnum):
    """Which tokens of its calls a provider claimed too many of."""

    PROMPT = "prompt"
    COMPLETION = "completion"


class TenantPolicy(SQLModel, table=True):
    """What the operator and the tenant decided about a tenant; no row means the defaults of these fields."""

    __tablename__ = "tenant_policy"
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    # The operator's own tenant: its cards are operator-run.
    is_operator: bool = False
    trust: str = TrustPolicy.OPERATOR_CARDS
    external_allowed: bool = False
    external_cap_micro_usd: int = Field(default=0, sa_column=big())


class Pool(SQLModel, table=True):
    __tablename__ = "pool"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    kind: str
    # Serves tenants that have no subscription; hosted pools only.
    default_plan_id: str | None = Field(default=None, foreign_key="plan.id")
    created_unix_ms: int = Field(sa_column=ms())


class PoolShare(SQLModel, table=True):
    """What a card's tenant earns of a charge, from `starts_unix_ms` on."""

    __tablename__ = "pool_share"
    __table_args__ = (CheckConstraint("share_basis_points BETWEEN 0 AND 10000", name="share_in_range"),)
    pool_id: str = Field(primary_key=True, foreign_key="pool.id")
    starts_unix_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    share_basis_points: int


class Price(SQLModel, table=True):
    """A pool's prices of one model, from `starts_unix_ms` on. A model without one is not routable there."""

    __tablename__ = "price"
    __table_args__ = (
        CheckConstraint(
            "input_micro_usd_per_mtok >= 0 AND output_micro_usd_per_mtok >= 0"
            " AND cached_input_micro_usd_per_mtok >= 0",
            name="price_not_negative",
        ),
    )
    pool_id: str = Field(primary_key=True, foreign_key="pool.id")
    model: str = Field(primary_key=True, description="served name")
    starts_unix_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    input_micro_usd_per_mtok: int = Field(sa_column=big())
    output_micro_usd_per_mtok: int = Field(sa_column=big())
    # Charged for cached input on operator cards only; elsewhere the input price applies.
    cached_input_micro_usd_per_mtok: int = Field(sa_column=big())


class Plan(SQLModel, table=True):
    """Terms of use of a pool. A change is a new plan: subscriptions name the one they were sold."""

    __tablename__ = "plan"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    monthly_tokens: int = Field(sa_column=big())
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_calls: int
    # Asked for where a call names no max_tokens, unless less is left.
    default_output_tokens: int = 1024
    overage: str
    billing: str
    created_unix_ms: int = Field(sa_column=ms())


class Contribution(SQLModel, table=True):
    """A tenant lends a card host's spare capacity to a pool, until withdrawn."""

    __tablename__ = "contribution"
    # A card is lent to one pool at a time.
    __table_args__ = (
        Index(
            "contribution_live",
            "agent_id",
            unique=True,
            sqlite_where=text("withdrawn_unix_ms IS NULL"),
            postgresql_where=text("withdrawn_unix_ms IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    pool_id: str = Field(foreign_key="pool.id", index=True)
    agent_id: str = Field(foreign_key="agent.id")
    tenant_id: str = Field(foreign_key="tenant.id")
    created_unix_ms: int = Field(sa_column=ms())
    withdrawn_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class Subscription(SQLModel, table=True):
    __tablename__ = "subscription"
    __table_args__ = (
        Index(
            "subscription_live",
            "tenant_id",
            "pool_id",
            unique=True,
            sqlite_where=text("ended_unix_ms IS NULL"),
            postgresql_where=text("ended_unix_ms IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    pool_id: str = Field(foreign_key="pool.id")
    plan_id: str = Field(foreign_key="plan.id")
    created_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class QuotaMonth(SQLModel, table=True):
    """A tenant's use of a pool in one calendar month (UTC, "2026-11"), made when the first hold needs it.

    The quota is the largest that was granted in the month: a smaller plan stops new holds, and does not
    make what was used before unlawful.
    """

    __tablename__ = "quota_month"
    __table_args__ = (
        CheckConstraint("used_tokens >= 0 AND held_tokens >= 0", name="quota_not_negative"),
        CheckConstraint("used_tokens + held_tokens <= quota_tokens", name="quota_not_exceeded"),
    )
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    pool_id: str = Field(primary_key=True, foreign_key="pool.id")
    month: str = Field(primary_key=True)
    quota_tokens: int = Field(sa_column=big())
    used_tokens: int = Field(default=0, sa_column=big())
    held_tokens: int = Field(default=0, sa_column=big())


class ExternalMonth(SQLModel, table=True):
    """What a tenant spent at vendors in one calendar month; the cap is the largest of the month."""

    __tablename__ = "external_month"
    __table_args__ = (
        CheckConstraint("used_pico_usd >= 0 AND held_pico_usd >= 0", name="spend_not_negative"),
        CheckConstraint("used_pico_usd + held_pico_usd <= cap_pico_usd", name="cap_not_exceeded"),
    )
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    month: str = Field(primary_key=True)
    cap_pico_usd: int = Field(sa_column=big())
    used_pico_usd: int = Field(default=0, sa_column=big())
    held_pico_usd: int = Field(default=0, sa_column=big())


class AttemptTerms(SQLModel, table=True):
    """What a pool or external attempt was made under, frozen with it: its hold, prices, share and billing,
    and whom to credit.

    The checkpoint is the last running usage that was made durable while the answer was under way.
    """

    __tablename__ = "attempt_terms"
    __table_args__ = (
        Index(
            "attempt_terms_open",
            "opened_unix_ms",
            sqlite_where=text("hold_state = 'open'"),
            postgresql_where=text("hold_state = 'open'"),
        ),
        Index("attempt_terms_month", "tenant_id", "month"),
    )
    attempt_id: str = Field(primary_key=True, foreign_key="attempt.id")
    call_id: str = Field(foreign_key="call.id", index=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    api_key_id: str = Field(foreign_key="api_key.id")
    tier: str
    # Of a pool attempt.
    pool_id: str | None = Field(default=None, foreign_key="pool.id")
    plan_id: str | None = Field(default=None, foreign_key="plan.id")
    agent_id: str | None = Field(default=None, foreign_key="agent.id")
    agent_tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    # Of an external one.
    vendor: str | None = None
    model: str = Field(description="served name")
    month: str
    billing: str
    operator_card: bool
    input_micro_usd_per_mtok: int = Field(sa_column=big())
    output_micro_usd_per_mtok: int = Field(sa_column=big())
    cached_input_micro_usd_per_mtok: int = Field(sa_column=big())
    share_basis_points: int
    hold_tokens: int = Field(sa_column=big())
    # 0 in a pool, where the quota is in tokens.
    hold_pico_usd: int = Field(default=0, sa_column=big())
    hold_state: str
    checkpoint_prompt_tokens: int = Field(default=0, sa_column=big())
    checkpoint_completion_tokens: int = Field(default=0, sa_column=big())
    opened_unix_ms: int = Field(sa_column=ms())


class UsageRecord(SQLModel, table=True):
    """What one settled call used, and what it cost and earned. One per call; own-card calls cost 0."""

    __tablename__ = "usage_record"
    __table_args__ = (
        Index("usage_by_tenant", "tenant_id", "month"),
        Index("usage_by_provider", "agent_tenant_id", "month"),
        Index("usage_by_agent", "agent_id", "settled_unix_ms"),
    )
    call_id: str = Field(primary_key=True, foreign_key="call.id")
    attempt_id: str = Field(foreign_key="attempt.id", unique=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    api_key_id: str = Field(foreign_key="api_key.id")
    tier: str
    pool_id: str | None = Field(default=None, foreign_key="pool.id")
    agent_id: str | None = Field(default=None, foreign_key="agent.id")
    agent_tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    vendor: str | None = None
    model: str = Field(description="served name")
    month: str
    billing: str | None = None
    prompt_tokens: int = Field(sa_column=big())
    cached_prompt_tokens: int = Field(default=0, sa_column=big())
    completion_tokens: int = Field(sa_column=big())
    # What the engine said and what the gateway counted; None: said or counted nothing.
    claimed_prompt_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    claimed_completion_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    counted_prompt_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    counted_completion_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    charge_pico_usd: int = Field(sa_column=big())
    credit_pico_usd: int = Field(sa_column=big())
    settled_unix_ms: int = Field(sa_column=ms())


class LedgerTransaction(SQLModel, table=True):
    """Entries that sum to zero. Never changed: a correction is a REVERSAL."""

    __tablename__ = "ledger_transaction"
    # A call is settled once, and a transaction reversed once.
    __table_args__ = (
        UniqueConstraint("kind", "call_id"),
        UniqueConstraint("reverses_id"),
        Index("ledger_transaction_statement", "consumer_tenant_id", "month"),
    )
    id: str = Field(primary_key=True)
    kind: str
    call_id: str | None = Field(default=None, foreign_key="call.id")
    reverses_id: str | None = Field(default=None, foreign_key="ledger_transaction.id")
    # The statement that it belongs to.
    consumer_tenant_id: str = Field(foreign_key="tenant.id")
    month: str
    at_unix_ms: int = Field(sa_column=ms())


class LedgerEntry(SQLModel, table=True):
    """One account's part of a transaction; positive is what the platform owes to the account."""

    __tablename__ = "ledger_entry"
    __table_args__ = (Index("ledger_entry_of_tenant", "tenant_id", "account"),)
    transaction_id: str = Field(primary_key=True, foreign_key="ledger_transaction.id")
    line: int = Field(primary_key=True)
    account: str
    # None: the platform.
    tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    # The card that earned it; None: not a provider's account.
    agent_id: str | None = Field(default=None, foreign_key="agent.id")
    amount_pico_usd: int = Field(sa_column=big())


class StatementPaid(SQLModel, table=True):
    """The operator saw a tenant's month paid; its providers' held credit was released with this row, but for
    that of flagged cards."""

    __tablename__ = "statement_paid"
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    month: str = Field(primary_key=True)
    charge_pico_usd: int = Field(sa_column=big())
    # None: no credit was released with it.
    release_id: str | None = Field(default=None, foreign_key="ledger_transaction.id")
    paid_unix_ms: int = Field(sa_column=ms())


class ProviderFlag(SQLModel, table=True):
    """A card's engine claimed more tokens than were counted; its held credit stays held until cleared.

    The numbers are those that it was flagged by.
    """

    __tablename__ = "provider_flag"
    __table_args__ = (
        Index(
            "provider_flag_open",
            "agent_id",
            unique=True,
            sqlite_where=text("cleared_unix_ms IS NULL"),
            postgresql_where=text("cleared_unix_ms IS NULL"),
        ),
    )
    agent_id: str = Field(primary_key=True, foreign_key="agent.id")
    since_unix_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    measure: str
    calls: int
    claimed_tokens: int = Field(sa_column=big())
    counted_tokens: int = Field(sa_column=big())
    cleared_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
