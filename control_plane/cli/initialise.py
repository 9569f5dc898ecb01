"""Makes a data directory: settings, keys, the database. What is there already stays as it is."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from control_plane.access import OperatorToken
from control_plane.cli.once import make_once
from control_plane.config import DataDirectory, Settings, checked, public_host, settings_toml
from control_plane.enrolment import Authority, create_server_certificate
from control_plane.store import Store
from control_plane.tunnel import choose_network, create_hub_key

TICKET_SECRET_BYTES = 32


def initialise(settings: Settings, network_ipv4: str | None = None) -> list[Path]:
    """Makes what is missing and returns it, so that a second run returns nothing.

    Raises InvalidSetting, UnusableNetwork, AuthorityUnusable, OSError, and SQLAlchemyError where the
    database cannot be had.
    """
    checked(settings)
    directory = settings.directory
    directory.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    steps: list[tuple[Path, Callable[[], object]]] = [
        (directory.authority, lambda: Authority.create(directory.authority)),
        (directory.tls_certificate, lambda: _certificate(directory, settings.public_url)),
        (directory.hub_key, lambda: create_hub_key(directory.hub_key)),
        (
            directory.ticket_secret,
            lambda: make_once(directory.ticket_secret, secrets.token_bytes(TICKET_SECRET_BYTES)),
        ),
        (
            directory.operator_token,
            lambda: make_once(directory.operator_token, f"{OperatorToken.new()}\n".encode()),
        ),
    ]
    made = [path for path, _ in steps if not path.exists()]
    # First, because it is what fails: keys and certificate must not remain of settings that were none.
    _prepare_database(settings, network_ipv4)
    for _, step in steps:
        step()
    # Last, because it is what says that the directory is complete.
    if make_once(directory.config, settings_toml(settings).encode()):
        made.append(directory.config)
    return made


def _certificate(directory: DataDirectory, public_url: str) -> None:
    names = list(dict.fromkeys([public_host(public_url), "localhost", "127.0.0.1", "::1"]))
    create_server_certificate(directory.tls_certificate, directory.tls_key, names)


def _prepare_database(settings: Settings, network_ipv4: str | None) -> None:
    # SQLite makes its files with the mask of the process.
    previous = os.umask(0o077)
    store = Store(settings.database_url)
    try:
        store.migrate()
        store.write_now(lambda session: choose_network(session, network_ipv4))
    finally:
        store.close()
        os.umask(previous)
