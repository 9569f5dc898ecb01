"""A compiled libnvidia-ml.so.1, and a process of its own in which the real reader uses it."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from daalu_wire.v1 import agent_pb2
from google.protobuf import json_format

LIBRARY = "libnvidia-ml.so.1"
_SOURCE = Path(__file__).with_name("stub.c")


class Stub:
    """A host with NVIDIA's library, as far as LD_LIBRARY_PATH goes; what it says stands in a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "library"
        self.directory.mkdir()
        self._behaviour = directory / "behaviour"
        self._log = directory / "log"
        # In place of the kernel's own.
        self.kernel_log = directory / "kernel-log"
        self.kernel_log.touch()
        self.behave()

    def install(self, *defines: str) -> None:
        """Compiles it; `defines` leave functions out."""
        flags = [f"-D{define}" for define in defines]
        # Made under another name: a half-written library is never found.
        draft = self.directory / "draft"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *flags, "-o", draft, _SOURCE],
            check=True,
            timeout=60,
        )
        draft.rename(self.directory / LIBRARY)

    def behave(self, lines: Mapping[str, object] | None = None) -> None:
        """From the next call on; see stub.c for the names. `{"temperature.1": 80}` is one card's."""
        draft = self._behaviour.with_suffix(".draft")
        draft.write_text("".join(f"{name} {value}\n" for name, value in (lines or {}).items()))
        draft.rename(self._behaviour)

    def complain(self, code: int, words: str, *, address: str = "0000:01:00") -> None:
        """As the driver does in the kernel's log."""
        with self.kernel_log.open("a") as log:
            log.write(f"3,1,{time.monotonic_ns() // 1_000},-;NVRM: Xid (PCI:{address}): {code}, {words}\n")

    def openings(self) -> tuple[int, int]:
        """How often the library was opened and closed."""
        lines = self._log.read_text().split() if self._log.exists() else []
        return lines.count("opened"), lines.count("closed")

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.directory),
            "NVML_STUB": str(self._behaviour),
            "NVML_STUB_LOG": str(self._log),
        }


class Reader:
    """`tests/support/nvml/reader.py` in a process of its own, asked over its standard streams."""

    def __init__(self, stub: Stub, sample_deadline_s: float = 5.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nvml.reader", str(sample_deadline_s), stub.kernel_log],
            env=stub.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A reader that hangs in the driver must not keep its process from ending."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(timeout=30) == 0
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def sample(self) -> agent_pb2.TelemetrySample:
        """Card system and cards of it are filled in."""
        return json_format.Parse(self._ask("sample"), agent_pb2.TelemetrySample())

    def inventory(self) -> agent_pb2.GetInventoryResponse:
        return json_format.Parse(self._ask("inventory"), agent_pb2.GetInventoryResponse())

    def resident_bytes(self) -> int:
        return int(self._ask("resident"))

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the reader's process ended"
        return answer
