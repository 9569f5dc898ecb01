"""A release on disk: read once, and believed only where signature, sizes and checksums agree."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from control_plane.install.manifest import BadManifest, Manifest

MANIFEST = "manifest"
SIGNATURE = "manifest.sig"
# The public half of the release key: base64 of its 32 bytes, one line.
PUBLIC_KEY = "release.pub"
SCRIPT = "install.sh"

_MAKE = "lay the directory anew with scripts/release"


class BadRelease(Exception):
    """The directory holds no release that may be served; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    directory: Path
    manifest: Manifest
    manifest_bytes: bytes
    signature: bytes
    # base64 of 32 bytes.
    public_key: str

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads every artifact (some 30 MB). Raises BadRelease."""
        data, signature = _read(directory / MANIFEST), _read(directory / SIGNATURE)
        public_key = _read(directory / PUBLIC_KEY).decode("ascii", "replace").strip()
        try:
            verify(public_key, signature, data)
            manifest = Manifest.parse(data)
        except BadManifest as error:
            raise BadRelease(f"{directory / MANIFEST}: {error}: {_MAKE}") from error
        except (InvalidSignature, ValueError) as error:
            raise BadRelease(
                f"{directory / SIGNATURE} is not this manifest's, by the key in {PUBLIC_KEY}: {_MAKE}"
            ) from error
        for artifact in manifest.artifacts:
            path = directory / artifact.name
            content = _read(path)
            if len(content) != artifact.size_bytes or hashlib.sha256(content).hexdigest() != artifact.sha256:
                raise BadRelease(f"{path} is not what the manifest names: {_MAKE}")
        if manifest.find(SCRIPT) is None:
            raise BadRelease(f"{directory / MANIFEST} names no {SCRIPT}: {_MAKE}")
        return cls(directory, manifest, data, signature, public_key)

    @property
    def script_sha256(self) -> str:
        script = self.manifest.find(SCRIPT)
        if script is None:
            raise ValueError(SCRIPT)
        return script.sha256


def verify(public_key: str, signature: bytes, data: bytes) -> None:
    """Raises InvalidSignature; ValueError where `public_key` is not the base64 of 32 bytes."""
    try:
        raw = base64.b64decode(public_key, validate=True)
    except binascii.Error as error:
        raise ValueError("the release key is not base64") from error
    Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRelease(f"{path}: {error.strerror}: {_MAKE}") from error
