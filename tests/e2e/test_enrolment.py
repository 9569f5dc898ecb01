"""An invite is good once, for one hour, for one set of keys."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.conftest import World
from tests.support.product import AgentOptions
from tests.support.system import Site

LATEST = "(SELECT id FROM invite ORDER BY created_unix_ms DESC LIMIT 1)"


def _rows(world: World, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(world.system.control.data / "daalu.db")) as database:
        return database.execute(query).fetchall()


def _execute(world: World, statement: str) -> None:
    with closing(sqlite3.connect(world.system.control.data / "daalu.db", timeout=10)) as database, database:
        database.execute(statement)


@pytest.fixture
def newcomer(world: World) -> Iterator[Site]:
    """A third customer, not enrolled."""
    name = f"gamma-{len(world.system.sites)}"
    site = world.system.new_site(name, AgentOptions())
    yield site
    if any(row == (name,) for row in _rows(world, "SELECT name FROM agent WHERE revoked_unix_ms IS NULL")):
        world.system.control.revoke(name)
    site.agent.stop()


def test_a_lost_reply_is_answered_again_and_other_keys_are_refused_and_audited(
    world: World, newcomer: Site
) -> None:
    invite = world.system.control.invite("neighbour")
    newcomer.agent.enrol(invite)
    first = world.system.control.agent(newcomer.agent.name)
    # The answer was lost: keys are there, what the control plane said is not.
    (newcomer.agent.state / "identity.json").unlink()
    newcomer.agent.enrol(invite)
    assert world.system.control.agent(newcomer.agent.name)["id"] == first["id"]

    shutil.rmtree(newcomer.agent.state)
    said = newcomer.agent.enrol(invite, check=False)
    assert "used" in said.lower(), said
    assert len(said.strip().splitlines()) == 1, "one line that says what is wrong"
    (last,) = _rows(world, "SELECT action FROM audit ORDER BY id DESC LIMIT 1")
    assert last == ("invite.claimed_with_another_key",)


def test_an_expired_invite_is_refused(world: World, newcomer: Site) -> None:
    invite = world.system.control.invite("neighbour")
    _execute(world, f"UPDATE invite SET expires_unix_ms = created_unix_ms WHERE id = {LATEST}")
    said = newcomer.agent.enrol(invite, check=False)
    assert "expired" in said.lower(), said
    assert len(said.strip().splitlines()) == 1


def test_an_invite_nobody_made_is_refused(world: World, newcomer: Site) -> None:
    invite = world.system.control.invite("neighbour")
    _execute(world, f"UPDATE invite SET token_sha256 = zeroblob(32) WHERE id = {LATEST}")
    said = newcomer.agent.enrol(invite, check=False)
    assert "does not know this invite" in said, said


def test_secrets_of_an_enrolled_host_are_readable_by_their_owner_alone(world: World) -> None:
    state = world.owner.agent.state
    assert state.stat().st_mode & 0o777 == 0o700
    for name in ("wireguard.key", "tls.key", "identity.json"):
        assert (state / name).stat().st_mode & 0o077 == 0, name
