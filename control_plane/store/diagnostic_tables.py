"""The tables of diagnostics: runs on agents, and what each check found."""

from sqlalchemy import Column, Index, Text, false
from sqlmodel import Field, SQLModel

from control_plane.store.tables import ms


class DiagnosticRun(SQLModel, table=True):
    """One look over a host. A row without an end lost its process, or is under way."""

    __tablename__ = "diagnostic_run"
    __table_args__ = (Index("diagnostic_run_by_agent", "agent_id", "started_unix_ms"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    agent_id: str = Field(foreign_key="agent.id")
    level: int
    actor: str
    started_unix_ms: int = Field(sa_column=ms())
    ended_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    # Why it ended before its last check, in words.
    error: str | None = None
    # "host", or "pipeline": every stage from the card to the page.
    kind: str = Field(default="host", sa_column_kwargs={"server_default": "host"})
    # A run whose process is gone is lost once this is past. None: of a version that knew no leases.
    lease_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    cancelled_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))
    # What it took from the card's service, and gives back when it ends: its calls, its model, and when that
    # was; another wish for a model since then has another time.
    took_calls: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    took_model_id: str | None = None
    took_model_unix_ms: int | None = Field(default=None, sa_column=ms(nullable=True))


class DiagnosticFinding(SQLModel, table=True):
    """What a check found, in the agent's own words."""

    __tablename__ = "diagnostic_finding"
    run_id: str = Field(primary_key=True, foreign_key="diagnostic_run.id")
    # From 1, in the order in which checks ended.
    position: int = Field(primary_key=True)
    check_name: str
    title: str
    verdict: str
    saw: str = Field(sa_column=Column(Text, nullable=False))
    advice: str = Field(sa_column=Column(Text, nullable=False))
    duration_ms: int
    # JSON: a list of {"command": …, "output": …}.
    evidence: str = Field(sa_column=Column(Text, nullable=False))
