"""What this machine lacks, in words, for each marker of a test that needs more than Python."""

import hashlib
import os
import shutil
from pathlib import Path

from tests.support import postgresql

ROOT = Path(__file__).parents[2]

# Of the installer's tests.
DEBIAN = "12"
# Of the console's: Debian's own, so that no test downloads a browser.
CHROMIUM = "/usr/bin/chromium"
_NETWORK_PROGRAMS = ("ip", "nft", "sysctl", "wg", "wireguard-go")


def missing_for(marker: str) -> str | None:
    """Why a test with this marker cannot run here; None: it can, or the marker needs nothing."""
    match marker:
        case "root":
            return _missing_for_networks()
        case "engine":
            return _missing_for_engine()
        case "debian":
            return _missing_for_debian()
        case "containers":
            return None if shutil.which("buildah") else "buildah is missing: apt-get install buildah"
        case "browser":
            return None if Path(CHROMIUM).exists() else f"{CHROMIUM} is missing: apt-get install chromium"
        case "postgresql":
            return postgresql.missing_reason()
        case _:
            return None


def engine_environment() -> Path:
    """Where scripts/engine_environment makes the environment of engine.lock."""
    key = hashlib.sha256((ROOT / "engine.lock").read_bytes()).hexdigest()[:16]
    return cache() / f"engine-{key}"


def engine_python() -> Path:
    return engine_environment() / "bin" / "python"


def debian_root(version: str) -> Path:
    """Where scripts/debian_root makes a clean Debian."""
    made_by = (ROOT / "scripts" / "debian_root").read_bytes()
    key = hashlib.sha256(f"{version}\n".encode() + made_by).hexdigest()[:16]
    return cache() / f"debian-{version}-{key}"


def cache() -> Path:
    """The directory of scripts/environment.sh."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daalu"
    return Path(os.environ.get("DAALU_CACHE") or default)


def _missing_for_networks() -> str | None:
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is missing: no tunnel can be made"
    missing = [name for name in _NETWORK_PROGRAMS if shutil.which(name) is None]
    return f"programs are missing: {', '.join(missing)}" if missing else None


def _missing_for_engine() -> str | None:
    if (engine_environment() / ".complete").exists():
        return None
    return "there is no engine environment: run scripts/engine_environment"


def _missing_for_debian() -> str | None:
    if reason := _missing_for_networks():
        return reason
    missing = [name for name in ("systemd-nspawn", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        return f"programs are missing: {', '.join(missing)}"
    if (debian_root(DEBIAN) / ".complete").exists():
        return None
    return f"there is no clean Debian: run scripts/debian_root {DEBIAN}"


if __name__ == "__main__":
    for marker in ("root", "engine", "postgresql", "debian", "containers"):
        if reason := missing_for(marker):
            print(f"tests marked {marker!r} will be skipped: {reason}")
