"""What an owner's host fetches to become an agent: a signed release, served as it was made.

A *release* is a directory that scripts/release laid: *artifacts* (installer, unit, wheels), a *manifest* that
names each with its size and SHA-256, and the manifest's Ed25519 signature. The *release key* is kept offline;
its public half stands in the line that an owner pastes and is pinned on the host, so that a control plane
that was broken into can serve nothing that a host would run.
"""

from control_plane.install.line import Installation, check_line, install_line
from control_plane.install.manifest import Artifact, BadManifest, Manifest
from control_plane.install.release import BadRelease, Release
from control_plane.install.routes import artifact_routes

__all__ = [
    "Artifact",
    "BadManifest",
    "BadRelease",
    "Installation",
    "Manifest",
    "Release",
    "artifact_routes",
    "check_line",
    "install_line",
]
