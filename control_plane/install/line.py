"""The line that an owner pastes. Pure.

It carries all that the first contact is judged by: the control plane's key for curl, the script's SHA-256,
which is compared before the script runs, and the release key, by which the script judges all the rest.
"""

import base64

from control_plane.install.release import SCRIPT, Release

# For single quotes, and so without any. $s is the script; "$@" is what follows this text in the line.
_RUN_IF_RIGHT = (
    's=$(mktemp) && trap "rm -f $s" EXIT && cat >$s && '
    'if echo "{sha256}  $s" | sha256sum -c --status; then sh $s "$@"; '
    'else echo "install.sh did not arrive as this line names it: nothing was run" >&2; exit 1; fi'
)


def install_line(release: Release, url: str, control_plane_key_sha256: bytes, invite: str) -> str:
    """`url` is https://host:port, checked, and `invite` one word of letters, digits, - and _."""
    pin = base64.b64encode(control_plane_key_sha256).decode()
    # The pinned key proves more than a certificate's name and dates would: hence -k.
    fetch = f"curl -fsSk --pinnedpubkey sha256//{pin} {url}/install/{SCRIPT}"
    run = _RUN_IF_RIGHT.format(sha256=release.script_sha256)
    return f"{fetch} | sudo sh -c '{run}' install --release-key {release.public_key} {invite}"
