"""A run of diagnostics, printed for people."""

import sys
from typing import Any

from control_plane.cli.show import milliseconds, moment, plain, print_pairs

_MARKS = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "not_available": "n/a"}
_INDENT = " " * 6


def print_head(run: dict[str, Any]) -> None:
    print(plain(f"looking over {run['agent_name']} ({run['agent_id']}), run {run['id']}"))


def print_now(words: str) -> None:
    """How far a long one is; on standard error, since it is no result."""
    print(plain(f"  …   {words}"), file=sys.stderr, flush=True)


def print_finding(finding: dict[str, Any], *, evidence: bool = False) -> None:
    took = f" ({milliseconds(finding['duration_ms'])})" if evidence else ""
    mark = _MARKS.get(finding["verdict"], "?")
    print(plain(f"{mark:<5} {finding['title']}: {finding['saw']}{took}"), flush=True)
    if finding["advice"]:
        print(plain(f"{_INDENT}{finding['advice']}"), flush=True)
    for each in finding["evidence"] if evidence else ():
        print(plain(f"{_INDENT}> {each['command']}"))
        for line in each["output"].splitlines():
            print(plain(f"{_INDENT}  {line}"))


def print_run(run: dict[str, Any]) -> None:
    print_pairs(
        [
            ("run", run["id"]),
            ("agent", f"{run['agent_name']} ({run['agent_id']})"),
            ("of", "the pipeline" if run["kind"] == "pipeline" else f"the host, level {run['level']}"),
            ("by", run["actor"]),
            ("started", moment(run["started_unix_ms"])),
            ("ended", moment(run["ended_unix_ms"]) if run["ended_unix_ms"] else None),
            ("state", run["state"].replace("_", " ")),
            ("error", run["error"]),
            ("at", run["now"]),
            ("worst", run["verdict"].replace("_", " ")),
        ]
    )
    for finding in run["findings"]:
        print()
        print_finding(finding, evidence=True)
