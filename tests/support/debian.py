"""A clean Debian as a machine of its own: files over an overlay, systemd booted, in a lab host's network.

scripts/debian_root makes what lies below the overlay. What happens in the machine stays in its upper
directory; the machine ends with the block, and whatever else would survive it with the lab's host.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.machine import DEBIAN, debian_root
from tests.support.netlab import Host
from tests.support.programs import eventually

BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 300.0
# Where packages come from, as the root's apt sources say.
_MIRROR = "/srv/mirror"
_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
)
# Changes with every package and every boot, and says nothing of what is installed.
_PRUNED = (
    "/proc", "/sys", "/dev", "/run", "/srv/mirror", "/var/log", "/var/cache", "/var/lib/apt", "/var/lib/dpkg",
    "/var/lib/systemd", "/tmp", "/var/tmp",
)  # fmt: skip


class DebianMachine:
    """Use as a context manager inside a lab's. Needs root."""

    def __init__(self, host: Host, directory: Path, *, version: str = DEBIAN, systemd: bool = True) -> None:
        """`directory` is new. Without `systemd` its first process does nothing, as in a container."""
        self.host = host
        self.root = directory / "root"
        self._systemd = systemd
        self._log = directory.with_suffix(".log")
        below = debian_root(version)
        for each in (directory, self.root):
            each.mkdir()
        overlay = f"lowerdir={below / 'root'},upperdir={directory}/upper,workdir={directory}/work"
        run = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe",
            "--resolv-conf=off",
            "--timezone=off", "--link-journal=no", f"--directory={self.root}", f"--hostname={host.name}",
            f"--network-namespace-path=/run/netns/{host.namespace}", "--capability=CAP_NET_ADMIN",
            f"--bind-ro={below / 'mirror'}:{_MIRROR}",
            *(["--boot"] if systemd else ["--as-pid2", "sleep", "infinity"]),
        ]  # fmt: skip
        # Both mounts are in a namespace of their own, and go with it. Memory, because dpkg waits for the
        # disk after every file.
        script = (
            'mount -t tmpfs tmpfs "$0" && mkdir -p "$0/upper/etc" "$0/work" "$1"'
            ' && echo "$3" >"$0/upper/etc/hostname" && echo "127.0.0.1 localhost $3" >"$0/upper/etc/hosts"'
            ' && mount -t overlay overlay -o "$2" "$1" && shift 3 && exec "$@"'
        )
        place = [str(directory), str(self.root), overlay, host.name]
        self._command = ["unshare", "--mount", "sh", "-c", script, *place, *run]
        self._process: subprocess.Popen[Any] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._init = eventually(
                self._find_init, "the machine has a first process", timeout_s=BOOT_TIMEOUT_S
            )
            eventually(self._is_up, "the machine has booted", timeout_s=BOOT_TIMEOUT_S)
            # As udev makes it where the kernel has the module.
            self.run(["chmod", "666", "/dev/net/tun"])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(
        self, command: Sequence[str], *, check: bool = True, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """As root, in a clean environment. Outputs together in `stdout` where `stderr` is not given."""
        options.setdefault("timeout", COMMAND_TIMEOUT_S)
        options.setdefault("stderr", subprocess.STDOUT)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run(self.inside(command), stdout=subprocess.PIPE, text=True, **options)
        assert not check or result.returncode == 0, (
            f"{' '.join(command)}: {result.returncode}:\n{result.stdout}"
        )
        return result

    def popen(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """The caller waits for its end; the machine's own end ends it as well."""
        return subprocess.Popen(
            self.inside(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True, **options,
        )  # fmt: skip

    def inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "--target", str(self._init), "--all", "env", "-i", *_ENVIRONMENT, *command]

    def shell(self, script: str, *, check: bool = True, **options: Any) -> "subprocess.CompletedProcess[str]":
        return self.run(["sh", "-c", script], check=check, **options)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.shell(f"mkdir -p $(dirname {path}) && cat >{path} && chmod {mode:o} {path}", input=text)

    def files(self) -> set[str]:
        """Every file with its kind, mode, owner and target, and the content of those that name users."""
        prune = [part for path in _PRUNED for part in ("-path", path, "-o")][:-1]
        listed = self.run(
            ["find", "/", "-xdev", "(", *prune, ")", "-prune", "-o", "-printf", "%y %m %u:%g %p %l\\n"]
        ).stdout
        users = self.run(["cat", "/etc/passwd", "/etc/group", "/etc/shadow"]).stdout
        packages = self.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\\n"]).stdout
        # useradd and apt keep the version before.
        kept = (line for line in listed.splitlines() if not line.split(" ")[3].endswith("-"))
        return {*kept, *users.splitlines(), *packages.splitlines()}

    def processes_of(self, user: str) -> list[str]:
        """Of a user that may be gone."""
        ours = f'[ "$(stat -c %U $p 2>/dev/null)" = {user} ]'
        return self.shell(f"for p in /proc/[0-9]*; do ! {ours} || cat $p/comm; done").stdout.split()

    def _find_init(self) -> int:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the machine did not start: {self._log.read_text(errors='replace')}")
        # nspawn has a helper before it has the machine's first process, whose number inside is 1.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return next((int(child) for child in children if _number_inside(child) == 1), 0)

    def _is_up(self) -> bool:
        if not self._systemd:
            return self.run(["test", "-e", f"{_MIRROR}/Packages"], check=False).returncode == 0
        state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        return state in ("running", "degraded")

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            if self._init:
                # With its first process every other of the machine ends, and nspawn after them.
                os.kill(self._init, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._process = None


def _number_inside(pid: str) -> int | None:
    """Of a process in a process namespace below ours; None: it is in ours, or gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    numbers = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
    return int(numbers[-1]) if len(numbers) > 1 else None
