"""What is known of one agent now, and word to the fleet when that changes."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from daalu_wire.v1 import agent_pb2

from control_plane.fleet import deployment, liveness
from control_plane.fleet.deployment import Asked, Reference
from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.health import AgentHealth, findings_in_words, observe
from control_plane.fleet.health_measures import Recognise
from control_plane.fleet.health_rules import Health
from control_plane.fleet.liveness import Contact
from control_plane.fleet.pool_limits import Closed, LimitsState, closed
from control_plane.fleet.pool_limits import observe as observe_limits
from control_plane.fleet.projection import MAX_DETAIL_CHARACTERS, agent_view
from control_plane.fleet.record import NoRecord, Record
from control_plane.fleet.status import AgentStatus
from control_plane.fleet.view import AgentView, Liveness
from control_plane.identifiers import AgentId
from control_plane.store import unix_ms

logger = logging.getLogger(__name__)

OnChange = Callable[[AgentView], None]
OnLost = Callable[[AgentId, str], None]


class AgentState:
    """Changed only on the event loop; what it hands out is immutable."""

    def __init__(
        self,
        facts: AgentFacts,
        on_change: OnChange,
        on_lost: OnLost,
        recognise: Recognise = lambda _: None,
        record: Record | None = None,
    ) -> None:
        """`recognise`: the class of a card, which says what its link can do."""
        self.facts = facts
        self.contact = Contact()
        self.sample: agent_pb2.TelemetrySample | None = None
        self.inventory: agent_pb2.GetInventoryResponse | None = None
        self.asked: Asked | None = None
        # Since when it takes no call because another model is wanted (monotonic seconds), and how far that
        # is, in words. None: it does.
        self.emptying_since_s: float | None = None
        self._progress: str | None = None
        self._leaving = agent_pb2.CatalogueReference()
        # The generation of ticket keys that the agent is known to accept; 0: none was installed yet.
        self.installed_generation = 0
        # No renewal is begun before (monotonic seconds).
        self.renew_not_before_s = -math.inf
        # Set when liveness changed, for whoever waits for silence.
        self.liveness_changed = asyncio.Event()
        # Set when a sample came or what is wanted changed, for whoever compares the two.
        self.news = asyncio.Event()
        # As `news`, for whoever compares whether it is drained: each waiter clears its own.
        self.drain_news = asyncio.Event()
        self.pool_news = asyncio.Event()
        # Set when the store's row changed.
        self.facts_changed = asyncio.Event()
        self.health = AgentHealth()
        # Its owner's limit that forbids pool work now; None: none does.
        self.pool_closed: Closed | None = None
        self._limits = LimitsState()
        self._recognise = recognise
        self._heard_unix_ms: int | None = None
        self._clock_offset_ms: int | None = None
        self._problems: dict[str, str] = {}
        self._on_change = on_change
        self._on_lost = on_lost
        self._record = record or NoRecord()
        self._closed = False
        self._record.liveness_changed(facts, self.contact.liveness, unix_ms())

    @property
    def agent_id(self) -> AgentId:
        return self.facts.agent_id

    def close(self) -> None:
        """The agent left the fleet: from now on nobody is told of it."""
        self._closed = True
        self._record.liveness_changed(self.facts, None, unix_ms())

    def update(self, facts: AgentFacts) -> None:
        """The store's row, read again."""
        if facts != self.facts:
            before, self.facts = self.facts, facts
            if facts.pool_limits != before.pool_limits:
                # In force with what is known now: what another limit saw says nothing of this one.
                self._limits = LimitsState()
                self._look_at_limits((time.monotonic(), unix_ms()))
            self.facts_changed.set()
            self.news.set()
            self.drain_news.set()
            self.pool_news.set()
            self._tell()

    def hear(self, sample: agent_pb2.TelemetrySample, now_s: float) -> None:
        self.sample = sample
        self._heard_unix_ms = unix_ms()
        self._clock_offset_ms = sample.sampled_unix_ms - self._heard_unix_ms
        self._problems.pop("connection", None)
        if not deployment.is_serving(sample.engine) or sample.engine.model != self._leaving:
            # Not before: the last sample of an engine that is gone would have the next one resumed.
            self.emptied()
        self._observe(sample, (now_s, self._heard_unix_ms))
        self._look_at_limits((now_s, self._heard_unix_ms))
        self._move(liveness.sampled(self.contact, now_s))
        if not self._closed:
            self._record.sampled(self.facts, sample, self._heard_unix_ms)
        self.news.set()
        self.drain_news.set()
        self.pool_news.set()

    def probed(self, now_s: float) -> None:
        self._problems.pop("probe", None)
        self._move(liveness.probed(self.contact, now_s))

    def emptying(self, progress: str, now_s: float) -> None:
        """The engine is to go, and its calls are waited for: no new one is routed to it."""
        self._progress = progress
        if self.emptying_since_s is None:
            self.emptying_since_s = now_s
            if self.sample is not None:
                self._leaving = self.sample.engine.model
            self.drain_news.set()
            self._tell()

    def emptied(self) -> None:
        """There is nothing to wait for any more."""
        if self.emptying_since_s is not None:
            self.emptying_since_s = self._progress = None
            self.drain_news.set()
            self._tell()

    @property
    def drained(self) -> bool:
        """Whether it is to take no new call."""
        return self.facts.drained or self.emptying_since_s is not None

    @property
    def pool_refused(self) -> bool:
        """Whether it is to take no new call of a pool: its owner's wish or limit, or a critical card."""
        critical = self.health.health is Health.CRITICAL
        return self.facts.pool_paused or self.pool_closed is not None or critical

    def tick(self, now_s: float) -> None:
        self._move(liveness.at(self.contact, now_s))

    def problem(self, part: str, words: str | None) -> None:
        """Notes what is wrong with a part of the work; None: nothing is any more. Logged when it is new."""
        if words is None:
            self._problems.pop(part, None)
        elif self._problems.get(part) != (words := words[:MAX_DETAIL_CHARACTERS]):
            self._problems[part] = words
            logger.warning("agent %s (%s): %s: %s", self.facts.name, self.agent_id, part, words)

    def agent_catalogue(self) -> list[Reference]:
        known = self.inventory.catalogue if self.inventory is not None else ()
        return [Reference(each.model_id, each.digest) for each in known]

    def renewed(self, certificate_pem: str, expires_unix_ms: int) -> None:
        self.facts = replace(
            self.facts, certificate_pem=certificate_pem, certificate_expires_unix_ms=expires_unix_ms
        )

    def view(self) -> AgentView:
        return agent_view(
            self.facts,
            self.contact.liveness,
            self.sample,
            self.health.health,
            drained=self.drained,
            pool_closed=self.pool_closed,
        )

    def status(self) -> AgentStatus:
        return AgentStatus(
            agent_id=self.agent_id,
            liveness=self.contact.liveness,
            heard_unix_ms=self._heard_unix_ms,
            sample=self.sample,
            inventory=self.inventory,
            certificate_expires_unix_ms=self.facts.certificate_expires_unix_ms,
            clock_offset_ms=self._clock_offset_ms,
            desired_model_id=self.facts.desired.model_id,
            progress=self._progress,
            pool_closed=self.pool_closed,
            problems=MappingProxyType(dict(self._problems)),
            health=self.health,
        )

    def _observe(self, sample: agent_pb2.TelemetrySample, now: tuple[float, int]) -> None:
        before = self.health.health
        self.health = observe(self.health, sample, self.inventory, self._recognise, now)
        if self.health.health is not before:
            words = findings_in_words(self.health, sample)
            self._record.health_changed(self.facts, self.health.health, words, now[1])
            logger.info(
                "cards of agent %s (%s): %s, was %s%s",
                *(self.facts.name, self.agent_id, self.health.health, before, f": {words}" if words else ""),
            )

    def _look_at_limits(self, now: tuple[float, int]) -> None:
        limits = self.facts.pool_limits
        if self.sample is not None:
            self._limits = observe_limits(self._limits, limits, self.sample, now)
        before, self.pool_closed = self.pool_closed, closed(limits, self._limits, now[1])
        if self.pool_closed != before:
            words = self.pool_closed.words if self.pool_closed else "its owner's limits allow it again"
            logger.info("pool work on agent %s (%s): %s", self.facts.name, self.agent_id, words)

    def _move(self, contact: Contact) -> None:
        before, self.contact = self.contact.liveness, contact
        # The view first: whoever hears of the loss must not be sent to this agent again.
        self._tell()
        if contact.liveness is before:
            return
        logger.info("agent %s (%s) is %s, was %s", self.facts.name, self.agent_id, contact.liveness, before)
        self.liveness_changed.set()
        if not self._closed:
            self._record.liveness_changed(self.facts, contact.liveness, unix_ms())
        if contact.liveness is Liveness.OUT and not self._closed:
            self._on_lost(self.agent_id, f"out: silent for {liveness.OUT_AFTER_S:g} s")

    def _tell(self) -> None:
        if not self._closed:
            self._on_change(self.view())
