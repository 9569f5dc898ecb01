"""What a check came to. Pure; an agent's words are cut to size, and are not to be trusted otherwise."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from enum import StrEnum

from daalu_wire.v1 import agent_pb2

MAX_NAME_CHARACTERS = 64
MAX_WORDS_CHARACTERS = 2_000
MAX_EVIDENCE = 32
MAX_DURATION_MS = 2**31 - 1


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    # There was nothing to judge there, or no way to.
    NOT_AVAILABLE = "not_available"


_ORDER = (Verdict.NOT_AVAILABLE, Verdict.PASS, Verdict.WARN, Verdict.FAIL)
_OF_WIRE = {
    agent_pb2.DIAGNOSTIC_VERDICT_PASS: Verdict.PASS,
    agent_pb2.DIAGNOSTIC_VERDICT_WARN: Verdict.WARN,
    agent_pb2.DIAGNOSTIC_VERDICT_FAIL: Verdict.FAIL,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    command: str
    output: str


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    title: str
    verdict: Verdict
    saw: str
    advice: str
    duration_ms: int
    evidence: tuple[Evidence, ...]

    @classmethod
    def of(cls, result: agent_pb2.DiagnosticResult) -> "Finding":
        """A verdict that is not known here, as a newer agent's may be, judges nothing."""
        return cls(
            check=_cut(result.check, MAX_NAME_CHARACTERS),
            title=_cut(result.title, MAX_NAME_CHARACTERS),
            verdict=_OF_WIRE.get(result.verdict, Verdict.NOT_AVAILABLE),
            saw=_cut(result.saw),
            advice=_cut(result.advice),
            duration_ms=min(result.duration_ms, MAX_DURATION_MS),
            evidence=tuple(
                Evidence(_cut(each.command), _cut(each.output)) for each in result.evidence[:MAX_EVIDENCE]
            ),
        )


# Of a run, as it goes: the title of what begins, and what was found.
Steps = AsyncGenerator[str | Finding, None]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """NOT_AVAILABLE where there are none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.NOT_AVAILABLE)


def _cut(text: str, characters: int = MAX_WORDS_CHARACTERS) -> str:
    # PostgreSQL keeps no zero bytes in text.
    return text[:characters].replace("\0", "\N{REPLACEMENT CHARACTER}")
