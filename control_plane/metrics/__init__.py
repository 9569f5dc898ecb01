"""Metrics in Prometheus's form: the fleet's, the gateway's and this process's own.

A *scope* says whose series a reader may see: the operator's is everything, a tenant's is its own and nothing
of the process. *Meters* is what the gateway counts with while it serves; everything else is looked at when
somebody asks. DCGM's names and units are used where DCGM has the same thing.
"""

from control_plane.metrics.exposition import Looked, MetricsParts, look, render
from control_plane.metrics.meters import CallMeters, EndedCall, Meters, NoMeters
from control_plane.metrics.process import ProcessFigures
from control_plane.metrics.scope import OPERATORS, Scope

__all__ = [
    "OPERATORS",
    "CallMeters",
    "EndedCall",
    "Looked",
    "Meters",
    "MetricsParts",
    "NoMeters",
    "ProcessFigures",
    "Scope",
    "look",
    "render",
]
