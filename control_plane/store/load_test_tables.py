"""The tables of load tests: runs on own cards, what each step measured, and the limits that came of it."""

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from control_plane.store.tables import ms


class LoadTest(SQLModel, table=True):
    """A row without an end whose lease is over lost its process."""

    __tablename__ = "load_test"
    __table_args__ = (Index("load_test_by_agent", "agent_id", "started_unix_ms"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    agent_id: str = Field(foreign_key="agent.id")
    model_id: str
    api_key_id: str = Field(foreign_key="api_key.id")
    actor: str
    # JSON: the sweep as asked for.
    sweep: str = Field(sa_column=Column(Text, nullable=False))
    started_unix_ms: int = Field(sa_column=ms())
    # Its process says again and again that it lives; the key is good until then.
    lease_unix_ms: int = Field(sa_column=ms())
    cancelled_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    # Why it ended before its last step, in words.
    error: str | None = None
    # Calls at once; None: the sweep did not go far enough to see it.
    knee_concurrency: int | None = None


class LoadTestStep(SQLModel, table=True):
    """What the client measured at one concurrency."""

    __tablename__ = "load_test_step"
    load_test_id: str = Field(primary_key=True, foreign_key="load_test.id")
    concurrency: int = Field(primary_key=True)
    completed: int
    failed: int
    # Of the first that failed, in the client's words.
    error: str | None = None
    duration_s: float
    requests_per_s: float
    output_tokens_per_s: float
    ttft_p50_ms: float
    ttft_p90_ms: float
    ttft_p99_ms: float
    itl_p50_ms: float
    itl_p90_ms: float
    itl_p99_ms: float


class QueueLimit(SQLModel, table=True):
    """What the latest load test of an agent measured; holds while it serves that model, until cleared."""

    __tablename__ = "queue_limit"
    agent_id: str = Field(primary_key=True, foreign_key="agent.id")
    model_id: str
    concurrency: int
    load_test_id: str = Field(foreign_key="load_test.id")
    set_unix_ms: int = Field(sa_column=ms())
    cleared_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
