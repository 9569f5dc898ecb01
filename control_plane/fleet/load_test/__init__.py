"""Load tests: an own card under a growing load, by vLLM's own client, over the route that users take.

A *sweep* is what is asked for: steps of a growing number of calls at once. A *step*'s figures are the
client's own. The *knee* is where more calls at once stop bringing more tokens; it becomes the card's
*measured limit*, which the router keeps to.
"""

from control_plane.fleet.load_test.client import LoadClient
from control_plane.fleet.load_test.knee import find_knee
from control_plane.fleet.load_test.limits import MeasuredLimit, MeasuredLimits, clear_limit, find_limit
from control_plane.fleet.load_test.queries import (
    Found,
    cancel_load_test,
    earlier_of_model,
    find_load_test,
    list_load_tests,
)
from control_plane.fleet.load_test.runs import LoadTests
from control_plane.fleet.load_test.step import FIGURES, StepFigures
from control_plane.fleet.load_test.sweep import Sweep

__all__ = [
    "FIGURES",
    "Found",
    "LoadClient",
    "LoadTests",
    "MeasuredLimit",
    "MeasuredLimits",
    "StepFigures",
    "Sweep",
    "cancel_load_test",
    "clear_limit",
    "earlier_of_model",
    "find_knee",
    "find_limit",
    "find_load_test",
    "list_load_tests",
]
