"""The tables, one class each. SQL lives here, in migrations/ and in each room's queries module.

Rows are never deleted: what ends carries the time it ended. Times are integers, milliseconds since the
Unix epoch in UTC (`*_unix_ms`), so that SQLite and PostgreSQL store and compare them alike.
"""

from enum import StrEnum

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Text, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel


def ms(*, nullable: bool = False, index: bool = False) -> Column[int]:
    """A time."""
    return Column(BigInteger, nullable=nullable, index=index)


def big() -> Column[int]:
    """A 64-bit integer that is always there."""
    return Column(BigInteger, nullable=False)


class UserRole(StrEnum):
    ADMIN = "admin"
    MEMBER = "member"


class Purpose(StrEnum):
    """What a key's calls are for. A coding call never leaves its tenant's trusted perimeter."""

    GENERAL = "general"
    CODING = "coding"


class Connection(StrEnum):
    """How the control plane reaches an agent. DIRECT is loopback without a tunnel, for trying out."""

    TUNNEL = "tunnel"
    DIRECT = "direct"


class Tier(StrEnum):
    """Where a call may be served, in the order in which tiers are tried."""

    OWN = "own"
    POOL = "pool"
    EXTERNAL = "external"


class CallOutcome(StrEnum):
    """How a call ended. A row in RUNNING after a restart lost its settlement."""

    RUNNING = "running"
    COMPLETE = "complete"
    # The client went away; what was delivered is recorded.
    CLIENT_GONE = "client_gone"
    # No candidate could serve; nothing was delivered.
    REFUSED = "refused"
    # An error after content had gone out, or from the engine itself.
    FAILED = "failed"


class AttemptOutcome(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    FAILED = "failed"


class ChangeKind(StrEnum):
    """What a change row announces to the other processes."""

    ACCESS = "access"  # a tenant or an API key
    AGENT = "agent"  # an agent was added, revoked or renamed
    DEPLOYMENT = "deployment"  # a desired model
    RECEIPT = "receipt"
    LOAD_TEST = "load_test"  # queue limits that load tests measured
    ECONOMY = "economy"  # pools, cards lent to them, plans, prices, shares, subscriptions, policies


class Setting(SQLModel, table=True):
    """Facts of this deployment that are chosen once, such as its network."""

    __tablename__ = "setting"
    name: str = Field(primary_key=True)
    value: str = Field(sa_column=Column(Text, nullable=False))


class Tenant(SQLModel, table=True):
    __tablename__ = "tenant"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    created_unix_ms: int = Field(sa_column=ms())


class User(SQLModel, table=True):
    """`password_hash` is Argon2id in PHC form; None: no sign-in yet. Only one user of an address has one, so
    that address and password name a user."""

    __tablename__ = "user_account"
    __table_args__ = (
        UniqueConstraint("tenant_id", "email"),
        Index(
            "user_account_signs_in",
            "email",
            unique=True,
            sqlite_where=text("password_hash IS NOT NULL"),
            postgresql_where=text("password_hash IS NOT NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    email: str
    role: str
    created_unix_ms: int = Field(sa_column=ms())
    password_hash: str | None = None
    # Of the link by which a password is chosen, once.
    link_sha256: bytes | None = Field(
        default=None, sa_column=Column(LargeBinary(32), nullable=True, unique=True)
    )
    link_expires_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    removed_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class WebSession(SQLModel, table=True):
    """A browser that is signed in. Its secret is in the browser's cookie; only its SHA-256 is kept."""

    __tablename__ = "web_session"
    secret_sha256: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    # None: the operator, by the token whose tag follows.
    user_id: str | None = Field(default=None, foreign_key="user_account.id", index=True)
    operator_tag: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32), nullable=True))
    created_unix_ms: int = Field(sa_column=ms())
    expires_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class ApiKey(SQLModel, table=True):
    """A key is shown once; only its SHA-256 is kept. `hint` is its first characters, for people."""

    __tablename__ = "api_key"
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    name: str
    hint: str
    hash_sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False, unique=True))
    purpose: str
    created_unix_ms: int = Field(sa_column=ms())
    revoked_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    # No good from then on, whether or not anybody is left to revoke it. None: no end.
    expires_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    # The tenant's own card that alone its calls are for, as a load test's are. None: as routing says.
    only_agent_id: str | None = None


class Invite(SQLModel, table=True):
    """A one-time right to enrol one agent for a tenant."""

    __tablename__ = "invite"
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    token_sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False, unique=True))
    created_unix_ms: int = Field(sa_column=ms())
    expires_unix_ms: int = Field(sa_column=ms())
    claimed_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    # The agent that claimed it: the same keys may ask again, others may not.
    agent_id: str | None = Field(default=None, foreign_key="agent.id")


class Agent(SQLModel, table=True):
    """One GPU host. `tunnel_address` is set in tunnel mode only, and never given to another agent."""

    __tablename__ = "agent"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    name: str
    connection: str
    tunnel_address: str | None = Field(default=None, unique=True)
    rpc_port: int
    engine_port: int
    wireguard_public_key: str = Field(unique=True)
    # SHA-256 of the agent's TLS public key (SubjectPublicKeyInfo): no other key gets a certificate.
    tls_key_sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False, unique=True))
    certificate_pem: str = Field(sa_column=Column(Text, nullable=False))
    certificate_expires_unix_ms: int = Field(sa_column=ms())
    # Tickets are signed with the key of this generation; the one before it is still accepted.
    ticket_key_generation: int = 1
    # Receipts up to this sequence number are stored here.
    receipts_acknowledged: int = Field(default=0, sa_column=big())
    # Wishes that hold until they are taken back: no new call at all; no new call of a pool.
    drained: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    pool_paused: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    # What its owner allows of pool work: windows of the week, one a line, by the clock of an IANA zone, and
    # the most that a card may have. None: no limit.
    pool_hours: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    pool_zone: str | None = None
    pool_max_celsius: int | None = None
    pool_max_watts: int | None = None
    agent_version: str
    created_unix_ms: int = Field(sa_column=ms())
    revoked_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class Deployment(SQLModel, table=True):
    """The model that an agent is wanted to serve. No row, or an empty model: none."""

    __tablename__ = "deployment"
    agent_id: str = Field(primary_key=True, foreign_key="agent.id")
    model_id: str | None = None
    changed_unix_ms: int = Field(sa_column=ms())


class Call(SQLModel, table=True):
    """One inference request, from authentication to its end. Never a prompt, never a completion."""

    __tablename__ = "call"
    __table_args__ = (Index("call_by_tenant", "tenant_id", "started_unix_ms"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    api_key_id: str = Field(foreign_key="api_key.id")
    purpose: str
    path: str
    model: str = Field(description="as the client asked for it")
    streamed: bool
    outcome: str = Field(index=True)
    tier: str | None = None
    agent_id: str | None = Field(default=None, foreign_key="agent.id")
    prompt_tokens: int = Field(default=0, sa_column=big())
    completion_tokens: int = Field(default=0, sa_column=big())
    started_unix_ms: int = Field(sa_column=ms())
    first_token_ms: float | None = Field(default=None, description="from start to the first content token")
    duration_ms: float | None = None
    http_status: int | None = None
    error_code: str | None = None
    # JSON: the plan's candidates, what it left out and why, and each attempt's reason for ending.
    decision: str = Field(sa_column=Column(Text, nullable=False))


class Attempt(SQLModel, table=True):
    """One dispatch of a call to a card or a vendor, durable before a byte is sent there."""

    __tablename__ = "attempt"
    id: str = Field(primary_key=True)
    call_id: str = Field(foreign_key="call.id", index=True)
    number: int
    tier: str
    # None where a vendor served it.
    agent_id: str | None = Field(default=None, foreign_key="agent.id", index=True)
    agent_tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    outcome: str
    error: str | None = None
    prompt_tokens: int = Field(default=0, sa_column=big())
    completion_tokens: int = Field(default=0, sa_column=big())
    started_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class Receipt(SQLModel, table=True):
    """What an agent's gate saw of an attempt, as it reported it."""

    __tablename__ = "receipt"
    agent_id: str = Field(primary_key=True, foreign_key="agent.id")
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    # Not foreign keys: an agent's claim is stored as it came, also when it names what is not there.
    call_id: str = Field(index=True)
    attempt_id: str
    served_name: str
    http_status: int
    prompt_tokens: int = Field(sa_column=big())
    completion_tokens: int = Field(sa_column=big())
    accepted_unix_ms: int = Field(sa_column=ms())
    first_byte_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int = Field(sa_column=ms())
    outcome: str


class Audit(SQLModel, table=True):
    """Who changed what. `actor` is an operator, a user or an agent; `subject` the id of what changed."""

    __tablename__ = "audit"
    id: int | None = Field(default=None, primary_key=True)
    at_unix_ms: int = Field(sa_column=ms(index=True))
    tenant_id: str | None = Field(default=None, index=True)
    actor: str
    action: str
    subject: str
    detail: str = Field(default="{}", sa_column=Column(Text, nullable=False))


class Change(SQLModel, table=True):
    """Tells every process that something it may hold in memory changed; written in the same transaction."""

    __tablename__ = "change"
    id: int | None = Field(default=None, primary_key=True)
    kind: str
    subject: str


class RoutePin(SQLModel, table=True):
    """An administrator's word on where a tenant's calls of a model or a purpose go, until it ends."""

    __tablename__ = "route_pin"
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    model: str | None = None
    purpose: str | None = None
    tier: str
    pool_id: str | None = Field(default=None, foreign_key="pool.id")
    agent_id: str | None = Field(default=None, foreign_key="agent.id")
    created_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class Process(SQLModel, table=True):
    """A process that serves calls, from its start to its end. One that died has no end, and is not seen."""

    __tablename__ = "process"
    id: str = Field(primary_key=True)
    started_unix_ms: int = Field(sa_column=ms())
    seen_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
