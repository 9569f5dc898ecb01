"""HTTP through the product's tunnel, with its rules at both ends, beside plain WireGuard on the same hosts.

The agent's host is a network namespace behind a translator, as a customer's is. One nginx there answers on
both links with a body of its own, one wrk in the control plane's namespace asks, in turns.
"""

import os
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import LOAD_CORE, MEASURED_CORE, CannotMeasure, wait_until
from tests.support.namespaces import LabError
from tests.support.netlab import Host, Lab
from tests.support.networks import Internet
from tests.support.product import AgentOptions
from tests.support.programs import ProgramFailed
from tests.support.system import System

ENGINE_PORT = 7400
RAW_PORT = 51_821
CONNECTIONS = 64
LOAD_S = 2.0
_RAW_HUB, _RAW_HOST = "fd77:7777::1", "fd77:7777::2"
# What an engine's short answer has.
_BODY_BYTES = 600

_NGINX = """
daemon off; worker_processes 1; pid {directory}/tunnel-nginx.pid; error_log {directory}/tunnel-nginx.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/q;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{ listen [::]:{port}; keepalive_requests 100000000; location / {{ return 200 "{body}"; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """Requests per second, medians."""

    product: float
    plain: float


def measure(directory: Path, rounds: int) -> Tunnelled:
    """Raises CannotMeasure."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        raise CannotMeasure("network namespaces with a tunnel need root and /dev/net/tun")
    try:
        with Lab() as lab, _system(lab, directory) as system:
            [site] = system.sites
            control, host = system.network.control, site.customer.host
            through = str(system.control.agent(site.agent.name)["tunnel_address"])
            _answer(host, directory)
            _plain_link(lab, control, host, system.network.control_address, directory)
            for address in (through, _RAW_HOST):
                wait_until(lambda address=address: _asked(control, address, 0.2) > 0, f"{address} answers")
            product, plain = [], []
            for _ in range(rounds):
                product.append(_asked(control, through, LOAD_S))
                plain.append(_asked(control, _RAW_HOST, LOAD_S))
            return Tunnelled(statistics.median(product), statistics.median(plain))
    except (LabError, ProgramFailed) as error:
        raise CannotMeasure(str(error)) from error


@contextmanager
def _system(lab: Lab, directory: Path) -> Iterator[System]:
    with System(lab, Internet(lab), directory) as system:
        system.start()
        system.control.create_tenant("bench")
        system.join(system.new_site("customer", AgentOptions()), "bench")
        yield system


def _answer(host: Host, directory: Path) -> None:
    if shutil.which("nginx") is None:
        raise CannotMeasure("there is no nginx")
    configuration = directory / "tunnel-nginx.conf"
    body = "x" * _BODY_BYTES
    configuration.write_text(_NGINX.format(directory=directory, port=ENGINE_PORT, body=body))
    pinned = ["taskset", "-c", str(MEASURED_CORE)]
    host.popen([*pinned, "nginx", "-p", str(directory), "-c", str(configuration)], stderr=subprocess.DEVNULL)


def _plain_link(lab: Lab, hub: Host, host: Host, hub_address: str, directory: Path) -> None:
    """WireGuard of the kind that the product found, and nothing else."""
    ends = []
    for end, address in ((hub, _RAW_HUB), (host, _RAW_HOST)):
        interface = lab.interface_name("raw")
        _add(end, interface)
        private = end.run(["wg", "genkey"]).stdout.strip()
        public = end.run(["wg", "pubkey"], stdin=private).stdout.strip()
        key = directory / f"{interface}.key"
        key.write_text(private)
        key.chmod(0o600)
        end.run(["wg", "set", interface, "private-key", str(key)])
        end.run(["ip", "address", "add", f"{address}/64", "dev", interface])
        end.run(["ip", "link", "set", interface, "mtu", "1280", "up"])
        ends.append((end, interface, public))
    (_, hub_interface, hub_key), (_, interface, key_) = ends
    hub.run(["wg", "set", hub_interface, "listen-port", str(RAW_PORT)])
    hub.run(["wg", "set", hub_interface, "peer", key_, "allowed-ips", f"{_RAW_HOST}/128"])
    host.run(
        ["wg", "set", interface, "peer", hub_key, "allowed-ips", f"{_RAW_HUB}/128",
         "endpoint", f"{hub_address}:{RAW_PORT}", "persistent-keepalive", "25"]
    )  # fmt: skip


def _add(host: Host, interface: str) -> None:
    kernel = host.run(["ip", "link", "add", interface, "type", "wireguard"], check=False)
    if kernel.returncode == 0:
        return
    host.popen(["wireguard-go", "-f", interface], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(
        lambda: host.run(["wg", "show", interface], check=False).returncode == 0, f"{interface} is there"
    )


def _asked(host: Host, address: str, seconds: float) -> float:
    """Requests per second; 0 where one failed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotMeasure("there is no wrk")
    command = [
        "taskset", "-c", str(LOAD_CORE), wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s",
        "--timeout", "10s", f"http://[{address}]:{ENGINE_PORT}/",
    ]  # fmt: skip
    said = host.run(command, check=False).stdout
    if "Socket errors" in said or "Non-2xx" in said or "Requests/sec:" not in said:
        return 0.0
    return float(said.rpartition("Requests/sec:")[2].split()[0])
