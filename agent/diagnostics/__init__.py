"""Diagnostics: a look over the host, from the driver to the first token.

A *check* looks at one thing and ends in a *finding*: a *verdict*, what was *seen* in words, *advice* where
there is something to do, and *evidence*: what was run or read, and what came of it. Judgement is apart from
looking, in `judge_…` modules. A check that fails itself, or takes too long, is a finding too. Nothing of the
host is changed. That is level 0; the *levels* 1 to 3 are NVIDIA's own tests, run by its tool `dcgmi`.
"""

from agent.diagnostics.finding import Finding, Verdict
from agent.diagnostics.levels import MAX_LEVEL, DiagnosticsRefused
from agent.diagnostics.page import describe
from agent.diagnostics.run import DiagnosticsBusy, DiagnosticsFailed, Examination, Subject

__all__ = [
    "MAX_LEVEL",
    "DiagnosticsBusy",
    "DiagnosticsFailed",
    "DiagnosticsRefused",
    "Examination",
    "Finding",
    "Subject",
    "Verdict",
    "describe",
]
