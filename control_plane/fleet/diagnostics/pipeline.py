"""The pipeline self-test: every stage from the card to the page, looked at in the order in which data flows.

A stage that rests on an earlier one which failed is looked at all the same, where that is possible: what
still works behind a fault says where the fault is.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from daalu_wire.v1 import agent_pb2, catalogue_pb2
from sqlmodel import Session

from control_plane.access import Unknown
from control_plane.catalogue import Catalogue
from control_plane.fleet.diagnostics.finding import Evidence, Steps, Verdict
from control_plane.fleet.diagnostics.own_call import Answered, NotAnswered, Route, call, leased_key
from control_plane.fleet.diagnostics.queries import find_run
from control_plane.fleet.diagnostics.stage import Seen, Stage, look
from control_plane.fleet.health_rules import Health
from control_plane.fleet.probe import ProbeFailed
from control_plane.fleet.status import AgentStatus
from control_plane.fleet.telemetry import Wanted, read_history
from control_plane.fleet.view import AgentView, FleetView
from control_plane.identifiers import AgentId, DiagnosticRunId, TenantId
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import UsageRecord
from control_plane.store.tables import Agent, Connection

# A sample comes every 2 s, and is in the history's file 15 s later at most.
SAMPLE_LIMIT_S = 15.0
STORED_LIMIT_S = 25.0
# A point of the history this close to the sample's own time is that sample.
STORED_WITHIN_MS = 500
CONNECT_LIMIT_S = 5.0
LOOK_S = 0.2
HISTORY_MS = 120_000
# What a page may take for its query.
PAGE_SLOW_S = 1.0

_ASK_DOCTOR = "run `daalu-agent doctor` on the host"


class Fleet(Protocol):
    """What is needed of the fleet."""

    @property
    def view(self) -> FleetView: ...

    def status(self, agent_id: AgentId) -> AgentStatus | None: ...

    async def probe_engine(self, agent_id: AgentId) -> None:
        """Raises Unknown, ProbeFailed."""
        ...


@dataclass(frozen=True, slots=True)
class PipelineParts:
    store: Store
    fleet: Fleet
    catalogue: Catalogue
    # The history's file.
    telemetry: Path
    route: Route
    # Why the router would place no call of its tenant's on this card now; None: it would.
    why_left_out: Callable[[AgentView], str | None]


class Pipeline:
    """Of one control plane; `steps` looks at one agent's."""

    def __init__(self, parts: PipelineParts) -> None:
        self._parts = parts

    async def steps(self, agent_id: AgentId, actor: str, run_id: DiagnosticRunId) -> Steps:
        for stage in _Looks(self._parts, agent_id, actor, run_id).stages():
            yield stage.title
            yield await look(stage)


class _Looks:
    """The stages of one self-test. A later one uses what an earlier one found."""

    def __init__(self, parts: PipelineParts, agent_id: AgentId, actor: str, run_id: DiagnosticRunId) -> None:
        self._parts = parts
        self._agent_id, self._actor, self._run_id = agent_id, actor, run_id
        self._heard_unix_ms: int | None = None
        self._call_id: str | None = None

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("card_read", "card read", self._card_read),
            Stage("sample_sent", "sample sent", self._sample_sent),
            Stage("sample_stored", "sample stored", self._sample_stored),
            Stage("health_judged", "health judged", self._health_judged),
            Stage("tunnel_path", "tunnel path", self._tunnel_path),
            Stage("engine_probe", "engine probed", self._engine_probe),
            Stage("router", "router's candidate", self._router),
            Stage("call", "call answered", self._call),
            Stage("usage", "usage on record", self._usage),
            Stage("page", "page answers", self._page),
        )

    async def _card_read(self) -> Seen:
        status = self._parts.fleet.status(self._agent_id)
        if status is None or status.sample is None:
            return _failed("no sample of it was ever heard", "see that the agent's daemon and tunnel run")
        system, cards = status.sample.card_system, status.sample.cards
        simulated = system.state == agent_pb2.CARD_SYSTEM_STATE_SIMULATED
        if system.state != agent_pb2.CARD_SYSTEM_STATE_OK and not simulated:
            return _failed(system.detail or "the cards cannot be read", _ASK_DOCTOR)
        lost = [f"card {card.index}: {card.lost}" for card in cards if card.lost]
        if lost or not cards:
            return _failed("; ".join(lost) or "it has no card", _ASK_DOCTOR)
        silent = [card for card in cards if card.temperature_celsius.WhichOneof("reading") == "error"]
        words = f"{len(cards)} {'simulated ' if simulated else ''}card(s) read"
        if silent:
            return Seen(Verdict.WARN, f"{words}; {silent[0].temperature_celsius.error}", _ASK_DOCTOR)
        return Seen(Verdict.PASS, words)

    async def _sample_sent(self) -> Seen:
        began_s, before = time.monotonic(), self._heard()
        while time.monotonic() - began_s < SAMPLE_LIMIT_S:
            heard_unix_ms = self._heard()
            if heard_unix_ms != before:
                self._heard_unix_ms = heard_unix_ms
                return Seen(Verdict.PASS, f"a new one came within {time.monotonic() - began_s:.1f} s")
            await asyncio.sleep(LOOK_S)
        status = self._parts.fleet.status(self._agent_id)
        problem = status.problems.get("connection", "none is known") if status else "the agent is gone"
        return _failed(
            f"no new one came within {SAMPLE_LIMIT_S:.0f} s; problem: {problem}",
            "see that the agent's daemon and tunnel run: `daalu agents show`",
        )

    def _heard(self) -> int | None:
        status = self._parts.fleet.status(self._agent_id)
        return status.heard_unix_ms if status else None

    async def _sample_stored(self) -> Seen:
        heard_unix_ms = self._heard_unix_ms
        if heard_unix_ms is None:
            return Seen(Verdict.NOT_AVAILABLE, "no sample came that could be stored")
        tenant_id = await self._tenant()
        began_s = time.monotonic()
        while time.monotonic() - began_s < STORED_LIMIT_S:
            wanted = Wanted(tenant_id, self._agent_id, heard_unix_ms - HISTORY_MS, unix_ms() + 1, 2_000)
            history = await asyncio.to_thread(read_history, self._parts.telemetry, wanted)
            newest = max((at for each in history.subjects for at in each.at_unix_ms), default=0)
            if newest >= heard_unix_ms - STORED_WITHIN_MS:
                return Seen(Verdict.PASS, f"it was in the history {time.monotonic() - began_s:.1f} s later")
            await asyncio.sleep(LOOK_S)
        return _failed(
            f"it was not in the history after {STORED_LIMIT_S:.0f} s",
            "see the control plane's log for telemetry.db, and whether its disk is full",
        )

    async def _health_judged(self) -> Seen:
        status = self._parts.fleet.status(self._agent_id)
        health = status.health if status else None
        if health is None or health.health is Health.UNKNOWN:
            return Seen(Verdict.WARN, "nothing could be judged: no reading that tells", _ASK_DOCTOR)
        found = "; ".join(f"{each.code}: {each.evidence}" for each in health.findings())
        if health.health is Health.GOOD:
            return Seen(Verdict.PASS, "good")
        return Seen(Verdict.WARN, f"{health.health}: {found}", "`daalu agents show` says what to do")

    async def _tunnel_path(self) -> Seen:
        agent = await self._parts.store.read(lambda session: session.get_one(Agent, self._agent_id))
        direct = agent.connection == Connection.DIRECT
        address = "127.0.0.1" if direct else agent.tunnel_address
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                _, writer = await asyncio.open_connection(address, agent.rpc_port)
        except (OSError, TimeoutError) as error:
            where = f"{address} port {agent.rpc_port}"
            return _failed(
                f"{where} cannot be reached: {str(error) or f'no answer within {CONNECT_LIMIT_S:.0f} s'}",
                f"see that `daalu hub` runs, that its UDP port is open, and {_ASK_DOCTOR}",
            )
        took_ms = (time.monotonic() - began_s) * 1000
        writer.transport.abort()
        kind = "direct mode, there is no tunnel; " if direct else ""
        return Seen(Verdict.PASS, f"{kind}a connection to the agent took {took_ms:.0f} ms")

    async def _engine_probe(self) -> Seen:
        try:
            await self._parts.fleet.probe_engine(self._agent_id)
        except (ProbeFailed, Unknown) as error:
            advice = "deploy a model and wait until it is loaded; `daalu agents show` says how far it is"
            return _failed(str(error), advice)
        return Seen(Verdict.PASS, "it answered GET /health with a ticket")

    async def _router(self) -> Seen:
        view = self._parts.fleet.view.by_id.get(self._agent_id)
        words = self._parts.why_left_out(view) if view is not None else "the agent is not in the fleet"
        if words is not None:
            return _failed(words, "mend that: until then no call is placed on it")
        return Seen(Verdict.PASS, "it would place a call of the card's tenant there")

    async def _call(self) -> Seen:
        view = self._parts.fleet.view.by_id.get(self._agent_id)
        if view is None or view.engine is None:
            return Seen(Verdict.NOT_AVAILABLE, "it serves no model that could be called")
        entry = self._parts.catalogue.get(view.engine.model_id)
        embeds = entry is not None and entry.model.kind == catalogue_pb2.MODEL_KIND_EMBEDDING
        parts = self._parts
        try:
            async with leased_key(parts.store, parts.route, self._agent_id, self._actor) as key:
                answered = await call(parts.route, key, view.engine.served_name, embeds=embeds)
        except NotAnswered as error:
            advice = "see that the control plane's public URL can be reached from its own host"
            return _failed(str(error), advice)
        self._call_id = answered.call_id if answered.status == 200 else None
        return _of_call(answered)

    async def _usage(self) -> Seen:
        call_id = self._call_id
        if call_id is None:
            return Seen(Verdict.NOT_AVAILABLE, "no call was answered")
        record = await self._parts.store.read(lambda session: session.get(UsageRecord, call_id))
        if record is None:
            return _failed(f"{call_id} has no usage record", f"`daalu calls explain {call_id}` says more")
        where = f"{record.prompt_tokens} tokens in, {record.completion_tokens} out"
        if record.agent_id != self._agent_id:
            return _failed(f"{where}, but on {record.agent_id}", f"`daalu calls explain {call_id}` says why")
        return Seen(Verdict.PASS, f"{call_id}: {where}")

    async def _page(self) -> Seen:
        began_s = time.monotonic()
        run = await self._parts.store.read(lambda session: find_run(session, self._run_id))
        took_s = time.monotonic() - began_s
        words = f"this self-test's page query gave its {len(run.findings)} findings in {took_s * 1000:.0f} ms"
        if took_s > PAGE_SLOW_S:
            return Seen(Verdict.WARN, words, "see whether the database's disk is busy")
        return Seen(Verdict.PASS, words)

    async def _tenant(self) -> TenantId:
        def query(session: Session) -> TenantId:
            return TenantId(session.get_one(Agent, self._agent_id).tenant_id)

        return await self._parts.store.read(query)


def _failed(saw: str, advice: str) -> Seen:
    return Seen(Verdict.FAIL, saw, advice)


def _of_call(answered: Answered) -> Seen:
    evidence = (Evidence("POST to the users' route", answered.said),)
    if answered.status != 200:
        advice = "the answer says why; `daalu calls explain` has the whole decision"
        saw = f"status {answered.status}, call {answered.call_id or 'not on record'}"
        return Seen(Verdict.FAIL, saw, advice, evidence)
    if answered.tier != "own":
        saw = f"served by tier {answered.tier}, and not by the card itself"
        return Seen(Verdict.FAIL, saw, f"`daalu calls explain {answered.call_id}` says why", evidence)
    return Seen(Verdict.PASS, f"call {answered.call_id} was answered by the card", evidence=evidence)
