"""`dcgmi`, NVIDIA's tool, as a process of its own."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Self

from agent.diagnostics.finding import MAX_OUTPUT_CHARACTERS, Evidence

# The report of level 3 on eight cards is some 60 KiB.
MAX_OUTPUT_BYTES = 4 * 1024**2
# Of the evidence that is kept, in pieces.
MAX_PIECES = 16
END_TIMEOUT_S = 10.0


class DcgmiFailed(Exception):
    """It could not be started, or was ended before it had finished; the message says why."""


def find_dcgmi() -> str | None:
    return shutil.which("dcgmi")


class Dcgmi:
    """One run of a level. `async with`: the end of the block ends the whole group of processes."""

    def __init__(self, program: str, level: int, limit_s: float) -> None:
        self.command = (program, "diag", "-r", str(level), "--json")
        self._limit_s = limit_s
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __aexit__
        self._began_s = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    async def __aenter__(self) -> Self:
        """Raises DcgmiFailed."""
        # Killed with the daemon, whose end nobody could tell it otherwise.
        guard = shutil.which("setpriv")
        command = (guard, "--pdeathsig", "KILL", "--", *self.command) if guard else self.command
        try:
            # By vfork: quick. In the loop's own thread, since the guard's signal comes at that thread's end.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            raise DcgmiFailed(f"{self.command[0]} cannot be started: {error.strerror}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            # It has a session of its own, and its children are in that.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.to_thread(self._process.wait, END_TIMEOUT_S)
        self._output.close()

    async def wait(self, timeout_s: float) -> int | None:
        """Its exit status, negative for a signal's number; None: it still runs. Raises DcgmiFailed."""
        if self._process is None:
            raise RuntimeError("it was not started")
        try:
            return await asyncio.to_thread(self._process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            pass
        if self.elapsed_s > self._limit_s:
            raise DcgmiFailed(f"it did not end within {self._limit_s:.0f} s, and was ended")
        if os.fstat(self._output.fileno()).st_size > MAX_OUTPUT_BYTES:
            raise DcgmiFailed(f"it wrote more than {MAX_OUTPUT_BYTES} bytes, and was ended")
        return None

    def said(self) -> str:
        return os.pread(self._output.fileno(), MAX_OUTPUT_BYTES, 0).decode(errors="replace")

    def evidence(self) -> tuple[Evidence, ...]:
        """What it said, in pieces; the end of what is too long is left out, and that is said."""
        text, command = self.said().strip(), " ".join(self.command)
        pieces = [
            text[at : at + MAX_OUTPUT_CHARACTERS] for at in range(0, len(text), MAX_OUTPUT_CHARACTERS)
        ] or [""]
        kept = [
            Evidence(command if not at else f"{command} (part {at + 1})", piece)
            for at, piece in enumerate(pieces[:MAX_PIECES])
        ]
        left_out = len(pieces) - len(kept)
        if left_out:
            kept.append(Evidence(command, f"… {left_out} more parts were left out"))
        return tuple(kept)
