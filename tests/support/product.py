"""The product's programs as an operator and an owner use them: `daalu` and `daalu-agent`."""

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.netlab import Host
from tests.support.programs import Program, ProgramFailed, exists, script

HTTPS_PORT = 8443
HUB_PORT = 51820
START_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 20.0
ENROL_TIMEOUT_S = 60.0
DOWN_TIMEOUT_S = 60.0


def _engine_environment() -> dict[str, str]:
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return {"VLLM_CPU_KVCACHE_SPACE": "1"} | ({"TORCHINDUCTOR_CACHE_DIR": cache} if cache else {})


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What differs between agents; the rest of their configuration is the system's."""

    # None: cards are read through NVML, as found with the daemon's environment.
    simulated_card: str | None = "RTX 2000 Ada"
    engine_python: Path | None = None
    models: Path | None = None
    catalogue: Path | None = None
    engine_environment: Mapping[str, str] = field(default_factory=_engine_environment)
    # The daemon's own environment, on top of this process's.
    environment: Mapping[str, str] = field(default_factory=dict)


class ControlPlane:
    """`daalu serve` and, with a tunnel, `daalu hub`, over one data directory."""

    def __init__(
        self,
        host: Host,
        directory: Path,
        *,
        address: str,
        interface: str | None,
        catalogue: Path | None,
        artifacts: Path | None = None,
        load_client: Path | None = None,
    ) -> None:
        """`interface` None: direct mode. `load_client`: a Python with vLLM, for load tests."""
        self.host = host
        self.data = directory / "control-plane"
        self.url = f"https://{address}:{HTTPS_PORT}"
        # Empty: no tunnel.
        self.interface = interface or ""
        self._address = address
        self._catalogue = catalogue
        self._artifacts = artifacts
        self._load_client = load_client
        self.serve = Program(host, self.command("serve"), directory / "serve.log")
        self.hub = Program(host, self.command("hub"), directory / "hub.log")

    def command(self, *arguments: str) -> list[str]:
        return [script("daalu"), *arguments, "--data", str(self.data)]

    def init(self) -> None:
        options = ["--public-url", self.url]
        if not self.interface:
            options += ["--allow-direct"]
        else:
            options += ["--hub-endpoint", f"{self._address}:{HUB_PORT}", "--hub-interface", self.interface]
        if self._catalogue is not None:
            options += ["--catalogue", str(self._catalogue)]
        if self._artifacts is not None:
            options += ["--artifacts", str(self._artifacts)]
        if self._load_client is not None:
            options += ["--load-client", str(self._load_client)]
        self.host.run(self.command("init", *options))

    def start(self) -> None:
        """Returns when the control plane answers."""
        self.serve.start()
        if self.interface:
            self.hub.start()
            self.hub.wait_until(self._has_interface, "the hub has its interface", timeout_s=START_TIMEOUT_S)
        self.serve.wait_until(self._answers, "the control plane answers", timeout_s=START_TIMEOUT_S)

    def restart(self) -> None:
        """`daalu serve` alone; the hub and its tunnels go on."""
        self.serve.stop()
        self.serve.start()
        self.serve.wait_until(self._answers, "the control plane answers", timeout_s=START_TIMEOUT_S)

    def crash(self) -> None:
        """`daalu serve` is killed with -9 and started again."""
        self.serve.kill()
        self.serve.start()
        self.serve.wait_until(self._answers, "the control plane answers", timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        self.serve.stop()
        self.hub.stop()

    def create_tenant(self, name: str) -> None:
        self.rest("POST", "/tenants", {"name": name})

    def create_key(self, tenant: str, *, purpose: str = "general") -> str:
        answer = self.rest("POST", "/keys", {"tenant": tenant, "name": "test", "purpose": purpose})
        return str(answer["secret"])

    def invite(self, tenant: str) -> str:
        return str(self.rest("POST", "/agents/invite", {"tenant": tenant})["invite"])

    def install_line(self, tenant: str) -> str:
        return str(self.rest("POST", "/agents/invite", {"tenant": tenant})["install_line"])

    def agent(self, name: str) -> Any:
        return self.rest("GET", f"/agents/{name}")

    def deploy(self, agent: str, model_id: str) -> None:
        self.rest("POST", f"/agents/{agent}/deploy", {"model": model_id})

    def revoke(self, agent: str) -> None:
        self.rest("POST", f"/agents/{agent}/revoke")

    def call(self, call_id: str) -> Any:
        """A call's record, with its decision and attempts."""
        return self.rest("GET", f"/calls/{call_id}")

    def calls(self) -> Any:
        """The latest calls' records, newest first."""
        return self.rest("GET", "/calls")

    def rest(self, method: str, path: str, body: object = None) -> Any:
        """An operator's request. ProgramFailed, with the answer, where it is refused."""
        token = (self.data / "operator-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        status, answer = self._request(method, f"/api/v1{path}", content, headers)
        if status >= 400:
            raise ProgramFailed(f"{method} {path}: {status} {answer.decode(errors='replace')}")
        return json.loads(answer)

    def tls(self) -> ssl.SSLContext:
        """What a client trusts to reach `url`."""
        return ssl.create_default_context(cafile=self.data / "tls" / "server.pem")

    def _has_interface(self) -> bool:
        return self.host.run(["wg", "show", self.interface], check=False).returncode == 0

    def _answers(self) -> bool:
        try:
            status, _ = self._request("GET", "/healthz", None, {})
        except OSError:
            return False
        return status == 200

    def _request(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            self._address, HTTPS_PORT, timeout=REQUEST_TIMEOUT_S, context=self.tls()
        )
        try:
            with self.host.entered():
                connection.connect()
            connection.request(method, path, content, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class AgentHost:
    """`daalu-agent` on a customer's host, with its state and configuration."""

    def __init__(
        self, host: Host, directory: Path, *, name: str, interface: str, options: AgentOptions
    ) -> None:
        self.host = host
        self.name = name
        self.interface = interface
        self.state = directory / "state"
        self._configuration = directory / "agent.toml"
        self._environment = dict(options.environment)
        directory.mkdir()
        self._configuration.write_text(_toml(self.state, interface, options))
        self.daemon = Program(
            host, self._command("run"), directory / "daemon.log", environment=self._environment
        )

    def enrol(self, invite: str, *, direct: bool = False, check: bool = True) -> str:
        """Returns what the command said, both outputs together."""
        arguments = ["--name", self.name, *(["--direct"] if direct else []), invite]
        result = self.host.run(
            self._command("enrol", *arguments),
            check=check,
            timeout=ENROL_TIMEOUT_S,
            env={**os.environ, **self._environment},
        )
        return result.stdout + result.stderr

    def start(self) -> None:
        self.daemon.start()

    def status(self) -> str:
        return self.host.run(self._command("status"), check=False).stdout

    def engine_pid(self) -> int | None:
        """The running engine's process; None: there is none."""
        try:
            pid = int(json.loads((self.state / "engine.json").read_text())["process"]["pid"])
        except FileNotFoundError:
            return None
        return pid if exists(pid) else None

    def stop(self) -> None:
        """The daemon, and engine and tunnel, which outlive it by design."""
        self.daemon.stop()
        self.host.run(self._command("down"), check=False, timeout=DOWN_TIMEOUT_S)

    def _command(self, verb: str, *arguments: str) -> list[str]:
        return [script("daalu-agent"), verb, "--config", str(self._configuration), *arguments]


def _toml(state: Path, interface: str, options: AgentOptions) -> str:
    """JSON's strings are TOML's."""
    settings = {
        "state": state,
        "interface": interface,
        "engine_python": options.engine_python,
        "models": options.models,
        "catalogue": options.catalogue,
        "simulated_card": options.simulated_card,
    }
    lines = [f"{name} = {json.dumps(str(value))}" for name, value in settings.items() if value is not None]
    lines.append("[engine_environment]")
    lines += [f"{name} = {json.dumps(value)}" for name, value in options.engine_environment.items()]
    return "\n".join(lines) + "\n"
