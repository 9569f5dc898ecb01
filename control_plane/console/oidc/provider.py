"""The identity provider over HTTP: where its doors are, its keys, and what a code is worth."""

import asyncio
import base64
import hashlib
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from control_plane.config import InvalidSetting
from control_plane.console.oidc.claims import NotGood, verified_email
from control_plane.console.oidc.settings import OidcSettings
from control_plane.vendors import parse_base_url

CALLBACK = "/console/sign-in/oidc/callback"
TIMEOUT_S = 10.0
MOST_ANSWER_BYTES = 262_144
# How long the provider's document and keys are taken as they were.
KEEP_S = 3_600.0
# After it did not answer it is not asked again for so long: whoever waits is told at once.
RETRY_S = 2.0
# Asymmetric ones only: with a shared secret or "none", whoever knows the client could sign.
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]


class ProviderDown(Exception):
    """It does not answer, or not as an identity provider does; the message says how, for the log."""


@dataclass(frozen=True, slots=True)
class _Doors:
    authorization_endpoint: str
    token_endpoint: str
    keys: KeySet
    read_s: float


class Provider:
    """`public_url`: of this control plane, as the provider knows it."""

    def __init__(self, settings: OidcSettings, public_url: str) -> None:
        self.settings = settings
        self.redirect_uri = public_url.rstrip("/") + CALLBACK
        # What the system trusts, as for vendors.
        self._trust = ssl.create_default_context()
        self._doors: _Doors | None = None
        # When it last did not answer, and how.
        self._down: tuple[float, str] | None = None
        self._reading = asyncio.Lock()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes. Raises ProviderDown."""
        doors = await self._open()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid email",
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in doors.authorization_endpoint else "?"
        return f"{doors.authorization_endpoint}{joint}{urlencode(query)}"

    async def email_of(self, code: str, *, nonce: str, verifier: str) -> str:
        """The verified address of whoever the code is of. Raises ProviderDown, NotGood or NotAdmitted."""
        doors = await self._open()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        status, answer = await self._ask("POST", doors.token_endpoint, form)
        if status in (400, 401):
            # The provider's word, which names no secret.
            error = answer.get("error")
            raise NotGood(f"the provider refused the code ({error if isinstance(error, str) else status})")
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise ProviderDown(f"{doors.token_endpoint} answered {status} without an id_token")
        try:
            claims = self._claims(token, doors.keys)
        except (JoseError, ValueError):
            # It may have changed its keys since they were read.
            claims = await self._claims_by_fresh_keys(token)
        return verified_email(claims, self.settings, nonce=nonce, now_s=time.time())

    async def _claims_by_fresh_keys(self, token: str) -> Mapping[str, Any]:
        self._doors = None
        doors = await self._open()
        try:
            return self._claims(token, doors.keys)
        except (JoseError, ValueError) as error:
            raise NotGood(f"its signature is not good ({type(error).__name__})") from None

    @staticmethod
    def _claims(token: str, keys: KeySet) -> Mapping[str, Any]:
        return jwt.decode(token, keys, algorithms=ALGORITHMS).claims

    async def _open(self) -> _Doors:
        async with self._reading:
            doors, now_s = self._doors, time.monotonic()
            if doors is not None and now_s - doors.read_s < KEEP_S:
                return doors
            if self._down is not None and now_s - self._down[0] < RETRY_S:
                raise ProviderDown(self._down[1])
            try:
                self._doors = doors = await self._read()
            except ProviderDown as problem:
                self._down = time.monotonic(), str(problem)
                raise
            return doors

    async def _read(self) -> _Doors:
        issuer = self.settings.issuer
        where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        status, document = await self._ask("GET", where)
        if status != 200 or document.get("issuer") != issuer:
            raise ProviderDown(f"{where} answered {status}, for the issuer {document.get('issuer')!r}")
        places = {}
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            place = document.get(name)
            try:
                # Keys and codes travel there: https, or loopback.
                parse_base_url(str(place).partition("?")[0])
            except InvalidSetting as error:
                raise ProviderDown(f"{where}: {name} {error}") from None
            places[name] = str(place)
        status, found = await self._ask("GET", places["jwks_uri"])
        try:
            keys = KeySet.import_key_set({"keys": found["keys"]})
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ProviderDown(f"{places['jwks_uri']} answered {status} without good keys") from error
        return _Doors(places["authorization_endpoint"], places["token_endpoint"], keys, time.monotonic())

    async def _ask(
        self, method: str, url: str, form: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object. Raises ProviderDown."""
        # RFC 6749, 2.3.1: each is form-encoded before they are joined.
        who = httpx2.BasicAuth(
            quote(self.settings.client_id, safe=""), quote(self.settings.client_secret, safe="")
        )
        status, body = 0, bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                httpx2.AsyncClient(verify=self._trust, timeout=TIMEOUT_S, trust_env=False) as client,
                client.stream(
                    method, url, data=form, auth=who if form is not None else None,
                    headers={"accept": "application/json"},
                ) as answer,
            ):  # fmt: skip
                status = answer.status_code
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > MOST_ANSWER_BYTES:
                        raise ProviderDown(f"{url} answered with more than {MOST_ANSWER_BYTES} bytes")
            found = json.loads(body)
        except (httpx2.HTTPError, TimeoutError) as error:
            raise ProviderDown(f"{url}: {str(error) or type(error).__name__}") from error
        except ValueError as error:
            raise ProviderDown(f"{url} answered {status} with what is no JSON") from error
        if not isinstance(found, dict):
            raise ProviderDown(f"{url} answered with what is no JSON object")
        return status, found


def _challenge(verifier: str) -> str:
    """RFC 7636, S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
