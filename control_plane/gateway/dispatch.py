"""Dispatch: how an attempt reaches its card, as a connection and the bytes of a request."""

import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from control_plane.gateway.allowlist import without_dropped
from control_plane.gateway.connection import Connection, Fault
from control_plane.gateway.pool import Pool
from control_plane.gateway.ports import Fleet
from control_plane.gateway.reading import AttemptFailed
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.request import EngineFields, for_engine
from control_plane.gateway.ticket import Admission, mint
from control_plane.router import CardCandidate, OwnCard
from control_plane.store.tables import Tier

# vLLM serves lower numbers first. An owner's calls go before those of a pool on the same card.
_PRIORITY = {Tier.OWN: 0, Tier.POOL: 10}


@dataclass(frozen=True, slots=True)
class CardDispatch:
    """To engines, through their gates."""

    fleet: Fleet
    pool: Pool
    # Keys the cache salts.
    secret: bytes

    async def connect(self, candidate: CardCandidate, *, fresh: bool) -> Connection:
        """Raises UpstreamFailed."""
        return await self.pool.acquire(candidate.agent.host, candidate.agent.engine_port, fresh=fresh)

    def request(
        self, candidate: CardCandidate, record: CallRecord, attempt: AttemptRecord, max_tokens: int | None
    ) -> bytes:
        """`max_tokens`: what was held for each choice; None: as the client has it. Raises AttemptFailed."""
        ticket = self._ticket(candidate, record, attempt)
        body = self._body(candidate, record, attempt, max_tokens)
        host = candidate.agent.host
        authority = f"[{host}]" if ":" in host else host
        head = (
            f"POST {record.request.path} HTTP/1.1\r\nhost: {authority}:{candidate.agent.engine_port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-daalu-ticket: "
        )
        return b"".join((head.encode(), ticket, b"\r\n\r\n", body))

    def _ticket(self, candidate: CardCandidate, record: CallRecord, attempt: AttemptRecord) -> bytes:
        agent_id = candidate.agent.agent_id
        # The plan is as old as the attempt's record took to become durable.
        if agent_id not in self.fleet.view.by_id:
            raise AttemptFailed(Fault.CUT, "the card's host was revoked", at_fault=False)
        admission = Admission(record.id, attempt.id, candidate.served_name, candidate.tier)
        return mint(self.fleet.ticket_key(agent_id), admission, int(time.time()))

    def _body(
        self, candidate: CardCandidate, record: CallRecord, attempt: AttemptRecord, max_tokens: int | None
    ) -> bytes:
        month = datetime.now(UTC).strftime("%Y-%m")
        salted = f"cache-salt|{record.tenant_id}|{candidate.agent.agent_id}|{month}"
        fields = EngineFields(
            served_name=candidate.served_name,
            request_id=f"{record.id}-{attempt.number}",
            priority=_PRIORITY[candidate.tier],
            cache_salt=hmac.new(self.secret, salted.encode(), hashlib.sha256).hexdigest()[:32],
            max_tokens=max_tokens,
        )
        body = record.request.body
        own = isinstance(candidate, OwnCard)
        return for_engine(record.request, fields, body if own else without_dropped(body))
