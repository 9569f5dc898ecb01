"""What the engine room remembers over restarts of the daemon: files of the state directory."""

import dataclasses
import json
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from daalu_wire.v1 import agent_pb2, catalogue_pb2

from agent.engine.gate import LOCAL_KEY_ID
from agent.identity import StateError, read_private, write_atomically
from agent.process import ProcessMark

# Previous logs of the engine that are kept, and the size at which the one in use is cut at a start.
LOGS_KEPT = 3


@dataclass(frozen=True, slots=True)
class Desired:
    """What is wanted: a model or none, in use or drained."""

    model_id: str = ""
    digest: str = ""
    drained: bool = False

    @property
    def reference(self) -> agent_pb2.CatalogueReference | None:
        if not self.model_id:
            return None
        return agent_pb2.CatalogueReference(model_id=self.model_id, digest=self.digest)


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """The engine that was started last, whether or not it still runs."""

    process: ProcessMark
    model_id: str
    digest: str
    address: str
    port: int


class Memory:
    """desired.json, engine.json, the gate's directory, engine.log."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.gate = state / "gate"
        self.journal = state / "journal"
        self.log = state / "engine.log"
        self.lock = state / "engine.lock"
        self.draining = self.gate / "draining"
        self.pool_refused = self.gate / "pool-refused"
        self._keys = self.gate / "ticket-keys.json"

    def desired(self) -> Desired:
        """Raises StateError for a damaged file."""
        path = self._state / "desired.json"
        way_out = "Remove it, and deploy the model again."
        found = self._read(path, way_out)
        try:
            return Desired(**found) if found is not None else Desired()
        except TypeError as error:
            raise StateError(path, f"is damaged ({error})", way_out) from error

    def set_desired(self, desired: Desired) -> None:
        write_atomically(self._state / "desired.json", _json(dataclasses.asdict(desired)))

    def set_draining(self, draining: bool) -> None:
        """Whether the gate turns calls away. It looks at every call."""
        if draining:
            self.draining.touch(mode=0o600)
        else:
            self.draining.unlink(missing_ok=True)

    def set_pool_refused(self, refused: bool) -> None:
        """Whether the gate turns calls of pools away; the file is all that remembers it."""
        if refused:
            self.pool_refused.touch(mode=0o600)
        else:
            self.pool_refused.unlink(missing_ok=True)

    def running(self) -> RunningEngine | None:
        """Raises StateError for a damaged file."""
        path = self._state / "engine.json"
        way_out = "End the engine's processes by hand (`pgrep -f daalu_gate.Gate`), and remove the file."
        found = self._read(path, way_out)
        try:
            if found is None:
                return None
            return RunningEngine(**{**found, "process": ProcessMark(**found["process"])})
        except (TypeError, KeyError) as error:
            raise StateError(path, f"is damaged ({error})", way_out) from error

    def set_running(self, running: RunningEngine | None) -> None:
        path = self._state / "engine.json"
        if running is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, _json(dataclasses.asdict(running)))

    def prepare(self) -> bytes:
        """Make the directories and the daemon's own ticket key; the key. Raises StateError, OSError."""
        self.gate.mkdir(mode=0o700, exist_ok=True)
        self.journal.mkdir(mode=0o700, exist_ok=True)
        known = self.local_key()
        if known is not None:
            return known
        local = secrets.token_bytes(32)
        self._write_keys([(LOCAL_KEY_ID, local)])
        return local

    def local_key(self) -> bytes | None:
        """The daemon's own ticket key; None: none was made yet. Raises StateError."""
        keys = self._read(self._keys, "Remove it; the control plane sends its keys again.")
        for key in (keys or {"keys": []})["keys"]:
            if key["id"] == LOCAL_KEY_ID:
                return bytes.fromhex(key["key"])
        return None

    def set_ticket_keys(self, local: bytes, keys: Iterable[agent_pb2.TicketKey]) -> None:
        self._write_keys([(LOCAL_KEY_ID, local), *((key.id, key.key) for key in keys)])

    def _write_keys(self, keys: Iterable[tuple[int, bytes]]) -> None:
        content = {"keys": [{"id": key_id, "key": key.hex()} for key_id, key in keys]}
        write_atomically(self._keys, _json(content))

    def install_gate(self, model: catalogue_pb2.Model) -> None:
        """Put this version's gate and its configuration where the next engine finds them."""
        package = self.gate / "daalu_gate"
        shutil.rmtree(package, ignore_errors=True)
        package.mkdir(mode=0o700)
        for file in (resources.files("agent.engine") / "gate").iterdir():
            if file.name.endswith(".py"):
                (package / file.name).write_bytes(file.read_bytes())
        config = {
            "served_name": model.served_name,
            "journal": str(self.journal),
            "ticket_keys": str(self._keys),
            "draining": str(self.draining),
            "pool_refused": str(self.pool_refused),
            "max_running_calls": model.max_running_calls,
            "pool_reserve": 0,
        }
        write_atomically(self.gate / "config.json", _json(config))

    def turn_log(self) -> None:
        """A fresh engine.log for a fresh engine; the last few are kept as engine.log.1 and on."""
        for number in range(LOGS_KEPT - 1, 0, -1):
            older = self.log.with_name(f"engine.log.{number}")
            if older.exists():
                older.replace(self.log.with_name(f"engine.log.{number + 1}"))
        if self.log.exists():
            self.log.replace(self.log.with_name("engine.log.1"))

    def log_since(self, offset: int, limit_bytes: int = 64 * 1024) -> bytes:
        """What the engine printed after the offset, at most the limit; b"" where there is no log yet."""
        try:
            with self.log.open("rb") as file:
                file.seek(offset)
                return file.read(limit_bytes)
        except FileNotFoundError:
            return b""

    def log_tail(self, limit_bytes: int = 16 * 1024) -> str:
        size = self.log.stat().st_size if self.log.exists() else 0
        return self.log_since(max(0, size - limit_bytes), limit_bytes).decode(errors="replace")

    def _read(self, path: Path, way_out: str) -> dict[str, Any] | None:
        content = read_private(path, way_out)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except ValueError as error:
            raise StateError(path, f"is not JSON ({error})", way_out) from error
        if not isinstance(found, dict):
            raise StateError(path, "is damaged", way_out)
        return found


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
