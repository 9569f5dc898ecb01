"""The control plane over HTTP: the REST interface for operators, and the listeners that everything shares.

The *intake* demands the operator's token and bounds every request before it is parsed. A *listener* is one
address, TLS or plain, whose *guarded protocol* bounds the heads of requests to all applications alike.
"""

from control_plane.api.agent_schemas import AgentDetail, AgentSummary
from control_plane.api.agents import Fleet as FleetPort
from control_plane.api.application import ApiParts, build_api
from control_plane.api.audit import AuditRequest, AuditResponse
from control_plane.api.call_figures import CallFigures, NotServed, call_figures, not_served
from control_plane.api.calls import CallResponse
from control_plane.api.change import Change
from control_plane.api.csv_table import Form, as_wanted
from control_plane.api.diagnostics import RunResponse, RunState
from control_plane.api.diagnostics import Runs as DiagnosticsPort
from control_plane.api.economy import pool_detail, standing
from control_plane.api.economy_schemas import PlanResponse, PoolDetail, PriceResponse, StandingResponse
from control_plane.api.intake import Application
from control_plane.api.listeners import CannotListen, Listener, plain_listener, tls_listener
from control_plane.api.load_tests import LoadTestResponse, load_test_csv
from control_plane.api.load_tests import LoadTestRuns as LoadTestsPort
from control_plane.api.queries import (
    CallRow,
    CallSearch,
    attempts_of,
    find_agent,
    find_call,
    list_agents,
    list_calls,
)

__all__ = [
    "AgentDetail",
    "AgentSummary",
    "ApiParts",
    "Application",
    "AuditRequest",
    "AuditResponse",
    "CallFigures",
    "CallResponse",
    "CallRow",
    "CallSearch",
    "CannotListen",
    "Change",
    "DiagnosticsPort",
    "FleetPort",
    "Form",
    "Listener",
    "LoadTestResponse",
    "LoadTestsPort",
    "NotServed",
    "PlanResponse",
    "PoolDetail",
    "PriceResponse",
    "RunResponse",
    "RunState",
    "StandingResponse",
    "as_wanted",
    "attempts_of",
    "build_api",
    "call_figures",
    "find_agent",
    "find_call",
    "list_agents",
    "list_calls",
    "load_test_csv",
    "not_served",
    "plain_listener",
    "pool_detail",
    "standing",
    "tls_listener",
]
