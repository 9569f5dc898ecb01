"""The engine gets none of the daemon's capabilities, and the daemon keeps them."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, pathlib, subprocess
from agent.capabilities import no_capabilities
from agent.process import spawn_detached

def effective(text):
    return next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff"))

show = ("/bin/cat", "/proc/self/status")
def spawned():
    log = pathlib.Path(os.environ["LOG"])
    os.waitpid(spawn_detached(show, {}, log).pid, 0)
    return effective(log.read_text())

before = spawned()
with no_capabilities():
    inside = spawned()
after = subprocess.run(show, capture_output=True, text=True).stdout
print(before, inside, effective(after))
"""
# As under the unit: nothing by being root, CAP_NET_ADMIN in the ambient set.
AS_THE_DAEMON = [
    "setpriv", "--securebits", "+noroot",
    "--inh-caps", "-all,+net_admin", "--ambient-caps", "-all,+net_admin",
]  # fmt: skip


@pytest.mark.root
def test_what_is_started_inside_has_no_capability_and_what_comes_after_has_it_again(tmp_path: object) -> None:
    result = subprocess.run(
        [*AS_THE_DAEMON, sys.executable, "-c", SCRIPT],
        env={"LOG": f"{tmp_path}/log", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.split() == ["0000000000001000", "0000000000000000", "0000000000001000"], (
        result.stderr
    )


@pytest.mark.root
def test_a_daemon_that_was_given_none_starts_programs_all_the_same(tmp_path: object) -> None:
    result = subprocess.run(
        ["setpriv", "--securebits", "+noroot", "--inh-caps", "-all", sys.executable, "-c", SCRIPT],
        env={"LOG": f"{tmp_path}/log", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert set(result.stdout.split()) == {"0000000000000000"}, result.stderr
