"""The hub's WireGuard key pair (X25519), in base64 as `wg` reads it."""

import base64
import binascii
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


class HubKeyUnusable(Exception):
    """The hub's key file is missing or broken; the message names it and the way out."""


def create_hub_key(path: Path) -> None:
    """Makes the key, readable by its owner only. Nothing happens where it is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def hub_public_key(path: Path) -> str:
    """Of the key in `path`. Raises HubKeyUnusable."""
    try:
        private = X25519PrivateKey.from_private_bytes(
            base64.b64decode(path.read_bytes().strip(), validate=True)
        )
    except FileNotFoundError:
        raise HubKeyUnusable(f"{path} is not there: run `daalu init`, or restore it from a backup") from None
    except PermissionError:
        raise HubKeyUnusable(f"{path} cannot be read: run as root or as who ran `daalu init`") from None
    except (binascii.Error, ValueError):
        raise HubKeyUnusable(f"{path} is not a WireGuard key: restore it from a backup") from None
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()
