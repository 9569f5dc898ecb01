"""A private PostgreSQL server for tests: made in a temporary directory, reached over a socket there."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("initdb", "pg_ctl", "psql")
_START_TIMEOUT_S = 60


def missing_reason() -> str | None:
    """Why no server can be started here; None: one can."""
    missing = [name for name in _PROGRAMS if _program(name) is None]
    if missing:
        return f"PostgreSQL's programs are missing ({', '.join(missing)}): install postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    return None


@dataclass(frozen=True, slots=True)
class Server:
    directory: Path

    def create_database(self) -> str:
        """A new empty database; returns its URL in SQLAlchemy's form."""
        name = f"daalu_{secrets.token_hex(6)}"
        _run("psql", "-h", str(self.directory), "-U", "postgres", "-qc", f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@/{name}?host={self.directory}"

    def restart(self) -> None:
        """Breaks every connection, as an upgrade of the server would."""
        _stop(self.directory)
        _start(self.directory)


@contextmanager
def running() -> Iterator[Server]:
    """A server that lives as long as the block."""
    # Short on purpose: a socket's path has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="daalu-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        _run("initdb", "-D", str(directory / "data"), "-U", "postgres", "-A", "trust", "--no-sync")
        _start(directory)
        try:
            yield Server(directory)
        finally:
            _stop(directory)
    finally:
        shutil.rmtree(directory)


def _start(directory: Path) -> None:
    options = f"-k {directory} -c listen_addresses= -c fsync=off -c max_connections=60"
    log = directory / "log"
    _run(
        "pg_ctl", "start", "-D", str(directory / "data"), "-o", options, "-l", str(log), "-w",
        "-t", str(_START_TIMEOUT_S),
    )  # fmt: skip


def _stop(directory: Path) -> None:
    _run("pg_ctl", "stop", "-D", str(directory / "data"), "-m", "immediate", "-w")


def _program(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


def _run(name: str, *arguments: str) -> None:
    program = _program(name)
    assert program is not None, missing_reason()
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Output to files would be held open by the server: nothing is captured but errors of short programs.
    result = subprocess.run(
        [*as_postgres, program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if name == "pg_ctl" else subprocess.PIPE,
        text=True,
        timeout=_START_TIMEOUT_S + 10,
        cwd="/",
    )
    assert result.returncode == 0, f"{name} {' '.join(arguments)}: {result.stderr}"
