"""How far an agent has come, and what is usually wrong where it stays."""

import datetime as dt
from dataclasses import replace

import pytest

from agent.status import Snapshot, progress
from agent.tunnel import LinkStatus
from tests.support.agent_state import identity, tunnel_settings

NOW = dt.datetime(2026, 5, 4, 12, 0, 0, tzinfo=dt.UTC)
LINK = LinkStatus("up", "fd77::2", "daalu", "hub.example:51820", int(NOW.timestamp()) - 8, 1, 1)
RUNNING = Snapshot(
    taken=NOW,
    identity=identity(tunnel_settings()),
    daemon_pid=42,
    certificate_expires=NOW + dt.timedelta(days=7),
    link=LINK,
)


def test_a_fresh_contact_is_a_connection_and_an_old_one_is_none() -> None:
    assert progress(replace(RUNNING, last_contact=NOW - dt.timedelta(seconds=14))).connected
    assert not progress(replace(RUNNING, last_contact=NOW - dt.timedelta(seconds=15))).connected


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (None, "daemon does not run"),
        (replace(RUNNING, daemon_pid=None, last_contact=NOW), "daemon does not run"),
        (replace(RUNNING, link=replace(LINK, latest_handshake_unix_s=0)), "hub.example:51820 yet"),
        (replace(RUNNING, certificate_expires=NOW), "renew"),
        (RUNNING, "waiting for the control plane to call"),
    ],
)
def test_each_stage_is_named(snapshot: Snapshot | None, words: str) -> None:
    told = progress(snapshot)
    assert not told.connected
    assert words in told.words
    assert "\n" not in told.words
