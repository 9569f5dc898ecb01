"""`daalu doctor`: a control plane that is well, one that does not run, and each thing that can be broken."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from control_plane.store import Store
from tests.support.control_plane import ControlPlane, daalu, initialised, serving
from tests.support.economy import add_economy


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    """Nothing runs of it. Tests that break something take a copy."""
    return initialised(tmp_path_factory.mktemp("idle") / "data")


@pytest.fixture
def broken(idle: ControlPlane, tmp_path: Path) -> ControlPlane:
    """A copy to break something in."""
    return ControlPlane(shutil.copytree(idle.data, tmp_path / "data"), idle.tls_port, idle.plain_port)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("running") / "data")
    with serving(plane):
        yield plane


def _verdicts(plane: ControlPlane) -> dict[str, str]:
    result = plane.daalu("doctor", "--json")
    assert result.stderr == ""
    found = json.loads(result.stdout)
    verdicts = {each["check"]: each["verdict"] for each in found["findings"]}
    assert len(verdicts) == len(found["findings"])
    assert result.returncode == (1 if found["verdict"] == "fail" else 0)
    assert (found["verdict"] == "fail") == ("fail" in verdicts.values())
    return verdicts


def test_one_that_is_well_has_nothing_that_fails(running: ControlPlane) -> None:
    verdicts = _verdicts(running)
    # Whether a machine has a time service is its own affair.
    assert verdicts.pop("clock") in ("pass", "warn")
    assert verdicts == {
        "settings": "pass",
        "files": "pass",
        "disk": "pass",
        "store": "pass",
        "schema": "pass",
        "authority": "pass",
        "certificate": "pass",
        "hub": "warn",
        "listen": "pass",
        "listen_plain": "pass",
        "rest": "pass",
        "agents": "not_available",
        "agents_clocks": "not_available",
    }
    shown = running.daalu("doctor")
    assert shown.returncode == 0
    assert "pass  store: opened, and every page is in order\n" in shown.stdout
    assert "WARN  hub: does not run; no host needs it yet\n      run `daalu hub` as root\n" in shown.stdout


def test_one_that_does_not_run_is_looked_at_all_the_same(idle: ControlPlane) -> None:
    result = idle.daalu("doctor")
    assert (result.returncode, result.stderr) == (1, "")
    assert "pass  store: opened" in result.stdout
    assert f"FAIL  HTTPS: 127.0.0.1:{idle.tls_port} does not answer: Connection refused\n" in result.stdout
    assert "start `daalu serve`" in result.stdout
    assert "FAIL  control plane: hosts cannot be asked for: " in result.stdout


def test_from_elsewhere_hosts_are_asked_for_and_no_machine_is_looked_at(running: ControlPlane) -> None:
    result = running.daalu("doctor", "--url", running.tls_url, "--json")
    assert result.returncode == 0, result.stdout
    checks = [each["check"] for each in json.loads(result.stdout)["findings"]]
    assert checks == ["rest", "agents", "agents_clocks"]


def test_silent_hosts_and_a_hub_that_they_need_are_found(tmp_path: Path) -> None:
    plane = initialised(tmp_path / "data")
    store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
    store.write_now(add_economy)
    store.close()
    with closing(sqlite3.connect(plane.data / "daalu.db")) as database:
        database.execute("UPDATE agent SET connection = 'tunnel' WHERE id = 'agt-second'")
        database.commit()
    with serving(plane):
        verdicts = _verdicts(plane)
        assert (verdicts["agents"], verdicts["hub"]) == ("fail", "fail")
        shown = plane.daalu("doctor").stdout
    assert "FAIL  hosts: 0 of 4 live; not heard of now: agt-consumer, agt-operator" in shown
    assert "FAIL  hub: does not run; 1 host need" in shown


def _damage(data: Path) -> None:
    with (data / "daalu.db").open("r+b") as file:
        # A page in the middle, and not the header.
        file.seek(40 * 4096)
        file.write(b"\xff" * 4096)


def _newer(data: Path) -> None:
    with closing(sqlite3.connect(data / "daalu.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()


def _swap_key(data: Path) -> None:
    shutil.copy(data / "authority" / "root.key", data / "tls" / "server.key")


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda data: (data / name).write_text(content)


_BREAKS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "key open": ("files", "other users may read", lambda data: (data / "ticket-secret").chmod(0o644)),
    "key gone": ("files", "missing: hub/private.key", lambda data: (data / "hub/private.key").unlink()),
    "store gone": ("store", "daalu.db is not there", lambda data: (data / "daalu.db").unlink()),
    "store damaged": ("store", "", _damage),
    "store newer": ("schema", "version 9999", _newer),
    "authority": ("authority", "is not a certificate in PEM", _write("authority/root.pem", "x")),
    "certificate": ("certificate", "cannot be used", _write("tls/server.pem", "x")),
    "other key": ("certificate", "of another key", _swap_key),
    "settings": ("settings", "there is no setting 'colour'", _write("config.toml", 'colour = "red"\n')),
}


@pytest.mark.parametrize("name", _BREAKS)
def test_what_is_broken_is_found_and_said(broken: ControlPlane, name: str) -> None:
    check, words, break_it = _BREAKS[name]
    break_it(broken.data)
    result = broken.daalu("doctor", "--json")
    assert result.returncode == 1, result.stderr
    (finding,) = (each for each in json.loads(result.stdout)["findings"] if each["check"] == check)
    assert (finding["verdict"], words in finding["saw"]) == ("fail", True), finding


def test_a_directory_that_is_none_is_told_as_such(tmp_path: Path) -> None:
    result = daalu("doctor", "--data", str(tmp_path / "nothing"))
    assert result.returncode == 1
    assert "is not there: run `daalu init" in result.stdout
    assert not (tmp_path / "nothing").exists()
