"""A small identity provider on loopback: OpenID Connect's documents, codes with PKCE, and signed tokens.

It signs with `cryptography` alone, so that what checks its tokens is not what made them.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT_ID = "daalu-console"
# With what must be escaped.
CLIENT_SECRET = "a-secret:of/two+halves%and=more"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@dataclass
class _Grant:
    claims: Mapping[str, Any]
    challenge: str
    redirect_uri: str


@dataclass
class IdentityProvider:
    """`claims`, `headers` and `signer` change what its next tokens say and who signs them."""

    issuer: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    key_id: str = "first"
    claims: dict[str, Any] = field(default_factory=dict)
    # "RS256", "none", or "HS256" by the client's secret.
    algorithm: str = "RS256"
    signer: rsa.RSAPrivateKey | None = None
    # Instead of an answer of the token's door, where it is not None.
    token_answer: tuple[int, bytes] | None = None
    grants: dict[str, _Grant] = field(default_factory=dict)

    def grant(self, query: Mapping[str, str], email: str | None, **claims: Any) -> str:
        """Somebody has signed in there: a code, for the query that the browser came with."""
        now = int(time.time())
        code = secrets.token_urlsafe(16)
        said = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "1", "iat": now, "exp": now + 300,
            "nonce": query["nonce"], "email": email, "email_verified": True,
        } | claims  # fmt: skip
        self.grants[code] = _Grant(said, query["code_challenge"], query["redirect_uri"])
        return code

    def redeem(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        kind, _, text = authorization.partition(" ")
        who = base64.b64decode(text).decode().partition(":") if kind == "Basic" else ("", "", "")
        if (unquote(who[0]), unquote(who[2])) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        found = self.grants.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            found is None
            or form.get("grant_type") != "authorization_code"
            or found.challenge != _base64(verifier)
            or found.redirect_uri != form.get("redirect_uri")
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": self.token(found.claims)}

    def token(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        text = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        if self.algorithm == "none":
            signature = b""
        elif self.algorithm == "HS256":
            signature = hmac.digest(CLIENT_SECRET.encode(), text.encode(), "sha256")
        else:
            signature = (self.signer or self.key).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_base64(signature)}"

    def document(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        if path == "/keys":
            numbers = self.key.public_key().public_numbers()
            return {
                "keys": [
                    {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id,
                     "n": _number(numbers.n), "e": _number(numbers.e)}
                ]
            }  # fmt: skip
        return None


@contextmanager
def identity_provider(port: int) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(issuer=f"http://127.0.0.1:{port}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = provider.document(self.path)
            self._answer(*((200, found) if found is not None else (404, {})))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if provider.token_answer is not None:
                self._raw(*provider.token_answer)
                return
            form = {name: values[-1] for name, values in parse_qs(body).items()}
            self._answer(*provider.redeem(form, self.headers.get("authorization", "")))

        def _answer(self, status: int, body: Mapping[str, Any]) -> None:
            self._raw(status, json.dumps(body).encode())

        def _raw(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: tests print what they need."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="identity provider", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
