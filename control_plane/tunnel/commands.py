"""Running `ip`, `wg` and `nft`: bounded in time, with their own words where they fail."""

import asyncio
import os
from collections.abc import Sequence

TIMEOUT_S = 10.0
# Where these programs are when PATH is that of a user who is not root.
_PATH = os.pathsep.join(filter(None, (os.environ.get("PATH"), "/usr/sbin:/sbin")))
# Their words are compared, so they must not be translated.
ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C"}


class CommandFailed(Exception):
    """A program did not start, did not end in time, or ended with an error. `words` are its own."""

    def __init__(self, command: Sequence[str], words: str) -> None:
        super().__init__(f"`{' '.join(command[:6])}` failed: {words}")
        self.words = words


async def run(*command: str) -> str:
    """What the program printed. Raises CommandFailed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
        )
    except OSError as error:
        raise CommandFailed(command, error.strerror or str(error)) from error
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise CommandFailed(command, f"no end within {TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = " ".join(errors.decode(errors="replace").split())
        raise CommandFailed(command, words or f"exit status {process.returncode}")
    return output.decode(errors="replace")
