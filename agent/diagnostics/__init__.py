"""Diagnostics: a look over the host, from the driver to the first token.

A *check* looks at one thing and ends in a *finding*: a *verdict*, what was *seen* in words, *advice* where
there is something to do, and *evidence*: what was run or read, and what came of it. Judgement is apart from
looking, in `judge_…` modules. A check that fails itself, or takes too long, is a finding too. Nothing of the
host is changed.
"""

from agent.diagnostics.finding import Finding, Verdict
from agent.diagnostics.page import describe
from agent.diagnostics.run import DiagnosticsBusy, Examination, Subject

__all__ = ["DiagnosticsBusy", "Examination", "Finding", "Subject", "Verdict", "describe"]
