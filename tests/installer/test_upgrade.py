"""A newer release comes in beside the old one, and goes again where it does not work."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.release import ROOT, build, new_key, sign
from tests.installer.conftest import PYTHONS, Machines, Site
from tests.support.debian import DebianMachine

pytestmark = pytest.mark.debian

INSTALL = "/opt/daalu-agent/install.sh"
# What makes the wheel, and what a release takes besides.
_SOURCES = (
    "agent", "control_plane", "proto", "installer",
    "pyproject.toml", "README.md", "LICENSE", "agent.lock", "engine-cuda.lock",
)  # fmt: skip


@pytest.fixture(scope="module")
def host(site: Site, machines: Machines) -> Iterator[DebianMachine]:
    made = machines.new()
    made.shell(site.line())
    yield made
    site.serve(site.release)


def _release(
    site: Site, directory: Path, version: str, *, broken: bool = False, key: Path | None = None
) -> Path:
    """Of this checkout under another version; `broken`: its daemon ends at once."""
    source, release = directory / "source", directory / "release"
    for name in _SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.1.0"', f'version = "{version}"'))
    if broken:
        main = source / "agent" / "main.py"
        main.write_text(main.read_text() + '\n_COMMANDS["run"] = lambda config, given: 3\n')
    with (source / "installer" / "install.sh").open("a") as script:
        script.write(f"# Of version {version}.\n")
    build(release, [PYTHONS["12"]], "x86_64", source)
    sign(release, key or site.key)
    return release


def _version(host: DebianMachine) -> str:
    return host.run(["daalu-agent", "version"]).stdout.strip()


def _tunnel(host: DebianMachine) -> str:
    return host.shell("cat /var/lib/daalu-agent/tunnel.json; ip -o link show dev daalu-agent").stdout


def test_an_upgrade_takes_over_tunnel_and_identity(site: Site, host: DebianMachine, tmp_path: Path) -> None:
    agent, tunnel = site.control.agent(host.host.name), _tunnel(host)
    site.serve(_release(site, tmp_path, "0.1.1"))
    said = host.run([INSTALL]).stdout
    assert "going on with the release's own install.sh" in said
    assert _version(host) == "0.1.1"
    after = site.control.agent(host.host.name)
    assert (after["id"], after["liveness"], after["agent_version"]) == (agent["id"], "live", "0.1.1")
    assert _tunnel(host) == tunnel, "the tunnel is adopted, and not made anew"
    assert len(host.shell("ls /opt/daalu-agent/versions").stdout.split()) == 2


def test_a_version_that_does_not_connect_is_taken_back(
    site: Site, host: DebianMachine, tmp_path: Path
) -> None:
    tunnel = _tunnel(host)
    site.serve(_release(site, tmp_path, "0.1.2", broken=True))
    result = host.shell(f"{INSTALL} --wait 5", check=False)
    assert result.returncode == 1
    assert "version 0.1.2" in result.stdout
    assert "was taken back" in result.stdout
    assert _version(host) == "0.1.1"
    assert site.control.agent(host.host.name)["liveness"] == "live"
    assert _tunnel(host) == tunnel


def test_an_older_release_is_refused_unless_asked_for(site: Site, host: DebianMachine) -> None:
    site.serve(site.release)
    result = host.shell(INSTALL, check=False)
    assert result.returncode == 1
    assert "is older than 0.1.1" in result.stdout
    assert _version(host) == "0.1.1"
    host.run([INSTALL, "--allow-older"])
    assert _version(host) == "0.1.0"
    assert site.control.agent(host.host.name)["liveness"] == "live"


def test_a_release_of_another_key_is_refused_also_with_a_line_that_names_it(
    site: Site, host: DebianMachine, tmp_path: Path
) -> None:
    """A control plane that was broken into makes its own lines; the key that was pinned first stands."""
    theirs = tmp_path / "their.key"
    public = new_key(theirs)
    site.serve(_release(site, tmp_path, "0.1.3", key=theirs))
    time_before = host.run(["stat", "-c", "%y", "/opt/daalu-agent/current"]).stdout
    result = host.shell(INSTALL, check=False)
    assert "is not signed with the key" in result.stdout
    result = host.shell(site.line(), check=False)
    assert result.returncode == 1
    assert "another release key than the one that this host pinned" in result.stdout
    assert host.run(["stat", "-c", "%y", "/opt/daalu-agent/current"]).stdout == time_before
    # The owner may follow a key that was truly replaced.
    host.shell(site.line("--new-release-key --simulated-card x --disk-gib 1"))
    assert host.run(["cat", "/etc/daalu-agent/release.pub"]).stdout.strip() == public
    assert _version(host) == "0.1.3"


def test_an_enrolled_host_takes_no_invite_of_another_control_plane(site: Site, host: DebianMachine) -> None:
    result = host.shell(f"{INSTALL} {site.invite_to('https://203.0.113.2:9999')}", check=False)
    assert result.returncode == 1
    assert "this one is enrolled at another control plane" in result.stdout
