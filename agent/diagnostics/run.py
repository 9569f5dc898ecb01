"""The checks, one after another, each with a deadline."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from daalu_wire.v1 import agent_pb2

from agent.cards import CardReader
from agent.diagnostics import dcgm, judge_cards, judge_host, look
from agent.diagnostics.dcgmi import Dcgmi, DcgmiFailed, find_dcgmi
from agent.diagnostics.finding import Evidence, Finding, Verdict, to_wire, worst
from agent.diagnostics.levels import LIMIT_S, check_level, check_use
from agent.engine import EngineSilent
from agent.tunnel import Link

log = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_TIMEOUT_S = 20.0
# A card under load answers in less; one that hangs is found out.
PROBE_TIMEOUT_S = 15.0
# How often a long run says how far it is.
TELL_EVERY_S = 5.0


class DiagnosticsFailed(Exception):
    """The run was begun and came to no verdict: that says nothing of the cards. The message says why."""


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
    ) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
        """Every check as it begins and ends. `caller_clock_unix_ms`: the caller's clock, just now.

        Raises DiagnosticsBusy before the first.
        """
        skew_ms = None if caller_clock_unix_ms is None else _unix_ms() - caller_clock_unix_ms
        async with self._alone():
            checks = self._checks(skew_ms)
            for check in checks:
                yield agent_pb2.DiagnosticsProgress(checks_count=len(checks), begun=check.title)
                began_s = time.monotonic()
                finding = await _look(check)
                ended = to_wire(check.name, check.title, finding, time.monotonic() - began_s)
                yield agent_pb2.DiagnosticsProgress(checks_count=len(checks), ended=ended)

    async def check(self, level: int) -> None:
        """Whether `run_level` could be run here, were the engine stopped. Raises DiagnosticsRefused."""
        check_level(level, *await self._subject.cards.inventory(), find_dcgmi())

    async def run_level(
        self, level: int, *, acknowledged: bool
    ) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
        """NVIDIA's own tests, of level 1 to 3; closing it ends them.

        Raises DiagnosticsBusy and DiagnosticsRefused before anything was done, DiagnosticsFailed.
        """
        async with self._alone():
            system, cards = await self._subject.cards.inventory()
            program = find_dcgmi()
            check_level(level, system, cards, program)
            check_use(level, self._subject.engine.sample(), acknowledged=acknowledged)
            async with contextlib.aclosing(_run_dcgmi(program or "dcgmi", level, len(cards))) as steps:
                async for progress in steps:
                    yield progress

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Raises DiagnosticsBusy."""
        if self._under_way.locked():
            raise DiagnosticsBusy(
                "another examination of this host is under way: ask again when it has ended"
            )
        async with self._under_way:
            yield

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


async def _run_dcgmi(
    program: str, level: int, cards_count: int
) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
    limit_s = LIMIT_S[level]
    try:
        async with Dcgmi(program, level, limit_s) as dcgmi:
            status = None
            while status is None:
                words = f"DCGM level {level}, {dcgmi.elapsed_s:.0f} s of at most {limit_s:.0f} s"
                yield agent_pb2.DiagnosticsProgress(checks_count=1, begun=words)
                status = await dcgmi.wait(TELL_EVERY_S)
            took_s, evidence = dcgmi.elapsed_s, dcgmi.evidence()
            try:
                judged = dcgm.judge(dcgm.read_report(dcgmi.said()), cards_count)
            except dcgm.NotAReport as error:
                failure = f"dcgmi ran no test (exit status {status}): {error}"
                finding = Finding(Verdict.NOT_AVAILABLE, failure, _COULD_NOT_RUN, evidence)
                yield _ended(1, "dcgm", f"DCGM level {level}", finding, took_s)
                raise DiagnosticsFailed(failure) from error
    except DcgmiFailed as error:
        raise DiagnosticsFailed(str(error)) from error
    whole = _of_all([finding for _, finding in judged], status, evidence)
    yield _ended(1 + len(judged), "dcgm", f"DCGM level {level}", whole, took_s)
    for title, finding in judged:
        # dcgmi gives no times of its tests.
        yield _ended(1 + len(judged), "dcgm_test", title, finding, 0.0)


_COULD_NOT_RUN = (
    "see that the service nvidia-dcgm runs, and that its version fits the driver's; then run it again"
)


def _of_all(findings: list[Finding], status: int, evidence: tuple[Evidence, ...]) -> Finding:
    """dcgmi ends with another status than 0 where a test failed; where none did, something else is wrong."""
    verdict, saw = worst(each.verdict for each in findings), dcgm.in_short(findings)
    if status != 0 and verdict in (Verdict.PASS, Verdict.NOT_AVAILABLE):
        odd = f"{saw}; yet dcgmi ended with status {status}"
        return Finding(Verdict.WARN, odd, "read what it said, and run it again", evidence)
    return Finding(verdict, saw, evidence=evidence)


def _ended(
    count: int, name: str, title: str, finding: Finding, took_s: float
) -> agent_pb2.DiagnosticsProgress:
    return agent_pb2.DiagnosticsProgress(checks_count=count, ended=to_wire(name, title, finding, took_s))


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
