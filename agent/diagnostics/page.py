"""A finding in words, for `daalu-agent doctor`. Pure."""

from collections.abc import Iterator

from daalu_wire.v1 import agent_pb2

_MARKS = {
    agent_pb2.DIAGNOSTIC_VERDICT_PASS: "pass",
    agent_pb2.DIAGNOSTIC_VERDICT_WARN: "WARN",
    agent_pb2.DIAGNOSTIC_VERDICT_FAIL: "FAIL",
    agent_pb2.DIAGNOSTIC_VERDICT_NOT_AVAILABLE: "n/a",
}
_INDENT = " " * 6


def describe(result: agent_pb2.DiagnosticResult) -> str:
    return "\n".join(_lines(result))


def _lines(result: agent_pb2.DiagnosticResult) -> Iterator[str]:
    mark = _MARKS.get(result.verdict, "?")
    yield f"{mark:<5} {result.title}: {_plain(result.saw)}"
    if result.advice:
        yield f"{_INDENT}{_plain(result.advice)}"


def _plain(text: str) -> str:
    """Text that cannot steer the terminal: drivers and engines wrote it."""
    return "".join(char if char.isprintable() else " " for char in text)
