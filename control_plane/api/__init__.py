"""The control plane over HTTP: the REST interface for operators, and the listeners that everything shares.

The *intake* demands the operator's token and bounds every request before it is parsed. A *listener* is one
address, TLS or plain, whose *guarded protocol* bounds the heads of requests to all applications alike.
"""

from control_plane.api.agent_schemas import AgentDetail, AgentSummary
from control_plane.api.agents import Fleet as FleetPort
from control_plane.api.application import ApiParts, build_api
from control_plane.api.audit import AuditRequest, AuditResponse
from control_plane.api.change import Change
from control_plane.api.economy import pool_detail, standing
from control_plane.api.economy_schemas import PlanResponse, PoolDetail, PriceResponse, StandingResponse
from control_plane.api.intake import Application
from control_plane.api.listeners import CannotListen, Listener, plain_listener, tls_listener
from control_plane.api.queries import find_agent, list_agents

__all__ = [
    "AgentDetail",
    "AgentSummary",
    "ApiParts",
    "Application",
    "AuditRequest",
    "AuditResponse",
    "CannotListen",
    "Change",
    "FleetPort",
    "Listener",
    "PlanResponse",
    "PoolDetail",
    "PriceResponse",
    "StandingResponse",
    "build_api",
    "find_agent",
    "list_agents",
    "plain_listener",
    "pool_detail",
    "standing",
    "tls_listener",
]
