"""The control plane over HTTP: the REST interface for operators, and the listeners that everything shares.

The *intake* demands the operator's token and bounds every request before it is parsed. A *listener* is one
address, TLS or plain, whose *guarded protocol* bounds the heads of requests to all applications alike.
"""

from control_plane.api.agent_schemas import AgentDetail, AgentSummary
from control_plane.api.agents import Fleet as FleetPort
from control_plane.api.application import ApiParts, build_api
from control_plane.api.change import Change
from control_plane.api.diagnostics import RunResponse, RunState
from control_plane.api.diagnostics import Runs as DiagnosticsPort
from control_plane.api.intake import Application
from control_plane.api.listeners import CannotListen, Listener, plain_listener, tls_listener
from control_plane.api.load_tests import LoadTestResponse, load_test_csv
from control_plane.api.load_tests import LoadTestRuns as LoadTestsPort
from control_plane.api.queries import find_call, list_agents

__all__ = [
    "AgentDetail",
    "AgentSummary",
    "ApiParts",
    "Application",
    "CannotListen",
    "Change",
    "DiagnosticsPort",
    "FleetPort",
    "Listener",
    "LoadTestResponse",
    "LoadTestsPort",
    "RunResponse",
    "RunState",
    "build_api",
    "find_call",
    "list_agents",
    "load_test_csv",
    "plain_listener",
    "tls_listener",
]
