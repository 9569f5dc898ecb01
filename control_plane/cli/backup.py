"""`daalu backup` and `daalu restore`: the whole of a control plane in one file, on its own machine.

What they need is imported when they run: the other commands start faster without it.
"""
# ruff: noqa: PLC0415

import shlex
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.engine import URL, make_url

from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data
from control_plane.cli.show import moment, print_json
from control_plane.cli.waiting import advancing
from control_plane.config import InvalidSetting, Settings, load_settings, sqlite_url

ManifestJson = Annotated[bool, typer.Option("--json", help="What is in it, as JSON.")]


def register(app: typer.Typer) -> None:
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The backup to make; never one that is there.")
    ],
    data: Data = DATA,
    as_json: ManifestJson = False,
) -> None:
    """Makes a backup of a control plane, while it runs: store, telemetry, settings and every key.

    Whoever has the file has the control plane: it is readable by you only, keep it as you keep the keys.
    """
    from control_plane.backup import BackupFailed, make_backup

    try:
        settings = load_settings(data)
    except InvalidSetting as error:
        raise Failure(str(error)) from error
    _refuse_postgresql(settings)
    try:
        with advancing(f"copying {data}") as progress:
            made = make_backup(
                settings,
                file,
                version=metadata.version("daalu-ai-factory"),
                now_unix_ms=time.time_ns() // 1_000_000,
                progress=progress,
            )
    except BackupFailed as error:
        raise Failure(str(error)) from error
    if as_json:
        print_json(asdict(made))
        return
    size = f"{len(made.entries)} files, {made.size_bytes:,} bytes"
    print(f"made {file}: {size}. It holds every key: keep it secret")
    for name, path in made.elsewhere.items():
        print(f"not in it: {path} (the setting {name})")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `daalu backup` made.")],
    data: Data = DATA,
    as_json: ManifestJson = False,
) -> None:
    """Puts a backup into a directory that holds nothing yet, and verifies the ledger.

    Stop the control plane that it was made of for good: two with the same keys would fight over the agents.
    Killed on its way, run it again.
    """
    from control_plane.backup import RestoreRefused, restore_backup
    from control_plane.economy import verify
    from control_plane.store import Store

    try:
        with advancing(f"restoring {data}") as progress:
            made = restore_backup(file, data, progress=progress)
    except RestoreRefused as error:
        raise Failure(f"nothing was changed: {error}") from error
    store = Store(sqlite_url(data))
    try:
        with store.reading() as session:
            broken = verify(session)
    finally:
        store.close()
    if as_json:
        print_json(asdict(made))
    else:
        print(f"restored {data} as it was on {moment(made.made_unix_ms)}, {made.public_url}")
        for name, path in made.elsewhere.items():
            print(f"not in it: {path} (the setting {name}): put it there, or change {data}/config.toml")
    if broken:
        raise Failure(
            f"restored, but its ledger is broken: not so that {broken[0].invariant}; `daalu ledger verify`"
            " says more"
        )
    if not as_json:
        print("the ledger is in order; next: daalu serve" + ("" if data == DATA else f" --data {data}"))


def _refuse_postgresql(settings: Settings) -> None:
    """Raises Failure."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return
    # Without its password, which has no place in a message.
    bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    address = shlex.quote(bare.render_as_string())
    directory = settings.data.absolute()
    raise Failure(
        "the store is in PostgreSQL, whose own tool copies it while it is used:"
        f" pg_dump --format=custom --file=daalu.dump {address}"
        "; keys and settings beside it:"
        " tar --create --file=daalu-keys.tar --exclude='telemetry.db*'"
        f" --directory={shlex.quote(str(directory))} ."
    )
