"""The door: whose request this is, and whether it was sent from a page of ours."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from sqlmodel import Session
from starlette.requests import Request

from control_plane.access import OperatorToken, SignedIn, find_session
from control_plane.console.pages import Page, may_see
from control_plane.console.viewer import Viewer
from control_plane.economy import Role
from control_plane.identifiers import TenantId
from control_plane.store import Store

# The prefix makes browsers refuse it without Secure, with a Domain, or from another path.
COOKIE = "__Host-daalu"
FORM_TOKEN = "form_token"  # noqa: S105 - a field's name
MAX_FORM_BYTES = 16_384
FORM_TIMEOUT_S = 10.0
_FORM_TYPE = "application/x-www-form-urlencoded"


class NotSignedIn(Exception):
    """The request has no session that is good."""


class Refused(Exception):
    """Nothing of it is done; the message is for the person at the browser."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Door:
    store: Store
    operator_token: OperatorToken
    # A tenant's role now.
    role_of: Callable[[TenantId], Role]

    async def viewer(self, request: Request, page: Page) -> Viewer:
        """Raises NotSignedIn, or Refused with 404: a page that is not the viewer's is not there."""
        viewer = await self.anyone(request)
        if not may_see(viewer, page):
            raise Refused(404, "There is no such page.")
        return viewer

    async def anyone(self, request: Request) -> Viewer:
        """Who is signed in. Raises NotSignedIn."""
        secret = request.cookies.get(COOKIE)
        if not secret:
            raise NotSignedIn

        def query(session: Session) -> SignedIn | None:
            return find_session(session, secret, self.operator_token.tag)

        found = await self.store.read(query)
        if found is None:
            raise NotSignedIn
        tenant_id = TenantId(found.tenant_id or "")
        return Viewer(
            tenant_id=tenant_id,
            tenant_name=found.tenant_name or "",
            name=found.email or "Operator",
            actor=found.actor,
            role=self.role_of(tenant_id) if tenant_id else Role.NONE,
            is_admin=found.is_admin,
            is_operator=found.is_operator,
            form_token=form_token(secret),
        )

    async def change(
        self, request: Request, page: Page, *, admins_only: bool = True, most_bytes: int = MAX_FORM_BYTES
    ) -> tuple[Viewer, Mapping[str, str]]:
        """The viewer and the form of a change. Raises NotSignedIn, or Refused: from elsewhere than our
        pages, without the session's token, or by a member where admins only may."""
        form = await read_form(request, most_bytes)
        viewer = await self.viewer(request, page)
        if not hmac.compare_digest(form.get(FORM_TOKEN, "").encode(), viewer.form_token.encode()):
            raise Refused(403, "This form is of an earlier session: load the page again.")
        if admins_only and not viewer.is_admin:
            raise Refused(403, "Only an admin of your organisation may do this.")
        return viewer, form


def form_token(secret: str) -> str:
    """Told from the session's secret, and telling nothing of it."""
    return hashlib.sha256(b"daalu-form-token" + secret.encode()).hexdigest()


async def read_form(request: Request, most_bytes: int = MAX_FORM_BYTES) -> dict[str, str]:
    """A posted form's fields. Raises Refused, also where another site's page sent it."""
    require_same_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise Refused(415, "Only this console's own forms are read here.")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > most_bytes:
                    raise Refused(413, f"A form here has at most {most_bytes} bytes.")
    except TimeoutError:
        raise Refused(408, "The form did not arrive in time: send it again.") from None
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=32, errors="strict")
    except ValueError:
        raise Refused(400, "This is not a form.") from None
    return {name: values[-1] for name, values in fields.items()}


def require_same_origin(request: Request) -> None:
    """Raises Refused where a browser says that another origin's page sent this, or does not say."""
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if origin is None or urlsplit(origin).netloc != host or urlsplit(origin).scheme != request.url.scheme:
        raise Refused(403, "This did not come from a page of this console: load the page and try again.")
