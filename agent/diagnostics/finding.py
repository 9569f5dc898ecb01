"""What a check ends in."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from daalu_wire.v1 import agent_pb2

MAX_OUTPUT_CHARACTERS = 2_000


class Verdict(IntEnum):
    """The wire's numbers; `worst` knows which is worse."""

    PASS = agent_pb2.DIAGNOSTIC_VERDICT_PASS
    WARN = agent_pb2.DIAGNOSTIC_VERDICT_WARN
    FAIL = agent_pb2.DIAGNOSTIC_VERDICT_FAIL
    # There is nothing to judge here, or no way to.
    NOT_AVAILABLE = agent_pb2.DIAGNOSTIC_VERDICT_NOT_AVAILABLE


_ORDER = (Verdict.NOT_AVAILABLE, Verdict.PASS, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Evidence:
    """`command`: what was run, called or read. Never a key or a token."""

    command: str
    output: str


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    saw: str
    advice: str = ""
    evidence: tuple[Evidence, ...] = ()


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """NOT_AVAILABLE where there are none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.NOT_AVAILABLE)


def together(findings: Iterable[Finding]) -> Finding:
    """One finding of several cards': the worst verdict, everything that was seen, all advice once."""
    found = list(findings)
    advice = dict.fromkeys(each.advice for each in found if each.advice)
    return Finding(
        worst(each.verdict for each in found),
        "; ".join(each.saw for each in found),
        "; ".join(advice),
        tuple(evidence for each in found for evidence in each.evidence),
    )


def to_wire(check: str, title: str, finding: Finding, duration_s: float) -> agent_pb2.DiagnosticResult:
    return agent_pb2.DiagnosticResult(
        check=check,
        title=title,
        verdict=agent_pb2.DiagnosticVerdict.ValueType(finding.verdict),
        saw=finding.saw,
        advice=finding.advice,
        duration_ms=round(duration_s * 1000),
        evidence=[
            agent_pb2.DiagnosticEvidence(command=each.command, output=each.output[:MAX_OUTPUT_CHARACTERS])
            for each in finding.evidence
        ],
    )
