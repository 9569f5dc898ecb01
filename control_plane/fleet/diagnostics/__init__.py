"""Diagnostics: runs that look an agent's host over, followed while they go on and kept for good.

A *run* is one look by one operator; a *finding* is what one of its checks came to, in the agent's own words.
A run of a stressful *level* takes the card from its calls and its engine, and gives both back when it ends.
A *self-test* is a run that looks at every *stage* of the *pipeline* from a card to the page.
"""

from control_plane.fleet.diagnostics.finding import Evidence, Finding, Verdict, worst
from control_plane.fleet.diagnostics.levels import Offer
from control_plane.fleet.diagnostics.own_call import Route
from control_plane.fleet.diagnostics.pipeline import Pipeline, PipelineParts
from control_plane.fleet.diagnostics.queries import AlreadyRunning, Kind, Run, find_run, is_lost, list_runs
from control_plane.fleet.diagnostics.runs import DiagnosticRuns

__all__ = [
    "AlreadyRunning",
    "DiagnosticRuns",
    "Evidence",
    "Finding",
    "Kind",
    "Offer",
    "Pipeline",
    "PipelineParts",
    "Route",
    "Run",
    "Verdict",
    "find_run",
    "is_lost",
    "list_runs",
    "worst",
]
