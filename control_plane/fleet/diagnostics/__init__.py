"""Diagnostics: runs that look an agent's host over, followed while they go on and kept for good.

A *run* is one look by one operator; a *finding* is what one of its checks came to, in the agent's own words.
"""

from control_plane.fleet.diagnostics.finding import Evidence, Finding, Verdict, worst
from control_plane.fleet.diagnostics.queries import Run, find_run, list_runs
from control_plane.fleet.diagnostics.runs import AlreadyRunning, DiagnosticRuns, is_lost

__all__ = [
    "AlreadyRunning",
    "DiagnosticRuns",
    "Evidence",
    "Finding",
    "Run",
    "Verdict",
    "find_run",
    "is_lost",
    "list_runs",
    "worst",
]
