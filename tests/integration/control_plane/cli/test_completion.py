"""Completion in the shells themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Typer looks at the process that started it for the shell's name; here that is a test.
_TOLD = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
_PROGRAM = "#!{python}\nfrom control_plane.cli import main\nmain()\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "daalu"
    program.parent.mkdir()
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    root = str(Path(__file__).parents[4])
    paths = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": f"{root}:{root}/proto"}
    return os.environ | paths | {"HOME": str(tmp_path)}


def _out(environment: dict[str, str], *command: str) -> str:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_bash_completes_commands_and_options(environment: dict[str, str]) -> None:
    script = _out(environment | _TOLD, "daalu", "--show-completion", "bash")
    told = """
        COMP_WORDS=(daalu contexts "") COMP_CWORD=2; _daalu_completion daalu; echo "${COMPREPLY[@]}"
        COMP_WORDS=(daalu agents revoke --c) COMP_CWORD=3; _daalu_completion daalu; echo "${COMPREPLY[@]}"
    """
    groups, options = _out(environment, "bash", "-c", script + told).splitlines()
    assert {"add", "list", "use", "remove"} <= set(groups.split())
    assert options.split() == ["--context"]


def test_zsh_and_fish_get_what_they_ask_for(environment: dict[str, str]) -> None:
    asked = environment | {"_TYPER_COMPLETE_ARGS": "daalu agents re"}
    zsh = _out(asked | {"_DAALU_COMPLETE": "complete_zsh"}, "daalu")
    assert '"revoke":"Ends an agent for good' in zsh
    fish = _out(
        asked | {"_DAALU_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "daalu"
    )
    assert fish.startswith("revoke\t")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script_that_calls_back(shell: str, environment: dict[str, str]) -> None:
    assert "_DAALU_COMPLETE=complete_" + shell in _out(
        environment | _TOLD, "daalu", "--show-completion", shell
    )
