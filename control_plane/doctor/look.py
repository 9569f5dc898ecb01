"""Looks at a control plane's own machine. Nothing is changed, and nothing of it need run."""

import ctypes
import fcntl
import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, func, select, text

from control_plane.config import Address, DataDirectory, Settings
from control_plane.doctor.finding import Finding, Verdict
from control_plane.doctor.judge import (
    Validity,
    judge_certificate,
    judge_disk,
    judge_handshakes,
    judge_hub,
    judge_modes,
    judge_schema,
    judge_synchronised,
)
from control_plane.enrolment import Authority, AuthorityUnusable
from control_plane.store import Store, newest_schema
from control_plane.store.tables import Agent, Connection

CONNECT_TIMEOUT_S = 3.0
WG_TIMEOUT_S = 5.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# Linux's adjtimex(2): the clock is not synchronised. The buffer is larger than the structure.
_TIME_ERROR, _TIMEX_BYTES = 5, 512


def look_around(settings: Settings) -> Iterator[Finding]:
    """Each as it ends; checking the whole store takes as long as reading it."""
    directory = settings.directory
    yield judge_modes(_modes(directory))
    yield judge_disk(shutil.disk_usage(settings.data).free)
    tunnels_count = yield from _look_at_store(settings)
    yield from _look_at_certificates(directory)
    yield from _look_at_hub(settings, tunnels_count)
    yield judge_synchronised(synchronised=_is_clock_kept())
    yield _look_at_listener("listen", "HTTPS", settings.listen, directory.tls_certificate)
    if settings.listen_plain is not None:
        yield _look_at_listener("listen_plain", "plain HTTP", settings.listen_plain, None)


def _modes(directory: DataDirectory) -> dict[str, int | None]:
    secrets = (
        directory.authority / "root.key",
        directory.tls_key,
        directory.hub_key,
        directory.ticket_secret,
        directory.operator_token,
    )
    return {str(path.relative_to(directory.root)): _mode(path) for path in secrets}


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _look_at_store(settings: Settings) -> Generator[Finding, None, int]:
    """Returns how many agents come through tunnels; 0 where that cannot be known."""
    if settings.database_url.startswith("sqlite"):
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        # It would be made by opening it.
        if not path.is_file():
            advice = "restore a backup (daalu restore); `daalu init` makes an empty one"
            yield Finding("store", "store", Verdict.FAIL, f"{path} is not there", advice)
            return 0
    store = Store(settings.database_url)
    try:
        with store.reading() as session:
            yield _checked(session, is_sqlite=store.is_sqlite)
            schema = session.connection().execute(text("SELECT version_num FROM alembic_version")).scalar()
            yield judge_schema(schema, newest_schema())
            return _tunnels_count(session)
    except SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        advice = "is the database running, its disk mounted, and is this the user who ran `daalu init`?"
        yield Finding("store", "store", Verdict.FAIL, f"cannot be read: {words}", advice)
        return 0
    finally:
        store.close()


def _checked(session: Session, *, is_sqlite: bool) -> Finding:
    if not is_sqlite:
        session.connection().execute(text("SELECT 1")).scalar_one()
        return Finding("store", "store", Verdict.PASS, "PostgreSQL answers; it checks itself")
    found = session.connection().execute(text("PRAGMA quick_check(1)")).scalar_one()
    if found == "ok":
        return Finding("store", "store", Verdict.PASS, "opened, and every page is in order")
    advice = "stop `daalu serve`, keep this file, and restore the last backup"
    return Finding("store", "store", Verdict.FAIL, f"damaged: {found}", advice)


def _tunnels_count(session: Session) -> int:
    statement = select(func.count()).where(
        Agent.connection == Connection.TUNNEL, col(Agent.revoked_unix_ms).is_(None)
    )
    return session.exec(statement).one()


def _look_at_certificates(directory: DataDirectory) -> Iterator[Finding]:
    now = datetime.now(UTC)
    try:
        roots = Authority.load(directory.authority).root_certificates_pem
        root = x509.load_pem_x509_certificate(roots[0].encode())
        finding = judge_certificate(
            "authority", "authority", _validity(root), now,
            "the authority must be rolled over: see docs/architecture.md, Certificates",
        )  # fmt: skip
        rollover = "; a rollover is under way, the root before it is trusted too" if len(roots) > 1 else ""
        yield Finding(finding.check, finding.title, finding.verdict, finding.saw + rollover, finding.advice)
    except AuthorityUnusable as error:
        yield Finding(
            "authority", "authority", Verdict.FAIL, str(error), "restore both files from one backup"
        )
    try:
        shown = x509.load_pem_x509_certificate(directory.tls_certificate.read_bytes())
        key = load_pem_private_key(directory.tls_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        yield Finding(
            "certificate", "HTTPS certificate", Verdict.FAIL, f"cannot be used: {error}",
            "restore tls/ from a backup: invites and hosts know its key",
        )  # fmt: skip
        return
    if key.public_key() != shown.public_key():
        yield Finding(
            "certificate", "HTTPS certificate", Verdict.FAIL, "server.pem is of another key than server.key",
            "put the two back that belong together",
        )  # fmt: skip
        return
    yield judge_certificate(
        "certificate", "HTTPS certificate", _validity(shown), now,
        "put a new one into tls/server.pem, for the same key, and restart `daalu serve`",
    )  # fmt: skip


def _validity(certificate: x509.Certificate) -> Validity:
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _look_at_hub(settings: Settings, tunnels_count: int) -> Iterator[Finding]:
    is_up = Path("/sys/class/net", settings.hub_interface).exists()
    yield judge_hub(
        runs=_is_locked(settings.directory.hub_key.with_name("lock")),
        interface=settings.hub_interface,
        is_up=is_up,
        tunnels_count=tunnels_count,
    )
    if is_up:
        yield _handshakes(settings.hub_interface)


def _is_locked(path: Path) -> bool:
    """By a hub, which holds it for as long as it runs."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _handshakes(interface: str) -> Finding:
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}
    try:
        printed = subprocess.run(
            ["wg", "show", interface, "latest-handshakes"],
            capture_output=True, text=True, check=True, timeout=WG_TIMEOUT_S, env=environment,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip()
        return Finding("peers", "tunnels", Verdict.NOT_AVAILABLE, f"cannot be seen: {words}", "ask as root")
    now_s = time.time()
    seen_s = [int(line.split("\t")[1]) for line in printed.splitlines()]
    return judge_handshakes([now_s - each if each else None for each in seen_s])


def _is_clock_kept() -> bool:
    return ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) not in (-1, _TIME_ERROR)


def _look_at_listener(check: str, title: str, address: Address, certificate: Path | None) -> Finding:
    """`certificate`: what must be shown there; None: no TLS."""
    place = (_WILDCARDS.get(address.host, address.host), address.port)
    try:
        with socket.create_connection(place, timeout=CONNECT_TIMEOUT_S) as connection:
            if certificate is not None and not _shows(connection, certificate):
                return Finding(
                    check, title, Verdict.FAIL, f"{address} shows another certificate than tls/server.pem",
                    "restart `daalu serve`; if it stays so, another program has its port",
                )  # fmt: skip
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        advice = "start `daalu serve`; its log says why where it does not stay up"
        return Finding(check, title, Verdict.FAIL, f"{address} does not answer: {words}", advice)
    return Finding(check, title, Verdict.PASS, f"{address} answers")


def _shows(connection: socket.socket, certificate: Path) -> bool:
    """Compared with the file's and with nothing else, so that nobody need vouch for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(connection) as encrypted:
        shown = encrypted.getpeercert(binary_form=True)
    return shown == ssl.PEM_cert_to_DER_cert(certificate.read_text())
