"""The record of one call while it runs: what its row and its attempts' rows will say."""

from dataclasses import dataclass, field
from typing import Any

from control_plane.access import Principal
from control_plane.economy import Ending, Tokens
from control_plane.gateway.metering import NO_TOKENS
from control_plane.gateway.request import InferenceRequest
from control_plane.identifiers import AgentId, AttemptId, CallId, TenantId
from control_plane.router import AnyCandidate, AttemptEnd, AtVendor, Denial, Plan, Planned, decision_json
from control_plane.store.tables import AttemptOutcome, CallOutcome, Purpose, Tier

# Longer than any model's name; what a client made up does not fill the database.
_MOST_MODEL_CHARACTERS = 200


@dataclass(slots=True)
class AttemptRecord:
    id: AttemptId
    number: int
    candidate: AnyCandidate
    started_unix_ms: int
    outcome: AttemptOutcome = AttemptOutcome.RUNNING
    error: str | None = None
    tokens: Tokens = NO_TOKENS
    ended_unix_ms: int | None = None
    # The engine began an answer: it has read the prompt.
    accepted: bool = False

    @property
    def tier(self) -> Tier:
        return self.candidate.tier

    @property
    def agent_id(self) -> AgentId | None:
        """None: a vendor."""
        return None if isinstance(self.candidate, AtVendor) else self.candidate.agent.agent_id

    @property
    def agent_tenant_id(self) -> TenantId | None:
        return None if isinstance(self.candidate, AtVendor) else self.candidate.agent.tenant_id

    def row(self, call_id: CallId) -> dict[str, Any]:
        return {
            "id": self.id,
            "call_id": call_id,
            "number": self.number,
            "tier": self.tier,
            "agent_id": self.agent_id,
            "agent_tenant_id": self.agent_tenant_id,
            "outcome": self.outcome,
            "error": self.error,
            "prompt_tokens": self.tokens.prompt,
            "completion_tokens": self.tokens.completion,
            "started_unix_ms": self.started_unix_ms,
            "ended_unix_ms": self.ended_unix_ms,
        }

    def end(self) -> AttemptEnd:
        ended = self.ended_unix_ms or self.started_unix_ms
        return AttemptEnd(self.id, self.agent_id, self.error, float(ended - self.started_unix_ms))


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written of a call at one moment: its row, its attempts' rows, and what becomes of its hold."""

    call: dict[str, Any]
    attempts: list[dict[str, Any]]
    endings: tuple[Ending, ...]


@dataclass(slots=True)
class CallRecord:
    id: CallId
    principal: Principal
    purpose: Purpose
    request: InferenceRequest
    plan: Plan[AnyCandidate]
    started_unix_ms: int
    outcome: CallOutcome = CallOutcome.RUNNING
    first_token_ms: float | None = None
    duration_ms: float | None = None
    http_status: int | None = None
    error_code: str | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    # Pools and vendors of the plan that would not take the call.
    denials: list[Denial] = field(default_factory=list)
    # With the outcome: how the last attempt's hold is resolved.
    ending: Ending | None = None
    # Its end was not written when it should have been, and may be written late.
    end_is_late: bool = False
    # Holds of earlier attempts, which delivered nothing; written again with every entry, to no effect.
    given_back: list[Ending] = field(default_factory=list)
    _planned: Planned = field(init=False)

    def __post_init__(self) -> None:
        self._planned = Planned.of(self.plan)

    @property
    def tenant_id(self) -> TenantId:
        return self.principal.tenant_id

    @property
    def settled(self) -> bool:
        return self.outcome is not CallOutcome.RUNNING

    def end_attempt(self, outcome: AttemptOutcome, now_ms: int, tokens: Tokens, error: str | None) -> None:
        attempt = self.attempts[-1]
        attempt.outcome = outcome
        attempt.tokens = tokens
        attempt.error = error
        attempt.ended_unix_ms = now_ms

    def entry(self) -> Entry:
        """As of now."""
        last = self.attempts[-1] if self.attempts else None
        tokens = last.tokens if last is not None else NO_TOKENS
        ends = [attempt.end() for attempt in self.attempts]
        call = {
            "id": self.id,
            "tenant_id": self.tenant_id,
            "api_key_id": self.principal.api_key_id,
            "purpose": self.purpose,
            "path": self.request.asked_path,
            "model": self.request.model[:_MOST_MODEL_CHARACTERS].replace("\0", "\ufffd"),
            "streamed": self.request.streamed,
            "outcome": self.outcome,
            "tier": last.tier if last is not None else None,
            "agent_id": last.agent_id if last is not None else None,
            "prompt_tokens": tokens.prompt,
            "completion_tokens": tokens.completion,
            "started_unix_ms": self.started_unix_ms,
            "first_token_ms": self.first_token_ms,
            "duration_ms": self.duration_ms,
            "http_status": self.http_status,
            "error_code": self.error_code,
            "decision": decision_json(self._planned, ends, self.denials),
        }
        endings = (*self.given_back, *([self.ending] if self.ending is not None else ()))
        return Entry(call, [attempt.row(self.id) for attempt in self.attempts], endings)
