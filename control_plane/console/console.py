"""The console put together: routes, the headers of every answer, and what becomes of errors."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import Duplicate, Invalid, OperatorToken, Unknown
from control_plane.api import Change, DiagnosticsPort, FleetPort, LoadTestsPort
from control_plane.catalogue import CardClasses, Entry
from control_plane.console.audit import audit_page_routes
from control_plane.console.calls import call_routes
from control_plane.console.card_pages import card_routes
from control_plane.console.door import Door, NotSignedIn, Refused
from control_plane.console.factory import factory_routes
from control_plane.console.feed import Feeds
from control_plane.console.oidc import Provider
from control_plane.console.oidc.routes import oidc_routes
from control_plane.console.operator import operator_routes
from control_plane.console.rendering import Rendering
from control_plane.console.sign_in import sign_in_routes
from control_plane.console.static import static_routes
from control_plane.console.try_it import Conversing, try_it_routes
from control_plane.console.usage import usage_routes
from control_plane.economy import EconomyIndex
from control_plane.fleet import NotConnected
from control_plane.identifiers import AgentId
from control_plane.install import Installation
from control_plane.store import Store

logger = logging.getLogger(__name__)

# Nothing from elsewhere, nothing inline, nothing evaluated: pages need no more than their own files.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types daalu",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What pages are made of; built by the composition root."""

    store: Store
    fleet: FleetPort
    catalogue: Iterable[Entry]
    card_classes: CardClasses
    # The file of telemetry's history.
    telemetry: Path
    operator_token: OperatorToken
    economy: EconomyIndex
    # A tenant's id and the actor to an invite's text and when it expires.
    create_invite: Callable[[str, str], Awaitable[tuple[str, int]]]
    # An agent and the actor.
    revoke_agent: Callable[[AgentId, str], Awaitable[None]]
    conversing: Conversing
    diagnostics: DiagnosticsPort
    load_tests: LoadTestsPort
    installation: Installation | None = None
    # With which users may sign in beside their password.
    identity_provider: Provider | None = None


class Console:
    """`routes` for the API application; `close` once no new page is to open."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._feeds = Feeds()
        door = Door(parts.store, parts.operator_token, lambda tenant: parts.economy.tenant(tenant).role)
        provider = parts.identity_provider
        rendering = Rendering(identity_provider=provider.settings.name if provider else None)
        change = Change(parts.store, parts.economy.refresh)
        # Whatever room a page is of, it answers as this console does.
        self.routes = APIRouter(route_class=_route_class(rendering))
        for routes in (
            static_routes(),
            sign_in_routes(door, rendering),
            *([oidc_routes(provider, door, rendering)] if provider else []),
            factory_routes(parts, door, rendering, self._feeds, change),
            usage_routes(parts, door, rendering),
            call_routes(parts, door, rendering),
            *operator_routes(parts, door, rendering, self._feeds),
            audit_page_routes(parts.store, door, rendering),
            card_routes(parts, door, rendering, self._feeds),
            try_it_routes(parts, door, rendering),
        ):
            for route in routes.routes:
                assert isinstance(route, APIRoute)  # noqa: S101 - pages have no other
                self.routes.add_api_route(
                    route.path, route.endpoint, methods=list(route.methods or ()), include_in_schema=False,
                    response_model=None,
                )  # fmt: skip

    def close(self) -> None:
        self._feeds.close()


def _route_class(rendering: Rendering) -> type[APIRoute]:
    class ConsoleRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                answer = await _answer(rendering, inner, request)
                for name, value in HEADERS.items():
                    answer.headers.setdefault(name, value)
                # What a signed-in person saw is not kept where another might find it.
                answer.headers.setdefault("cache-control", "no-store")
                return answer

            return handle

    return ConsoleRoute


async def _answer(
    rendering: Rendering, inner: Callable[[Request], Awaitable[Response]], request: Request
) -> Response:
    try:
        return await inner(request)
    except NotSignedIn:
        if request.method == "GET" and request.url.path.startswith("/console/live"):
            return Response(status_code=401)
        return RedirectResponse("/console/sign-in", 303)
    except Refused as refusal:
        return rendering.message(refusal.status, str(refusal))
    except Unknown as unknown:
        return rendering.message(404, f"{str(unknown)[:1].upper()}{str(unknown)[1:]}.")
    except (Duplicate, NotConnected) as conflict:
        return rendering.message(409, str(conflict))
    except Invalid as invalid:
        return rendering.message(422, str(invalid))
    except SQLAlchemyError:
        logger.exception("a page could not be made")
        return rendering.message(503, "The database does not answer now. Try again in a moment.")
