"""Lays a release: the agent's wheel, its pinned dependencies, the installer, and a signed manifest of all.

Building wants the network; signing wants the release key and nothing else, so that the key can stay on a
machine that has no network.
"""

import argparse
import base64
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from control_plane.install import Artifact, BadManifest, BadRelease, Manifest, Release
from control_plane.install.release import MANIFEST, PUBLIC_KEY, SIGNATURE

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
# glibc 2.28 and later: Debian 10, Ubuntu 20.04, RHEL 8.
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
HOST_FILES = ("install.sh", "setup.sh", "uninstall.sh", "daalu-agent.service")
LOCK = "agent.lock"
# Everything that an agent's environment holds, with hashes: what pip is given on the host.
REQUIREMENTS = "requirements.txt"
# What `install.sh --engine pip` installs from the public index; some GB, and so no part of a release.
ENGINE_LOCK = "engine-cuda.lock"
ENGINE = "engine.txt"
DOWNLOAD_TIMEOUT_S = 600.0


class CannotRelease(Exception):
    """The release cannot be made; the text says why and what to do."""


def build(directory: Path, pythons: Sequence[str], machine: str, source: Path = ROOT) -> None:
    """An unsigned release of `source` in an empty or new directory. Raises CannotRelease, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise CannotRelease(f"{directory} is not empty: a release is laid into a directory of its own")
    wheel = build_wheel(source, directory)
    for version in pythons:
        download(source / LOCK, directory, version, machine)
    name, version = wheel.name.split("-")[:2]
    pinned = f"{name.replace('_', '-')}=={version} --hash=sha256:{_sha256(wheel)}\n"
    (directory / REQUIREMENTS).write_text((source / LOCK).read_text() + pinned)
    (directory / ENGINE).write_bytes((source / ENGINE_LOCK).read_bytes())
    for each in HOST_FILES:
        (directory / each).write_bytes((source / "installer" / each).read_bytes())
    write_manifest(directory, version, int(time.time()))


def build_wheel(source: Path, directory: Path) -> Path:
    """The whole distribution: agent and control plane are one, and the host installs the agent's extra."""
    before = set(directory.iterdir())
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)], cwd=source)
    (wheel,) = set(directory.glob("*.whl")) - before
    return wheel


def download(lock: Path, directory: Path, python: str, machine: str) -> None:
    """The lock's wheels for one version of Python, verified by the lock's hashes."""
    platforms = [part for name in PLATFORMS for part in ("--platform", f"{name}_{machine}")]
    tag = "cp" + python.replace(".", "")
    abis = ["--abi", tag, "--abi", "abi3", "--abi", "none"]
    _run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--require-hashes",
         "--only-binary", ":all:", "--implementation", "cp", "--python-version", python,
         *platforms, *abis, "-d", str(directory), "-r", str(lock)]
    )  # fmt: skip


def write_manifest(directory: Path, version: str, released_unix_s: int) -> None:
    """Of every file that is in the directory. Raises CannotRelease."""
    own = {MANIFEST, SIGNATURE, PUBLIC_KEY}
    files = sorted(path for path in directory.iterdir() if path.name not in own)
    artifacts = tuple(Artifact(path.name, path.stat().st_size, _sha256(path)) for path in files)
    try:
        data = Manifest(version, released_unix_s, artifacts).dump()
    except BadManifest as error:
        raise CannotRelease(f"{directory}: {error}") from error
    (directory / MANIFEST).write_bytes(data)


def sign(directory: Path, key_file: Path) -> str:
    """Signs the manifest, reads the whole release back, and returns the public key. Raises CannotRelease."""
    key = _private_key(key_file)
    try:
        data = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise CannotRelease(f"{directory} holds no release: build it first, without --sign-only") from None
    (directory / SIGNATURE).write_bytes(key.sign(data))
    (directory / PUBLIC_KEY).write_text(f"{_public(key)}\n")
    try:
        return Release.load(directory).public_key
    except BadRelease as error:
        raise CannotRelease(str(error)) from error


def new_key(path: Path) -> str:
    """Makes a release key, 0600, and returns its public half. Raises FileExistsError."""
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return _public(key)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        if given.new_key:
            print(f"release key: {new_key(given.directory)}")
            return 0
        if not given.sign_only:
            build(given.directory, given.python or PYTHONS, given.machine)
        if given.key is not None:
            print(f"release key: {sign(given.directory, given.key)}")
        else:
            print(f"not signed: scripts/release --sign-only --key FILE {given.directory}", file=sys.stderr)
    except (CannotRelease, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/release", description="Lays a release for --artifacts.")
    parser.add_argument(
        "directory", type=Path, help="where the release is laid (with --new-key: the key's file)"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign it with this release key")
    parser.add_argument("--sign-only", action="store_true", help="sign what was built before")
    parser.add_argument("--new-key", action="store_true", help="make a release key in place of a release")
    parser.add_argument("--python", action="append", metavar="VERSION", help=f"default: {', '.join(PYTHONS)}")
    parser.add_argument("--machine", default=os.uname().machine, help="of the hosts (default: %(default)s)")
    return parser


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise CannotRelease(f"{path} is no unencrypted private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CannotRelease(f"{path} is no Ed25519 key: make one with scripts/release --new-key FILE")
    return key


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    try:
        subprocess.run(
            command, cwd=cwd, check=True, timeout=DOWNLOAD_TIMEOUT_S, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        raise CannotRelease(f"{' '.join(command[:4])} failed:\n{error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotRelease(f"{' '.join(command[:4])} took more than {DOWNLOAD_TIMEOUT_S:.0f} s") from error


if __name__ == "__main__":
    sys.exit(main())
