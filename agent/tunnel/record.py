"""tunnel.json: which interface runs, and as what, so that a restarted daemon or `down` finds it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.identity import StateError, read_private, write_atomically
from agent.process import ProcessMark

_WAY_OUT = "Remove it: the daemon then finds the interface by its name and key."


@dataclass(frozen=True, slots=True)
class RunningTunnel:
    interface: str
    # wireguard-go; None: the kernel's own interface.
    process: ProcessMark | None

    def save(self, path: Path) -> None:
        write_atomically(path, (json.dumps({"version": 1, **asdict(self)}) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> "RunningTunnel | None":
        """None: nothing on record. Raises StateError."""
        data = read_private(path, _WAY_OUT)
        if data is None:
            return None
        try:
            content = json.loads(data)
            if content["version"] != 1:
                raise StateError(path, f"is of version {content['version']}, not 1", _WAY_OUT)
            process = content["process"]
            mark = process and ProcessMark(
                int(process["pid"]), int(process["started_ticks"]), str(process["boot_id"])
            )
            return cls(str(content["interface"]), mark)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(path, "is not what this program writes", _WAY_OUT) from error
