"""Signing in and out, and choosing a password by a link."""

import asyncio
import time
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlmodel import Session

from control_plane.access import (
    MIN_PASSWORD_CHARACTERS,
    Invalid,
    Unknown,
    check_password,
    choose_password,
    end_session,
    find_link,
    hash_password,
    is_password,
    password_hash_of,
    start_session,
)
from control_plane.console.attempts import MOST_PER_ACCOUNT, MOST_PER_ADDRESS, FailureLimit
from control_plane.console.door import COOKIE, FORM_TOKEN, Door, NotSignedIn, Refused, form_token, read_form
from control_plane.console.rendering import Rendering
from control_plane.store.tables import User

_WRONG = "That address and password do not belong together."
_LIMITED = "Too many failed attempts. Wait a quarter of an hour, then try again."
_OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class _Limits:
    by_account: FailureLimit = field(default_factory=lambda: FailureLimit(MOST_PER_ACCOUNT))
    by_address: FailureLimit = field(default_factory=lambda: FailureLimit(MOST_PER_ADDRESS))

    def begin(self, account: str, address: str) -> bool:
        """Counts an attempt before it is judged, so that many at once are no more than allowed; False: none
        may be made."""
        now_s = time.monotonic()
        if self.by_account.is_reached(account, now_s) or self.by_address.is_reached(address, now_s):
            return False
        self.by_account.count(account, now_s)
        self.by_address.count(address, now_s)
        return True

    def succeeded(self, account: str, address: str) -> None:
        self.by_account.give_back(account)
        self.by_address.give_back(address)


async def begin_session(door: Door, user: User | None) -> Response:
    """On to the console, with a session of the user, or of the operator for None."""

    def unit(session: Session) -> str:
        return start_session(session, user=user, operator_tag=door.operator_token.tag)

    secret = await door.store.write(unit)
    answer = RedirectResponse("/console" if user else "/console/operator", 303)
    answer.set_cookie(COOKIE, secret, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def sign_in_routes(door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()
    limits = _Limits()
    # One at a time: each takes 19 MiB, and a crowd of them would take the calls' time.
    hashing = asyncio.Semaphore(1)

    @routes.get("/console/sign-in")
    async def page() -> Response:
        return rendering.bare("sign_in.html", error=None, operator=False)

    @routes.post("/console/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await read_form(request)
        email, password = form.get("email", "").strip().lower(), form.get("password", "")
        address = request.client.host if request.client else ""
        if not limits.begin(email, address):
            return rendering.bare("sign_in.html", status=429, error=_LIMITED, operator=False)
        user, stored = await door.store.read(lambda session: password_hash_of(session, email))
        async with hashing:
            good = await asyncio.to_thread(is_password, password, stored)
        if not good or user is None:
            return rendering.bare("sign_in.html", status=401, error=_WRONG, operator=False)
        limits.succeeded(email, address)
        return await begin_session(door, user)

    @routes.get("/console/sign-in/operator")
    async def operator_page() -> Response:
        return rendering.bare("sign_in.html", error=None, operator=True)

    @routes.post("/console/sign-in/operator")
    async def operator_sign_in(request: Request) -> Response:
        form = await read_form(request)
        address = request.client.host if request.client else ""
        # Nobody guesses 256 bits: the account is not limited, so that nobody keeps the operator out.
        if not limits.begin(f"{_OPERATOR} {address}", address):
            return rendering.bare("sign_in.html", status=429, error=_LIMITED, operator=True)
        if not door.operator_token.matches(form.get("token", "").strip()):
            error = "This is not the operator's token."
            return rendering.bare("sign_in.html", status=401, error=error, operator=True)
        limits.succeeded(f"{_OPERATOR} {address}", address)
        return await begin_session(door, None)

    @routes.post("/console/sign-out")
    async def sign_out(request: Request) -> Response:
        form = await read_form(request)
        secret = request.cookies.get(COOKIE, "")
        try:
            viewer = await door.anyone(request)
        except NotSignedIn:
            viewer = None
        if viewer is not None:
            if form.get(FORM_TOKEN) != form_token(secret):
                raise Refused(403, "This form is of an earlier session: load the page again.")
            actor = viewer.actor
            await door.store.write(lambda session: end_session(session, secret, actor=actor))
        answer = RedirectResponse("/console/sign-in", 303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    @routes.get("/console/welcome/{token}")
    async def welcome(token: str) -> Response:
        user = await door.store.read(lambda session: find_link(session, token))
        return rendering.bare(
            "welcome.html", email=user.email, token=token, error=None, least=MIN_PASSWORD_CHARACTERS
        )

    @routes.post("/console/welcome")
    async def choose(request: Request) -> Response:
        form = await read_form(request)
        token, password = form.get("token", ""), form.get("password", "")
        try:
            user = await door.store.read(lambda session: find_link(session, token))
        except Unknown as unknown:
            raise Refused(
                404, "This link was used, or is older than 72 hours: ask for a new one."
            ) from unknown
        try:
            _check_choice(password, form.get("again", ""))
        except Invalid as invalid:
            return rendering.bare(
                "welcome.html", status=422, email=user.email, token=token, error=str(invalid),
                least=MIN_PASSWORD_CHARACTERS,
            )  # fmt: skip
        async with hashing:
            hashed = await asyncio.to_thread(hash_password, password)
        chosen = await door.store.write(
            lambda session: choose_password(session, token=token, password_hash=hashed)
        )
        return await begin_session(door, chosen)

    return routes


def _check_choice(password: str, again: str) -> None:
    """Raises Invalid."""
    check_password(password)
    if password != again:
        raise Invalid("the two are not the same")
