"""The hub's end of a tunnel, driven by `wg` alone: wireguard-go in a host of the lab."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from agent.identity import WireguardKey
from tests.support.agent_state import HUB_ADDRESS
from tests.support.netlab import Host, Lab

PORT = 51820


@dataclass(frozen=True, slots=True)
class HubEnd:
    host: Host
    interface: str
    key: WireguardKey
    # More than the hub's own, to try what an agent must not let in.
    other_address: ClassVar[str] = "fd77:1:2:3::99"

    @classmethod
    def start(cls, lab: Lab, host: Host, directory: Path) -> "HubEnd":
        interface, key = lab.interface_name("hub"), WireguardKey.generate()
        file = directory / "hub.key"
        file.write_text(key.private)
        host.popen(["wireguard-go", "-f", interface])
        wait_until(lambda: host.run(["wg", "show", interface], check=False).returncode == 0)
        host.run(["wg", "set", interface, "private-key", str(file), "listen-port", str(PORT)])
        for address in (HUB_ADDRESS, cls.other_address):
            host.run(["ip", "address", "add", f"{address}/128", "dev", interface, "nodad"])
        host.run(["ip", "link", "set", interface, "mtu", "1280", "up"])
        return cls(host, interface, key)

    def admit(self, public_key: str, address: str) -> None:
        self.host.run(["wg", "set", self.interface, "peer", public_key, "allowed-ips", f"{address}/128"])
        self.host.run(["ip", "route", "replace", f"{address}/128", "dev", self.interface])


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true in time")
        with contextlib.suppress(InterruptedError):
            time.sleep(0.05)
