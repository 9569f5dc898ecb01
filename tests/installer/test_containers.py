"""The container files: the images build with no network, hold what they need, and their programs run as they
are meant to. A container engine's own part (capabilities, devices, restarts) is not tried here."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import Container, Images
from tests.support.machine import ROOT
from tests.support.netlab import Host, Lab
from tests.support.programs import Program, eventually

# The first test waits for both images.
pytestmark = [pytest.mark.debian, pytest.mark.containers, pytest.mark.timeout(600)]

FILES = ROOT / "containers"
CONTROL_PLANE, AGENT = "daalu-control-plane", "daalu-agent-alone"
USER_ID = 10001
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    images = Images(tmp_path_factory.mktemp("images"))
    images.prepare()
    images.build(FILES / "control-plane.Containerfile", CONTROL_PLANE)
    images.build(FILES / "agent.Containerfile", AGENT, "--target=agent")
    return images


@pytest.fixture
def host() -> Iterator[Host]:
    with Lab() as lab:
        yield lab.host("containers")


@pytest.fixture
def control_plane(images: Images, host: Host, tmp_path: Path) -> Container:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, USER_ID, USER_ID)
    container = images.container(CONTROL_PLANE, host, f"{data}:/var/lib/daalu")
    container.run("daalu", "init", "--public-url", "https://localhost:8443", "--allow-direct")
    return container


def _serving(control_plane: Container, directory: Path) -> Program:
    program = control_plane.daemon(directory / "serve.log")
    program.start()
    program.wait_until(control_plane.is_healthy, "the control plane is healthy", timeout_s=START_TIMEOUT_S)
    return program


def _processes(host: Host, python: str, command: str) -> list[int]:
    """Of this Python and this command, without what started them."""
    found = []
    for pid in host.pids():
        program, *words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if program.startswith(python) and command in words:
            found.append(pid)
    return found


def test_the_control_plane_serves_as_a_user_that_is_not_root(
    control_plane: Container, host: Host, tmp_path: Path
) -> None:
    assert not control_plane.is_healthy()
    program = _serving(control_plane, tmp_path)
    try:
        [process] = _processes(host, "/opt/daalu/bin/python", "serve")
        status = Path(f"/proc/{process}/status").read_text()
        assert f"\nUid:\t{USER_ID}\t{USER_ID}\t" in status
        os.kill(process, signal.SIGTERM)
        eventually(lambda: not program.running, "the control plane has ended", timeout_s=STOP_TIMEOUT_S)
        assert not control_plane.is_healthy()
    finally:
        program.stop()


def test_an_agent_in_a_container_enrols_and_is_heard_until_it_is_stopped(
    images: Images, control_plane: Container, host: Host, tmp_path: Path
) -> None:
    program = _serving(control_plane, tmp_path)
    control_plane.run("daalu", "tenants", "create", "home")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    made = control_plane.run("daalu", "agents", "invite", "--tenant", "home")
    (state / "invite").write_text(made.stdout)
    agent = images.container(AGENT, host, f"{state}:/var/lib/daalu-agent")
    daemon = agent.daemon(
        tmp_path / "agent.log",
        "run", "--ephemeral", "--direct", "--invite", "/var/lib/daalu-agent/invite", "--name", "boxed",
        "--simulated-card", "RTX 2000 Ada",
    )  # fmt: skip
    daemon.start()
    try:
        daemon.wait_until(agent.is_healthy, "the agent is healthy", timeout_s=START_TIMEOUT_S)

        def liveness() -> str:
            agents = json.loads(control_plane.run("daalu", "agents", "list", "--json").stdout)
            return str(agents[0]["liveness"])

        daemon.wait_until(lambda: liveness() == "live", "it is heard", timeout_s=START_TIMEOUT_S)
        [process] = _processes(host, "/opt/daalu-agent/current/bin/python", "run")
        os.kill(process, signal.SIGTERM)
        eventually(lambda: not daemon.running, "the agent has ended", timeout_s=STOP_TIMEOUT_S)
        assert not agent.is_healthy()
    finally:
        daemon.stop()
        program.stop()


def test_the_images_have_what_the_tunnel_needs(images: Images, host: Host) -> None:
    for image in (CONTROL_PLANE, AGENT):
        container = images.container(image, host)
        for name in ("ip", "nft", "wg", "wireguard-go"):
            assert container.run("sh", "-c", f"command -v {name}").stdout.startswith("/"), (image, name)


def test_no_secret_and_no_build_tool_is_in_the_images(images: Images, host: Host) -> None:
    for image, home in ((CONTROL_PLANE, "/var/lib/daalu"), (AGENT, "/var/lib/daalu-agent")):
        container = images.container(image, host)
        assert container.run("find", home, "-mindepth", "1").stdout == ""
        assert container.run("sh", "-c", "ls /src /wheel /opt/build", check=False).stdout == ""


def test_the_images_say_how_they_run(images: Images) -> None:
    control_plane = images.configuration(CONTROL_PLANE)
    assert control_plane["User"] == str(USER_ID)
    assert (control_plane["Entrypoint"], control_plane["Cmd"]) == (["daalu"], ["serve"])
    assert control_plane["Volumes"] == {"/var/lib/daalu": {}}
    agent = images.configuration(AGENT)
    assert (agent["Entrypoint"], agent["Cmd"]) == (["daalu-agent"], ["run", "--ephemeral"])
    assert agent["Volumes"] == {"/var/lib/daalu-agent": {}}
