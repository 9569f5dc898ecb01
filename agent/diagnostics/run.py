"""The checks, one after another, each with a deadline."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from daalu_wire.v1 import agent_pb2

from agent.cards import CardReader
from agent.diagnostics import judge_cards, judge_host, look
from agent.diagnostics.finding import Evidence, Finding, Verdict, to_wire
from agent.engine import EngineSilent
from agent.tunnel import Link

log = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_TIMEOUT_S = 20.0
# A card under load answers in less; one that hangs is found out.
PROBE_TIMEOUT_S = 15.0


class DiagnosticsBusy(Exception):
    """Another examination of this host is under way."""


class ExaminedEngine(Protocol):
    """The engine, of a daemon that runs or of one that is gone."""

    def sample(self) -> agent_pb2.EngineSample: ...

    async def probe(self, timeout_s: float) -> float:
        """Seconds until it had answered with one real token. Raises EngineSilent."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined. `link` None: the host is not enrolled."""

    cards: CardReader
    link: Link | None
    engine: ExaminedEngine
    state: Path
    models: Path


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    title: str
    look: Callable[[], Awaitable[Finding]]


class Examination:
    """Of one host, by whoever asks; one at a time."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._under_way = asyncio.Lock()

    async def run(
        self, caller_clock_unix_ms: int | None = None
    ) -> AsyncIterator[agent_pb2.DiagnosticsProgress]:
        """Every check as it begins and ends. `caller_clock_unix_ms`: the caller's clock, just now.

        Raises DiagnosticsBusy before the first.
        """
        skew_ms = None if caller_clock_unix_ms is None else _unix_ms() - caller_clock_unix_ms
        if self._under_way.locked():
            raise DiagnosticsBusy(
                "another examination of this host is under way: ask again when it has ended"
            )
        async with self._under_way:
            checks = self._checks(skew_ms)
            for check in checks:
                yield agent_pb2.DiagnosticsProgress(checks_count=len(checks), begun=check.title)
                began_s = time.monotonic()
                finding = await _look(check)
                ended = to_wire(check.name, check.title, finding, time.monotonic() - began_s)
                yield agent_pb2.DiagnosticsProgress(checks_count=len(checks), ended=ended)

    def _checks(self, skew_ms: int | None) -> tuple[_Check, ...]:
        """From the driver to the first token."""

        async def clock() -> Finding:
            return judge_host.clock(skew_ms)

        return (
            _Check("driver", "NVIDIA driver", self._driver),
            _Check("nvml", "readings of the cards", self._sampled(judge_cards.nvml_calls)),
            _Check("pcie", "PCIe link", self._pcie),
            _Check("ecc", "ECC memory", self._sampled(judge_cards.ecc)),
            _Check("clocks", "clocks and temperature", self._sampled(judge_cards.clocks)),
            _Check("disk", "disk", self._disk),
            _Check("memory", "memory", self._memory),
            _Check("clock", "clock", clock),
            _Check("tunnel", "tunnel", self._tunnel),
            _Check("mtu", "path MTU", self._mtu),
            _Check("engine", "engine, to the first token", self._engine),
        )

    async def _driver(self) -> Finding:
        system, cards = await self._subject.cards.inventory()
        return judge_cards.driver(system, len(cards))

    def _sampled(
        self, judge: Callable[[list[agent_pb2.CardSample]], Finding]
    ) -> Callable[[], Awaitable[Finding]]:
        async def sampled() -> Finding:
            _, samples = await self._subject.cards.sample()
            return judge(samples)

        return sampled

    async def _pcie(self) -> Finding:
        _, cards = await self._subject.cards.inventory()
        _, samples = await self._subject.cards.sample()
        return judge_cards.pcie(samples, await asyncio.to_thread(look.pci_links, cards))

    async def _disk(self) -> Finding:
        state, models = self._subject.state, self._subject.models
        try:
            found = await asyncio.to_thread(look.disk, state, flush=state.is_dir())
            return judge_host.disk(found, await asyncio.to_thread(look.disk, models))
        except OSError as error:
            advice = "look at the disk and its file system (`dmesg`, `df`, `mount`)"
            return Finding(Verdict.FAIL, f"{error.filename or state}: {error.strerror}", advice)

    async def _memory(self) -> Finding:
        try:
            return judge_host.memory(*await asyncio.to_thread(look.memory))
        except (OSError, ValueError) as error:
            return Finding(Verdict.NOT_AVAILABLE, f"cannot be read: {error}")

    async def _tunnel(self) -> Finding:
        link = self._subject.link
        return judge_host.tunnel(await link.status() if link else None, time.time())

    async def _mtu(self) -> Finding:
        status = await self._subject.link.status() if self._subject.link else None
        if status is None or status.interface is None or status.hub_endpoint is None:
            return Finding(Verdict.NOT_AVAILABLE, "there is no tunnel")
        try:
            tunnel_bytes = await asyncio.to_thread(look.interface_mtu, status.interface)
            path = await asyncio.to_thread(look.path_mtu, status.hub_endpoint, tunnel_bytes)
        except (OSError, ValueError) as error:
            evidence = Evidence(f"datagrams to {status.hub_endpoint}", str(error))
            return Finding(
                Verdict.NOT_AVAILABLE, f"cannot be measured: {error}", "mend the tunnel first", (evidence,)
            )
        return judge_host.mtu(path)

    async def _engine(self) -> Finding:
        engine = self._subject.engine
        sample = engine.sample()
        # Of no phase: a daemon that is gone left it running.
        serves = sample.phase in (agent_pb2.ENGINE_PHASE_READY, agent_pb2.ENGINE_PHASE_DRAINING) or (
            sample.phase == agent_pb2.ENGINE_PHASE_UNSPECIFIED and bool(sample.model.model_id)
        )
        if not serves:
            return judge_host.engine(sample, None, None)
        try:
            return judge_host.engine(sample, await engine.probe(PROBE_TIMEOUT_S), None)
        except EngineSilent as silence:
            return judge_host.engine(sample, None, str(silence))


async def _look(check: _Check) -> Finding:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check.look()
    except TimeoutError:
        advice = "what it looks at hangs: see `dmesg`"
        return Finding(Verdict.FAIL, f"did not end within {CHECK_TIMEOUT_S:.0f} s", advice)
    except Exception:
        log.exception("the check %r failed itself", check.name)
        return Finding(Verdict.NOT_AVAILABLE, "a defect in the check itself; the agent's log has the details")


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
