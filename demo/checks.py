"""What would stop the demo on this machine, found before anything is changed. Standard library only.

Run as `python -m demo.checks MODE CACHE READY`: prints a line for each obstacle, exits 1 if there is any.
MODE is tunnel or direct, CACHE the directory that is filled, READY yes where it is filled already.
"""

import os
import platform
import shutil
import socket
import sys
import tempfile
from pathlib import Path

GIB = 1 << 30
# vLLM with SmolLM2-135M and 1 GiB of KV cache takes 2.2 GiB; the rest is for control plane and agent.
MEMORY_NEEDED_BYTES = 3 * GIB
# Both environments, the wheels while they are installed, the model.
CACHE_NEEDED_BYTES = 9 * GIB
TEMPORARY_NEEDED_BYTES = GIB // 4

TCP_PORTS = {"tunnel": (8443, 8080), "direct": (8443, 8080, 7443, 7400)}
UDP_PORTS = {"tunnel": (51820,), "direct": ()}

_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21


def obstacles(mode: str, cache: Path, *, cache_is_filled: bool) -> list[str]:
    """One line each, with what to do; empty: nothing is in the way."""
    lines = [_platform(), _memory()]
    lines += [_port(socket.SOCK_STREAM, port) for port in TCP_PORTS[mode]]
    lines += [_port(socket.SOCK_DGRAM, port) for port in UDP_PORTS[mode]]
    if mode == "tunnel":
        lines += [_capabilities(), _tun()]
    if not cache_is_filled:
        lines.append(_disk(cache, CACHE_NEEDED_BYTES, "DAALU_CACHE"))
    lines.append(_disk(Path(tempfile.gettempdir()), TEMPORARY_NEEDED_BYTES, "TMPDIR"))
    return [line for line in lines if line is not None]


def _platform() -> str | None:
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return None
    return f"this is {platform.system()} on {platform.machine()}: the demo's engine needs Linux on x86-64"


def _capabilities() -> str | None:
    held = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
    if all(held >> capability & 1 for capability in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN)):
        return None
    return (
        "root here may not make network namespaces (a container without CAP_NET_ADMIN and CAP_SYS_ADMIN?): "
        "run the container with --privileged, or try scripts/demo --direct"
    )


def _tun() -> str | None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return (
            f"/dev/net/tun cannot be opened ({error.strerror}), so no tunnel can be made: "
            "`modprobe tun`, give the container that device, or try scripts/demo --direct"
        )
    return None


def _port(kind: socket.SocketKind, port: int) -> str | None:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # As servers do: connections that have just ended are not in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            name = "TCP" if kind == socket.SOCK_STREAM else "UDP"
            return f"{name} port {port} cannot be used ({error.strerror}): stop what uses it, then try again"
    return None


def _memory() -> str | None:
    free = min(_memory_of_machine(), _memory_of_group())
    if free >= MEMORY_NEEDED_BYTES:
        return None
    return f"{free / GIB:.1f} GiB of memory are free: the demo needs {MEMORY_NEEDED_BYTES / GIB:.0f} GiB"


def _memory_of_machine() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")


def _memory_of_group(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves, under either version of control groups; no limit: very much."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return int((groups / limit).read_text()) - int((groups / used).read_text())
        except (OSError, ValueError):  # not this version, or the word "max"
            continue
    return sys.maxsize


def _disk(directory: Path, needed: int, variable: str) -> str | None:
    existing = directory
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return None
    return (
        f"{free / GIB:.1f} GiB are free for {directory}: the demo needs {needed / GIB:.2g} GiB there "
        f"(set {variable} to a directory elsewhere)"
    )


def main(arguments: list[str]) -> int:
    mode, cache, ready = arguments
    lines = obstacles(mode, Path(cache), cache_is_filled=ready == "yes")
    for line in lines:
        print(f"demo: {line}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
