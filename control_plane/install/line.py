"""The line that an owner pastes. Pure.

It carries all that the first contact is judged by: the control plane's key for curl, the script's SHA-256,
which is compared before the script runs, and the release key, by which the script judges all the rest.
"""

import base64
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from control_plane.install.manifest import BadManifest, Manifest
from control_plane.install.release import SCRIPT, BadRelease, Release, verify

# For single quotes, and so without any. $s is the script; "$@" is what follows this text in the line.
_RUN_IF_RIGHT = (
    's=$(mktemp) && trap "rm -f $s" EXIT && cat >$s && '
    'if echo "{sha256}  $s" | sha256sum -c --status; then sh $s "$@"; '
    'else echo "install.sh did not arrive as this line names it: nothing was run" >&2; exit 1; fi'
)
_LINE = re.compile(
    r"curl -fsSk --pinnedpubkey sha256//([A-Za-z0-9+/]{43}=) "
    r"(https://[A-Za-z0-9._:\[\]-]+)/install/install\.sh \| .* (daalu-invite-[A-Za-z0-9_-]+)"
)


@dataclass(frozen=True, slots=True)
class Installation:
    """One control plane's release, and where and by which key hosts find it."""

    release: Release
    url: str
    control_plane_key_sha256: bytes

    def line(self, invite: str) -> str:
        release, pin = self.release, self.control_plane_key_sha256
        return install_line(release.script_sha256, release.public_key, self.url, pin, invite)


def install_line(
    script_sha256: str, release_key: str, url: str, control_plane_key_sha256: bytes, invite: str
) -> str:
    """`url` is https://host:port, checked, and `invite` one word of letters, digits, - and _."""
    pin = base64.b64encode(control_plane_key_sha256).decode()
    # The pinned key proves more than a certificate's name and dates would: hence -k.
    fetch = f"curl -fsSk --pinnedpubkey sha256//{pin} {url}/install/{SCRIPT}"
    run = _RUN_IF_RIGHT.format(sha256=script_sha256)
    return f"{fetch} | sudo sh -c '{run}' install --release-key {release_key} {invite}"


def check_line(line: str, release_key: str, manifest: bytes, signature: bytes) -> None:
    """For who knows the release key from elsewhere than the control plane that made the line.

    Raises BadRelease where the line would run anything but what that key signed.
    """
    try:
        verify(release_key, signature, manifest)
        script = Manifest.parse(manifest).find(SCRIPT)
    except (InvalidSignature, ValueError, BadManifest) as error:
        raise BadRelease(f"the release that is served is not signed with the key {release_key}") from error
    found = _LINE.fullmatch(line)
    if found is not None and script is not None:
        key_sha256 = base64.b64decode(found[1])
        if line == install_line(script.sha256, release_key, found[2], key_sha256, found[3]):
            return
    raise BadRelease("the line does not run what the release key signed: do not pass it on")
