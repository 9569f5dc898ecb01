"""Signing in by the identity provider: the way there, and the way back."""

import hmac
import logging
import secrets
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from control_plane.access import Duplicate, Unknown, user_of_address
from control_plane.console.attempts import MOST_PER_ADDRESS, FailureLimit
from control_plane.console.door import Door
from control_plane.console.oidc.claims import NotAdmitted, NotGood
from control_plane.console.oidc.provider import CALLBACK, Provider, ProviderDown
from control_plane.console.rendering import Rendering
from control_plane.console.sign_in import begin_session

logger = logging.getLogger(__name__)

# The flow's three secrets, for as long as signing in at the provider may take.
FLOW_COOKIE = "__Host-daalu-oidc"
FLOW_S = 600
MOST_CODE_CHARACTERS = 4_096
_BEGIN = "/console/sign-in/oidc"


def oidc_routes(provider: Provider, door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()
    by_address = FailureLimit(MOST_PER_ADDRESS)

    def refused(status: int, error: str) -> Response:
        answer = rendering.bare("sign_in.html", status=status, error=error, operator=False)
        _forget(answer)
        return answer

    def down(problem: ProviderDown) -> Response:
        logger.warning("the identity provider is of no use now: %s", problem)
        return refused(
            503,
            "The identity provider does not answer now. Use your password, or try again in a moment.",
        )

    # A link and not a form: a form's answer may redirect to this console alone (form-action 'self').
    @routes.get(_BEGIN)
    async def begin(request: Request) -> Response:
        flow = [secrets.token_urlsafe(32) for _ in range(3)]
        state, nonce, verifier = flow
        try:
            where = await provider.authorization_url(state=state, nonce=nonce, verifier=verifier)
        except ProviderDown as problem:
            return down(problem)
        answer = RedirectResponse(where, 303)
        answer.set_cookie(
            FLOW_COOKIE, ".".join(flow), max_age=FLOW_S, path="/", secure=True, httponly=True, samesite="lax"
        )
        return answer

    @routes.get(CALLBACK)
    async def callback(
        request: Request, state: str = "", code: str = "", error: str = "", iss: str | None = None
    ) -> Response:
        flow = request.cookies.get(FLOW_COOKIE, "").split(".")
        if len(flow) != 3 or not hmac.compare_digest(flow[0].encode(), state.encode()):
            return refused(
                400, "This sign-in was begun in another browser, or over 10 minutes ago: begin anew."
            )
        address, now_s = request.client.host if request.client else "", time.monotonic()
        # Before anything is asked of the provider, so that nobody makes us ask without end.
        if by_address.is_reached(address, now_s):
            return refused(429, "Too many failed attempts. Wait a quarter of an hour, then try again.")
        by_address.count(address, now_s)
        # RFC 9207: the answer of another provider is none.
        if iss is not None and iss != provider.settings.issuer:
            return refused(401, "The answer came from another identity provider: begin anew.")
        if error:
            word = "".join(each for each in error[:40] if each.isascii() and (each.isalnum() or each == "_"))
            return refused(403, f"Your identity provider did not sign you in ({word or 'without a reason'}).")
        if not 1 <= len(code) <= MOST_CODE_CHARACTERS:
            return refused(400, "The identity provider's answer has no code: begin anew.")
        email = ""
        try:
            email = await provider.email_of(code, nonce=flow[1], verifier=flow[2])
            user = await door.store.read(lambda session: user_of_address(session, email))
        except ProviderDown as problem:
            by_address.give_back(address)
            return down(problem)
        except NotGood as problem:
            logger.warning("the identity provider's answer was refused: %s", problem)
            return refused(401, f"The identity provider's answer is not good: {problem}. Begin anew.")
        except NotAdmitted as problem:
            return refused(403, str(problem))
        except Unknown:
            return refused(403, f"Nobody here has the address {email}: ask your operator to make you a user.")
        except Duplicate as problem:
            return refused(409, f"{problem}.")
        by_address.give_back(address)
        answer = await begin_session(door, user)
        _forget(answer)
        return answer

    return routes


def _forget(answer: Response) -> None:
    """A flow is good for one answer."""
    answer.delete_cookie(FLOW_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
