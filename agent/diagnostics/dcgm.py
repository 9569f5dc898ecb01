"""What NVIDIA's own diagnostic says, in its JSON, and what that comes to. Pure.

Two shapes are known. DCGM 4 names its answer "DCGM Diagnostic", each result's card by `entity_group` and
`entity_id`, and its warnings with number and severity; before that it is "DCGM GPU Diagnostic", with `gpu_id`
or `gpu_ids` and, in the oldest, warnings of plain text. Statuses differ in case.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.diagnostics.finding import Finding, Verdict, worst

ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
# Beside the finding of the run itself; the control plane keeps 64.
MAX_TESTS = 48
MAX_RESULTS_PER_TEST = 64
MAX_WORDS_CHARACTERS = 300
# dcgm_errors.h, DCGM_ERROR_CONFIG: how the host is set up, and not how the card is.
SEVERITY_CONFIGURATION = 5
_VERDICTS = {"pass": Verdict.PASS, "warn": Verdict.WARN, "fail": Verdict.FAIL}
# Communication between cards, of which one alone has none.
_COLLECTIVE = re.compile(r"\bnccl\b|^nccl_", re.IGNORECASE)


class NotAReport(Exception):
    """This is no answer of a diagnostic that ran; the message is dcgmi's own words, where it has any."""


@dataclass(frozen=True, slots=True)
class Result:
    # "card 0", or "host" where no card is named.
    entity: str
    status: str
    info: tuple[str, ...]
    warnings: tuple[str, ...]
    # Every warning is about how the host is set up.
    is_configuration: bool = False


@dataclass(frozen=True, slots=True)
class Test:
    category: str
    name: str
    results: tuple[Result, ...]


def read_report(text: str) -> tuple[Test, ...]:
    """Raises NotAReport. dcgmi may write lines of its own before and after the JSON."""
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0 or end < begin:
        raise NotAReport(_last_line(text))
    try:
        document = json.loads(text[begin : end + 1])
    except (ValueError, RecursionError):
        raise NotAReport(_last_line(text)) from None
    root = next((document[name] for name in ROOTS if isinstance(document.get(name), dict)), None)
    if root is None:
        raise NotAReport(_last_line(text))
    error = root.get("runtime_error") or document.get("runtime_error")
    if error:
        raise NotAReport(_words(error))
    tests = tuple(_tests(root))
    if not tests:
        raise NotAReport("it answered with no test at all")
    return tests


def judge(tests: Iterable[Test], cards_count: int) -> list[tuple[str, Finding]]:
    """Each test's title and finding."""
    return [(_title(test), _judge(test, cards_count)) for test in tests]


def in_short(findings: Iterable[Finding]) -> str:
    counts: dict[Verdict, int] = defaultdict(int)
    for finding in findings:
        counts[finding.verdict] += 1
    words = {
        Verdict.FAIL: "failed",
        Verdict.WARN: "warned",
        Verdict.PASS: "passed",
        Verdict.NOT_AVAILABLE: "not run",
    }
    return ", ".join(f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict])


def _judge(test: Test, cards_count: int) -> Finding:
    seen = "; ".join(
        f"{result.entity}: {', '.join((result.status, *result.warnings, *result.info))}"
        for result in test.results
    )
    if cards_count == 1 and _COLLECTIVE.search(test.name):
        return Finding(Verdict.NOT_AVAILABLE, f"one card has nobody to talk to; dcgmi said: {seen}")
    verdicts = [_verdict(result) for result in test.results]
    verdict = worst(verdicts)
    if verdict is Verdict.PASS and Verdict.NOT_AVAILABLE in verdicts:
        return Finding(Verdict.WARN, seen, "not every card was tested: what dcgmi said has the reason")
    if verdict is Verdict.FAIL:
        return Finding(verdict, seen, "look the error up in NVIDIA's list of DCGM errors; run it once more")
    if verdict is Verdict.WARN:
        return Finding(verdict, seen, "see how the host is set up: this says nothing bad of the card itself")
    return Finding(verdict, seen or "it has no results")


def _verdict(result: Result) -> Verdict:
    """A status that is not known here, Skip and Not Run among them, judges nothing."""
    verdict = _VERDICTS.get(result.status.lower(), Verdict.NOT_AVAILABLE)
    return Verdict.WARN if verdict is Verdict.FAIL and result.is_configuration else verdict


def _title(test: Test) -> str:
    return f"DCGM {test.category}: {test.name}" if test.category else f"DCGM: {test.name}"


def _tests(root: dict[str, Any]) -> Iterator[Test]:
    categories = [each for each in _list(root.get("test_categories")) if isinstance(each, dict)]
    found = [
        (_words(category.get("category")), test)
        for category in categories
        for test in _list(category.get("tests"))
        if isinstance(test, dict)
    ]
    for category, test in found[:MAX_TESTS]:
        results = [_result(each) for each in _list(test.get("results")) if isinstance(each, dict)]
        yield Test(category, _words(test.get("name")) or "unnamed", tuple(results[:MAX_RESULTS_PER_TEST]))


def _result(result: dict[str, Any]) -> Result:
    warnings = _list(result.get("warnings"))
    severities = [each.get("error_severity") for each in warnings if isinstance(each, dict)]
    return Result(
        entity=_entity(result),
        status=_words(result.get("status")) or "no status",
        info=tuple(filter(None, map(_words, _list(result.get("info"))))),
        warnings=tuple(filter(None, map(_warning, warnings))),
        is_configuration=bool(warnings)
        and len(severities) == len(warnings)
        and set(severities) == {SEVERITY_CONFIGURATION},
    )


def _entity(result: dict[str, Any]) -> str:
    if "entity_id" in result:
        group = _words(result.get("entity_group")) or "GPU"
        return f"{'card' if group == 'GPU' else group} {_words(result['entity_id'])}"
    number = _words(result.get("gpu_id")) or _words(result.get("gpu_ids"))
    return f"card {number}" if number else "host"


def _warning(warning: Any) -> str:
    if not isinstance(warning, dict):
        return _words(warning)
    number = warning.get("error_id")
    words = _words(warning.get("warning"))
    return f"{words} (error {_words(number)})" if number is not None else words


def _list(value: Any) -> list[Any]:
    """One alone is written without its list, by some versions."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _words(value: Any) -> str:
    """Of a text or a number; of anything else none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return " ".join(str(value).split())[:MAX_WORDS_CHARACTERS]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return _words(lines[-1]) if lines else "it said nothing"
