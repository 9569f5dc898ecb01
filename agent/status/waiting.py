"""How far an agent has come on its way to being connected: pure."""

from dataclasses import dataclass

from agent.status.snapshot import Snapshot
from agent.status.words import SILENCE


@dataclass(frozen=True, slots=True)
class Progress:
    connected: bool
    # One line: where it stands, and what is usually wrong when it stays there.
    words: str


def progress(snapshot: Snapshot | None) -> Progress:
    """None: no daemon answers."""
    if snapshot is None or snapshot.daemon_pid is None:
        return Progress(False, "the daemon does not run yet")
    if snapshot.last_contact is not None and snapshot.taken - snapshot.last_contact < SILENCE:
        return Progress(True, "connected: the control plane hears this host")
    link = snapshot.link
    if link is not None and link.latest_handshake_unix_s == 0:
        return Progress(
            False,
            f"waiting for the tunnel: no answer from the hub at {link.hub_endpoint} yet; if none comes,"
            " does a firewall stop outbound UDP to it?",
        )
    if snapshot.certificate_expires is not None and snapshot.certificate_expires <= snapshot.taken:
        return Progress(False, "waiting for the control plane to renew this host's certificate")
    return Progress(
        False, "the tunnel is up; waiting for the control plane to call, which takes some seconds"
    )
