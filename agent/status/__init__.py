"""What this host's owner sees and says: `daalu-agent status` and `down`, and word to systemd.

A *snapshot* is everything that status shows, gathered by a running daemon or, where none runs, from the
state directory. The *control socket*, `agent.sock` in the state directory, lets the owner's own command line
ask the daemon; nobody else can open it.
"""

from agent.status.control import Control, ControlFailed, Request, ask
from agent.status.snapshot import Snapshot
from agent.status.systemd import notify, watchdog
from agent.status.waiting import Progress, progress
from agent.status.words import describe

__all__ = [
    "Control",
    "ControlFailed",
    "Progress",
    "Request",
    "Snapshot",
    "ask",
    "describe",
    "notify",
    "progress",
    "watchdog",
]
