"""The proxies that the product is compared with, each as its makers run it, on the product's core."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.agent import MODEL
from benchmarks.product import Proxy
from benchmarks.programs import MEASURED_CORE, CannotMeasure, running, wait_until
from tests.support.control_plane import free_ports

INSTALL_S = 300
# A version of its own: a later release of this package was tampered with.
LITELLM = "litellm[proxy]==1.106.0"
# Limits that are checked for every call and never reached.
_NO_LIMIT = 1_000_000_000

_NGINX = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} reuseport; keepalive_requests 100000000;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://127.0.0.1:{engine}/v1", api_key: none}}
general_settings:
  custom_auth: limited_keys.authenticate
litellm_settings:
  telemetry: false
"""

_LITELLM_KEYS = f"""
from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, rpm_limit={_NO_LIMIT}, tpm_limit={_NO_LIMIT})
"""


@contextmanager
def nginx(directory: Path, engine_port: int) -> Iterator[Proxy]:
    """A plain reverse proxy, its connections to the upstream kept: the floor of what a proxy costs."""
    [port] = free_ports(1)
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, engine=engine_port, port=port))
    command = ["nginx", "-p", str(directory), "-c", str(configuration)]
    with running(command, MEASURED_CORE, directory / "nginx.err") as process:
        proxy = Proxy("nginx", port, process.pid)
        wait_until(lambda: _answers(proxy), "nginx answers")
        yield proxy


@contextmanager
def vllm_router(directory: Path, engine_port: int) -> Iterator[Proxy]:
    """The Rust router of vLLM, without keys and metering, which it does not have."""
    program = _environment("vllm-router", "vllm-router") / "vllm-router"
    [port, metrics] = free_ports(2)
    command = [
        str(program), "--host", "127.0.0.1", "--port", str(port), "--worker-urls",
        f"http://127.0.0.1:{engine_port}", "--policy", "round_robin", "--prometheus-port", str(metrics),
    ]  # fmt: skip
    with running(command, MEASURED_CORE, directory / "vllm-router.log") as process:
        proxy = Proxy("vllm-router", port, process.pid)
        wait_until(lambda: _answers(proxy, "/health"), "vllm-router answers", within_s=60)
        yield proxy


@contextmanager
def litellm(directory: Path, engine_port: int) -> Iterator[Proxy]:
    """LiteLLM's proxy with keys and limits, without a database."""
    program = _environment("litellm", LITELLM) / "litellm"
    [port] = free_ports(1)
    home = directory / "litellm"
    home.mkdir()
    (home / "limited_keys.py").write_text(_LITELLM_KEYS)
    configuration = home / "config.yaml"
    configuration.write_text(_LITELLM.format(model=MODEL, engine=engine_port))
    command = [str(program), "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
    with running(command, MEASURED_CORE, home / "log", environment={"LITELLM_LOG": "ERROR"}) as process:
        proxy = Proxy("litellm", port, process.pid, "sk-bench")
        wait_until(lambda: _answers(proxy, "/health/liveliness"), "litellm answers", within_s=180)
        yield proxy


def _environment(name: str, package: str) -> Path:
    """The programs of a Python environment with `package` in it, kept between runs. Raises CannotMeasure."""
    cache = Path(os.environ.get("DAALU_CACHE", Path.home() / ".cache/daalu"))
    made = cache / "bench" / name
    complete = made / ".complete"
    if not complete.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(made)], check=True, timeout=INSTALL_S)
            install = [str(made / "bin/pip"), "install", "-q", package]
            subprocess.run(install, check=True, timeout=INSTALL_S, stdout=sys.stderr)
        except (subprocess.SubprocessError, OSError) as error:
            raise CannotMeasure(f"{package} could not be installed: {error}") from error
        complete.touch()
    return made / "bin"


def _answers(proxy: Proxy, path: str = "/") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
