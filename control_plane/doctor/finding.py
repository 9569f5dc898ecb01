"""What a check ends in."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """From the least bad on."""

    # There is nothing to judge here, or no way to.
    NOT_AVAILABLE = "not_available"
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"


_ORDER = list(Verdict)


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is stable, for programs; `advice` is empty where nothing is to be done."""

    check: str
    title: str
    verdict: Verdict
    saw: str
    advice: str = ""


def worst(findings: Iterable[Finding]) -> Verdict:
    return max((each.verdict for each in findings), key=_ORDER.index, default=Verdict.NOT_AVAILABLE)
