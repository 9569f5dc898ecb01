"""`daalu-agent` as a process of its own, on this machine, without a tunnel and without a real card."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.control_plane import ControlPlane, free_ports
from tests.support.programs import eventually, script

ENROL_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
REACHED_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class DirectAgent:
    state: Path
    flags: tuple[str, ...]

    @contextmanager
    def running(self) -> Iterator[None]:
        """The daemon, for as long as the block."""
        with self.state.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen([script("daalu-agent"), "run", *self.flags], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def enrolled(plane: ControlPlane, state: Path, *, tenant: str, name: str) -> DirectAgent:
    """Of a new tenant, at a control plane that serves and allows direct mode."""
    _ask(plane, "POST", "/tenants", {"name": tenant})
    return enrolled_by(_ask(plane, "POST", "/agents/invite", {"tenant": tenant})["invite"], state, name=name)


def enrolled_by(invite: str, state: Path, *, name: str) -> DirectAgent:
    """`invite`: its text, or the file that has it."""
    rpc_port, engine_port = free_ports(2)
    ports = ("--rpc-port", str(rpc_port), "--engine-port", str(engine_port))
    flags = ("--state", str(state), *ports, "--simulated-card", "RTX 2000 Ada")
    subprocess.run(
        [script("daalu-agent"), "enrol", invite, "--name", name, "--direct", *flags],
        check=True, capture_output=True, timeout=ENROL_TIMEOUT_S,
    )  # fmt: skip
    return DirectAgent(state, flags)


def wait_until_live(plane: ControlPlane, name: str) -> None:
    """By its liveness."""

    def is_live() -> bool:
        return bool(_ask(plane, "GET", f"/agents/{name}")["liveness"] == "live")

    eventually(is_live, f"{name} is live", timeout_s=REACHED_TIMEOUT_S)


def _ask(plane: ControlPlane, method: str, path: str, wanted: dict[str, str] | None = None) -> Any:
    headers = {"authorization": f"Bearer {plane.token}"}
    url = f"{plane.plain_url}/api/v1{path}"
    return httpx2.request(method, url, headers=headers, json=wanted).raise_for_status().json()
