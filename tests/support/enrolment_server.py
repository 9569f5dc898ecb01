"""A small real HTTPS server that plays the control plane's end of enrolment, faults included."""

import base64
import datetime as dt
import hashlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from daalu_wire.v1 import enrolment_pb2

from tests.support.agent_state import Authority

Reply = tuple[int, bytes]


@dataclass
class EnrolmentServer:
    port: int
    key_sha256: bytes
    authority: Authority
    # Bodies received, parsed.
    claims: list[dict[str, Any]] = field(default_factory=list)
    # Every decrypted byte received.
    received: bytearray = field(default_factory=bytearray)
    # Played in turn before the regular answer; None: breaks off without an answer.
    script: list[Callable[[dict[str, Any]], Reply | None]] = field(default_factory=list)
    clock_behind: dt.timedelta = dt.timedelta()

    def invite(self, **changes: Any) -> str:
        fields: dict[str, Any] = {
            "url": f"https://127.0.0.1:{self.port}",
            "token": b"t" * 32,
            "control_plane_key_sha256": self.key_sha256,
        }
        return invite_text(**{**fields, **changes})

    def answer(self, claim: dict[str, Any]) -> Reply:
        body: dict[str, Any] = {
            "agentId": "agt-0123",
            "agentName": claim["agentName"],
            "tenantName": "acme",
            "certificatePem": self.authority.sign_request(claim["certificateRequestPem"]),
            "rootCertificatesPem": [self.authority.root_pem],
        }
        if not claim.get("direct"):
            body["tunnel"] = {
                "agentAddress": "fd77:1:2:3::2",
                "hubAddress": "fd77:1:2:3::1",
                "network": "fd77:1:2::/48",
                "hubPublicKey": base64.b64encode(b"h" * 32).decode(),
                "hubEndpoint": "127.0.0.1:51820",
                "mtuBytes": 1280,
                "keepaliveS": 25,
            }
        return 200, json.dumps(body).encode()


def refusal(code: str, status: int, message: str = "see the code") -> Callable[[dict[str, Any]], Reply]:
    return lambda claim: (status, json.dumps({"code": code, "message": message}).encode())


def invite_text(**fields: Any) -> str:
    message = enrolment_pb2.Invite(**fields).SerializeToString()
    return "daalu-invite-" + base64.urlsafe_b64encode(message).decode().rstrip("=")


@contextmanager
def enrolment_server(directory: Path) -> Iterator[EnrolmentServer]:
    key = ec.generate_private_key(ec.SECP256R1())
    authority = Authority.create()
    (directory / "server.pem").write_text(authority.sign(key.public_key(), "127.0.0.1"))
    (directory / "server.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()
            read = self.rfile.readline

            def readline(limit: int | None = -1) -> bytes:
                line = read(limit)
                state.received.extend(line)
                return line

            self.rfile.readline = readline  # type: ignore[method-assign]

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.extend(body)
            claim = json.loads(body)
            state.claims.append(claim)
            assert self.path == "/enrolment/v1/claim"
            reply = (state.script.pop(0) if state.script else state.answer)(claim)
            if reply is None:
                self.close_connection = True
                return
            self.send_response_only(reply[0])
            self.send_header(
                "Date", format_datetime(dt.datetime.now(dt.UTC) - state.clock_behind, usegmt=True)
            )
            self.send_header("Content-Length", str(len(reply[1])))
            self.end_headers()
            self.wfile.write(reply[1])

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def log_message(self, *arguments: object) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *arguments: object) -> None:
            return

    with Server(("127.0.0.1", 0), Handler) as server:
        state = EnrolmentServer(server.server_port, hashlib.sha256(spki).digest(), authority)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def public_key_of(request_pem: str) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_csr(request_pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key
