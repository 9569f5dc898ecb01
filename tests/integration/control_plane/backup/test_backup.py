"""Backups of a store that is written to, and putting them back."""

import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from control_plane.backup import BackupFailed, Manifest, RestoreRefused, make_backup, restore_backup
from control_plane.config import Settings, load_settings
from control_plane.economy import SettleFacts, Tokens, settle, verify
from control_plane.store import Store
from tests.support.control_plane import initialised
from tests.support.economy import INVOICED, add_economy, in_pool

# The plan's own quota would end the load after some calls.
ENDLESS = replace(INVOICED, monthly_tokens=10**12)
KILLER = Path(__file__).with_name("restore_killed.py")


@pytest.fixture(scope="module")
def unused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `daalu init` made, and nobody used. Tests take copies."""
    return initialised(tmp_path_factory.mktemp("unused") / "data").data


@pytest.fixture
def settings(unused: Path, tmp_path: Path) -> Settings:
    """Of a store with an economy in it."""
    data = shutil.copytree(unused, tmp_path / "data")
    with _opened(data) as store:
        store.write_now(add_economy)
        _serve(store, 1)
    with closing(sqlite3.connect(data / "telemetry.db")) as telemetry:
        telemetry.execute("CREATE TABLE series (id INTEGER PRIMARY KEY)")
        telemetry.execute("INSERT INTO series VALUES (7)")
        telemetry.commit()
    return load_settings(data)


@contextmanager
def _opened(data: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{data / 'daalu.db'}")
    try:
        yield store
    finally:
        store.close()


def _serve(store: Store, number: int) -> None:
    """A call with hold, usage, charge and credit, in two transactions."""
    dispatch = in_pool(number, plan=ENDLESS)
    used = Tokens(8, 12)
    facts = SettleFacts(dispatch.call_id, dispatch.attempt_id, used, used, dispatch.now_unix_ms)
    store.write_now(dispatch)
    store.write_now(lambda session: settle(session, facts))


def _back_up(settings: Settings, file: Path) -> Manifest:
    return make_backup(
        settings, file, version="0.1.0", now_unix_ms=1_794_300_000_000, progress=lambda _: None
    )


def _restore(file: Path, data: Path) -> Manifest:
    return restore_backup(file, data, progress=lambda _: None)


def _count(session: Session, table: str) -> int:
    return int(session.connection().execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def _names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_a_backup_under_load_holds_one_moment_and_writers_go_on(settings: Settings, tmp_path: Path) -> None:
    served, end, failures = 1, threading.Event(), []

    def load() -> None:
        nonlocal served
        with _opened(settings.data) as store:
            while not end.is_set():
                try:
                    _serve(store, served + 1)
                except SQLAlchemyError as error:
                    failures.append(error)
                    return
                served += 1

    writer = threading.Thread(target=load)
    during: list[int] = []

    def progress(_: float) -> None:
        # Not one page further before somebody has written.
        before = served
        while served == before and writer.is_alive():
            pass
        during.append(served)

    writer.start()
    try:
        make_backup(settings, tmp_path / "b.tar", version="1", now_unix_ms=1, progress=progress)
    finally:
        end.set()
        writer.join()
    assert failures == []
    assert len(during) > 2
    _restore(tmp_path / "b.tar", tmp_path / "elsewhere")
    with _opened(tmp_path / "elsewhere") as store, store.reading() as session:
        assert verify(session) == []
        # What was written after its first step is not in it.
        assert 1 <= _count(session, "usage_record") <= during[0] < served
        assert _count(session, "attempt_terms") - _count(session, "usage_record") in (0, 1)


def test_everything_comes_back_as_it_was(settings: Settings, tmp_path: Path) -> None:
    (settings.data / "vendors.toml").write_text("# none yet\n")
    made = _back_up(settings, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    elsewhere = tmp_path / "not" / "there" / "yet"
    assert _restore(tmp_path / "b.tar", elsewhere) == made
    names = {entry.name for entry in made.entries}
    assert {"daalu.db", "telemetry.db", "authority/root.key", "ticket-secret", "vendors.toml"} < names
    for name in names - {"daalu.db", "telemetry.db"}:
        assert (elsewhere / name).read_bytes() == (settings.data / name).read_bytes(), name
        assert (elsewhere / name).stat().st_mode & 0o777 == (0o644 if name.endswith(".pem") else 0o600), name
    assert elsewhere.stat().st_mode & 0o777 == 0o700
    with closing(sqlite3.connect(elsewhere / "telemetry.db")) as telemetry:
        assert telemetry.execute("SELECT id FROM series").fetchall() == [(7,)]
    with _opened(settings.data) as before, _opened(elsewhere) as after:
        for table in ("agent", "ledger_entry", "api_key", "setting"):
            select = text(f"SELECT * FROM {table}")
            with before.reading() as old, after.reading() as new:
                rows = old.connection().execute(select).all()
                assert new.connection().execute(select).all() == rows, table
                assert rows, table


def test_a_store_that_lies_elsewhere_comes_back_into_the_data_directory(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (settings.data / "daalu.db").rename(tmp_path / "disk" / "other.db")
    url = f"sqlite:///{tmp_path / 'disk' / 'other.db'}"
    config = settings.data / "config.toml"
    config.write_text(config.read_text() + f'database_url = "{url}"\ncatalogue = "/etc/daalu/catalogue"\n')
    made = _back_up(load_settings(settings.data), tmp_path / "b.tar")
    assert made.elsewhere == {"catalogue": "/etc/daalu/catalogue"}
    _restore(tmp_path / "b.tar", tmp_path / "elsewhere")
    assert load_settings(tmp_path / "elsewhere").database_url.endswith("/elsewhere/daalu.db")


@pytest.mark.timeout(240)
def test_killed_at_any_step_and_run_again_it_ends_well(
    settings: Settings, unused: Path, tmp_path: Path
) -> None:
    _back_up(settings, tmp_path / "b.tar")
    (tmp_path / "work").mkdir()
    arguments = [tmp_path / "b.tar", tmp_path / "work", unused]
    result = subprocess.run(
        [sys.executable, KILLER, *arguments], capture_output=True, text=True, timeout=220, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 30


def test_a_backup_that_was_killed_leaves_nothing_that_stops_the_next(
    settings: Settings, tmp_path: Path
) -> None:
    left = tmp_path / ".b.tar.partial"
    left.mkdir()
    (left / "daalu.db").write_text("half")
    _back_up(settings, tmp_path / "b.tar")
    assert not left.exists()


def test_what_is_there_is_never_replaced(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(BackupFailed, match="never replaces one"):
        _back_up(settings, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "mine"
    with pytest.raises(BackupFailed, match="make it first"):
        _back_up(settings, tmp_path / "nowhere" / "b.tar")


def test_a_failed_backup_leaves_nothing_behind(settings: Settings, tmp_path: Path) -> None:
    (settings.data / "ticket-secret").unlink()
    before = _names(tmp_path)
    with pytest.raises(BackupFailed, match=r"ticket-secret: No such file"):
        _back_up(settings, tmp_path / "b.tar")
    assert _names(tmp_path) == before


def test_a_store_that_is_used_or_in_use_is_not_overwritten(
    settings: Settings, unused: Path, tmp_path: Path
) -> None:
    _back_up(settings, tmp_path / "b.tar")
    with pytest.raises(RestoreRefused, match=r"is not empty \(it has rows in "):
        _restore(tmp_path / "b.tar", settings.data)
    other = shutil.copytree(unused, tmp_path / "other")
    before = _names(other)
    with _opened(other) as store, store.reading() as session:
        # However idle it is.
        assert _count(session, "tenant") == 0
        with pytest.raises(RestoreRefused, match="stop `daalu serve` and `daalu hub`"):
            _restore(tmp_path / "b.tar", other)
    assert _names(other) == before
    _restore(tmp_path / "b.tar", other)
    with _opened(other) as store, store.reading() as session:
        assert _count(session, "tenant") == 3


def test_keys_without_their_store_are_not_overwritten_by_others(settings: Settings, tmp_path: Path) -> None:
    _back_up(settings, tmp_path / "b.tar")
    other = shutil.copytree(settings.data, tmp_path / "other")
    (other / "daalu.db").unlink()
    (other / "ticket-secret").write_bytes(bytes(32))
    with pytest.raises(RestoreRefused, match="differs from the backup's"):
        _restore(tmp_path / "b.tar", other)
    # A lost store beside the keys that it had: what backups are for.
    (settings.data / "daalu.db").unlink()
    _restore(tmp_path / "b.tar", settings.data)


def _repacked(source: Path, target: Path, name: str, content: bytes | None) -> None:
    """A copy in which one member is another, or, for None, left out."""
    with tarfile.open(source) as read, tarfile.open(target, "w") as written:
        for member in read:
            extracted = read.extractfile(member)
            assert extracted is not None
            old = extracted.read()
            if member.name == name and content is None:
                continue
            new = content if member.name == name and content is not None else old
            member.size = len(new)
            written.addfile(member, BytesIO(new))


@pytest.mark.parametrize("name", ["daalu.db", "authority/root.key", "config.toml"])
@pytest.mark.parametrize("content", [b"something else", None])
def test_a_damaged_backup_changes_nothing(
    settings: Settings, tmp_path: Path, name: str, content: bytes | None
) -> None:
    _back_up(settings, tmp_path / "b.tar")
    _repacked(tmp_path / "b.tar", tmp_path / "damaged.tar", name, content)
    with pytest.raises(RestoreRefused, match=r"checksum differs|is not where its manifest says"):
        _restore(tmp_path / "damaged.tar", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kept_share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_backup_changes_nothing(settings: Settings, tmp_path: Path, kept_share: float) -> None:
    _back_up(settings, tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    # A tar ends with blocks of zeros, which may lack.
    (tmp_path / "cut.tar").write_bytes(whole.rstrip(b"\0")[: int(len(whole.rstrip(b"\0")) * kept_share)])
    with pytest.raises(RestoreRefused):
        _restore(tmp_path / "cut.tar", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_newer_versions_backup_is_refused(settings: Settings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(settings.data / "daalu.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    assert _back_up(settings, tmp_path / "b.tar").schema == "9999"
    with pytest.raises(RestoreRefused, match="a newer version of Daalu made this backup"):
        _restore(tmp_path / "b.tar", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_store_that_is_used_while_its_backup_is_unpacked_stays_as_it_is(
    settings: Settings, unused: Path, tmp_path: Path
) -> None:
    _back_up(settings, tmp_path / "b.tar")
    other = shutil.copytree(unused, tmp_path / "other")

    def progress(_: float) -> None:
        with _opened(other) as store, store.reading() as session:
            if _count(session, "tenant") == 0:
                store.write_now(add_economy)

    with pytest.raises(RestoreRefused, match="is not empty"):
        restore_backup(tmp_path / "b.tar", other, progress=progress)
    # It can be started from.
    assert load_settings(other).public_url == settings.public_url
    with _opened(other) as store, store.reading() as session:
        assert (_count(session, "tenant"), _count(session, "usage_record")) == (3, 0)


def test_a_restore_that_was_broken_off_is_ended_by_its_own_backup_only(
    settings: Settings, tmp_path: Path
) -> None:
    _back_up(settings, tmp_path / "b.tar")
    _back_up(settings, tmp_path / "same.tar")
    half = tmp_path / "elsewhere"
    shutil.copytree(settings.data, half / "restore.partial")
    (half / "restore.partial" / "ready").write_text("of another one")
    with pytest.raises(RestoreRefused, match="the restore of another backup was broken off"):
        _restore(tmp_path / "b.tar", half)
