"""Images built from the container files with buildah, on a clean Debian and with no network; and commands in
containers of them.

Isolation is buildah's `chroot`: it wants no container engine's runtime. User, environment and files are the
image's; network and processes are those of whoever runs it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.machine import DEBIAN, ROOT, debian_root
from tests.support.namespaces import run_command
from tests.support.netlab import Host
from tests.support.programs import Program

BASE = "localhost/daalu-clean-debian"
LOCKS = ("agent.lock", "build.lock", "control-plane.lock")
BUILD_TIMEOUT_S = 240.0
_PIP = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"
# The file system that holds a test's files need not be one that overlays can lie on.
_ENVIRONMENT = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


class Images:
    """`directory` is new, and holds everything."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._buildah = [
            "buildah", f"--root={directory}/storage", f"--runroot={directory}/run", "--log-level=error",
        ]  # fmt: skip
        self._wheels = directory / "wheels"
        self._mirror = debian_root(DEBIAN) / "mirror"

    def prepare(self) -> None:
        """The base image, and what the images are made of."""
        container = self._run("from", "scratch")
        self._run("add", "--quiet", container, f"{debian_root(DEBIAN) / 'root'}/", "/")
        self._run("commit", "--quiet", container, BASE)
        self._run("rm", container)
        for lock in LOCKS:
            run_command(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
                 "--only-binary", ":all:", "--python-version", "3.11", "-d", str(self._wheels),
                 "-r", str(ROOT / lock)],
                timeout=BUILD_TIMEOUT_S,
            )  # fmt: skip
        (self.directory / "pip.conf").write_text(_PIP)

    def build(self, file: Path, image: str, *options: str) -> None:
        self._run(
            "bud", "--quiet", "--network=none", "--pull-never", "--format=docker", f"--build-arg=BASE={BASE}",
            f"--volume={self._mirror}:/srv/mirror:ro", f"--volume={self._wheels}:/wheels:ro",
            f"--volume={self.directory}/pip.conf:/etc/pip.conf:ro",
            f"--file={file}", f"--tag={image}", *options, str(ROOT),
        )  # fmt: skip

    def configuration(self, image: str) -> dict[str, Any]:
        """What an engine reads of it: user, command, health check."""
        found: dict[str, Any] = json.loads(self._run("inspect", "--type=image", image))
        configuration: dict[str, Any] = found["Docker"]["config"]
        return configuration

    def container(self, image: str, host: Host, volume: str | None = None) -> "Container":
        """`volume`: what lies where in it, as FROM:TO."""
        return Container(self, image, host, [f"--volume={volume}"] if volume else [])

    def made_of(self, image: str) -> str:
        """A new container's name."""
        return self._run("from", "--pull-never", image)

    def command(self, *words: str) -> list[str]:
        return [*self._buildah, *words]

    def _run(self, *words: str) -> str:
        command = self.command(*words)
        return run_command(command, timeout=BUILD_TIMEOUT_S, env=environment()).stdout.strip()


class Container:
    """Commands run in `host`'s network, as the image's user, and one at a time: buildah makes and removes
    files of a container around each. So the daemon has a container of its own, and shares the volume.

    One volume at most: with a second one buildah 1.28 lays the image's own over the given one.
    """

    def __init__(self, images: Images, image: str, host: Host, options: Sequence[str]) -> None:
        self._images = images
        self._image = image
        self._name = images.made_of(image)
        self._configuration = images.configuration(image)
        self._host = host
        self._options = options

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self._host.run(self._command(self._name, words), check=check, env=environment())

    def daemon(self, log: Path, *words: str) -> Program:
        """What the image starts, with the arguments `words`; to be started and stopped."""
        command = [*self._configuration["Entrypoint"], *(words or self._configuration["Cmd"])]
        name = self._images.made_of(self._image)
        return Program(self._host, self._command(name, command), log, _ENVIRONMENT)

    def is_healthy(self) -> bool:
        """By the image's own health check."""
        kind, *words = self._configuration["Healthcheck"]["Test"]
        assert kind == "CMD", "a health check is a program with its arguments, and no shell's line"
        return self.run(*words, check=False).returncode == 0

    def _command(self, name: str, words: Sequence[str]) -> list[str]:
        return self._images.command("run", *self._options, name, "--", *words)


def environment() -> dict[str, str]:
    return os.environ | _ENVIRONMENT
