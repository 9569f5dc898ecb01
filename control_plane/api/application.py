"""The API application: every REST route, enrolment and health, behind the intake."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select

from control_plane.access import AccessIndex, OperatorToken
from control_plane.api.access import RefreshAccess, access_routes
from control_plane.api.agents import CreateInvite, Fleet, agent_routes
from control_plane.api.audit import audit_routes
from control_plane.api.calls import call_routes
from control_plane.api.change import Change
from control_plane.api.description import PREFIX, describe, operation_id
from control_plane.api.diagnostics import Runs, diagnostic_routes
from control_plane.api.economy import economy_routes
from control_plane.api.errors import error_body, translate_errors
from control_plane.api.fleet import fleet_routes
from control_plane.api.intake import Application, Intake
from control_plane.api.ledger import ledger_routes
from control_plane.api.load_tests import LoadTestRuns, load_test_routes
from control_plane.api.metrics import metrics_routes
from control_plane.api.models import model_routes
from control_plane.api.offers import offer_routes
from control_plane.api.own_calls import own_call_routes
from control_plane.api.pins import pin_routes
from control_plane.api.pool_limits import pool_limit_routes
from control_plane.api.providers import provider_routes
from control_plane.api.telemetry import telemetry_routes
from control_plane.api.usage import usage_routes
from control_plane.catalogue import CardClasses, Entry
from control_plane.identifiers import AgentId
from control_plane.install import Installation, artifact_routes
from control_plane.metrics import MetricsParts
from control_plane.store import Store


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API is made of; built by the composition root."""

    store: Store
    fleet: Fleet
    catalogue: Iterable[Entry]
    card_classes: CardClasses
    diagnostics: Runs
    load_tests: LoadTestRuns
    refresh_measured: Callable[[], Awaitable[None]]
    # The file of telemetry's history.
    telemetry: Path
    operator_token: OperatorToken
    access: AccessIndex
    metrics: MetricsParts
    enrolment: APIRouter
    create_invite: CreateInvite
    revoke_agent: Callable[[AgentId, str], Awaitable[None]]
    refresh_access: RefreshAccess
    refresh_economy: Callable[[], Awaitable[None]]
    public_url: str
    # Absent where no release is served: then an invite comes without a line that installs.
    installation: Installation | None = None
    # The pages, where they are served.
    console: APIRouter | None = None


def build_api(parts: ApiParts) -> Application:
    application = FastAPI(
        title="Daalu AI Factory",
        # The description is for who holds the token, like everything under this path.
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    describe(application, version("daalu-ai-factory"))
    translate_errors(application)
    change = Change(parts.store, parts.refresh_economy)
    for routes in (
        access_routes(parts.store, parts.refresh_access, parts.public_url),
        agent_routes(
            parts.store,
            parts.fleet,
            parts.create_invite,
            parts.revoke_agent,
            parts.telemetry,
            parts.installation,
        ),
        fleet_routes(parts.store, parts.fleet, parts.installation),
        model_routes(parts.catalogue),
        offer_routes(parts.store, parts.fleet, parts.catalogue, parts.card_classes),
        pool_limit_routes(parts.store, parts.fleet),
        telemetry_routes(parts.store, parts.telemetry),
        diagnostic_routes(parts.store, parts.diagnostics),
        load_test_routes(parts.store, parts.load_tests, Change(parts.store, parts.refresh_measured)),
        call_routes(parts.store),
        economy_routes(parts.store, change),
        pin_routes(parts.store, change),
        ledger_routes(parts.store),
        usage_routes(parts.store),
        provider_routes(parts.store),
        audit_routes(parts.store),
    ):
        application.include_router(routes, prefix=PREFIX)
    application.include_router(_health_routes(parts.store), include_in_schema=False)
    metrics = metrics_routes(parts.store, parts.operator_token, parts.access, parts.metrics)
    application.include_router(metrics, include_in_schema=False)
    own_calls = own_call_routes(parts.store, parts.access)
    application.include_router(own_calls, include_in_schema=False)
    application.include_router(parts.enrolment, include_in_schema=False)
    if parts.console is not None:
        application.include_router(parts.console, include_in_schema=False)
    if parts.installation is not None:
        application.include_router(artifact_routes(parts.installation.release), include_in_schema=False)
    return Intake(application, parts.operator_token)


def _health_routes(store: Store) -> APIRouter:
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> JSONResponse:
        """200 while the database answers."""
        try:
            await store.read(_ping)
        except SQLAlchemyError:
            return JSONResponse(error_body("database", "the database does not answer"), 503)
        return JSONResponse({"status": "ok"})

    return routes


def _ping(session: Session) -> None:
    session.execute(select(1))
