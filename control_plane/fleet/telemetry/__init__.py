"""Telemetry's history: what every card and engine reported, in a file of its own beside the store.

A *subject* is one card or the engine of one agent; its *fields* are the readings that are kept. A *tier* is
raw samples, or a *roll-up* of a *step* of time into minimum, mean and maximum. Within a tier a subject's rows
lie in *chunks*, one for each *slot* of time. The *recorder* takes samples and never keeps its caller waiting;
*history* is read from the file, always of one tenant. *Changes* of an agent's presence and health are kept
beside it, and say how *reliable* it was.
"""

from control_plane.fleet.telemetry.fields import ENGINE, FIELDS, Field, Kind, throttle_words
from control_plane.fleet.telemetry.history import History, SubjectHistory, Values, Wanted
from control_plane.fleet.telemetry.reader import read_changes, read_history, read_reliability
from control_plane.fleet.telemetry.recorder import Limits, Recorder
from control_plane.fleet.telemetry.reliability import Change, Reliability, Span

__all__ = [
    "ENGINE",
    "FIELDS",
    "Change",
    "Field",
    "History",
    "Kind",
    "Limits",
    "Recorder",
    "Reliability",
    "Span",
    "SubjectHistory",
    "Values",
    "Wanted",
    "read_changes",
    "read_history",
    "read_reliability",
    "throttle_words",
]
