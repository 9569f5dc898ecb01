"""Running `ip`, `wg` and `nft`: bounded in time, with their own words where they fail."""

import asyncio
import os
from collections.abc import Sequence

TIMEOUT_S = 10.0
# What a pipe holds on Linux without a reader.
STDIN_LIMIT_BYTES = 65536


class CommandFailed(Exception):
    """A program could not be started, did not end in time, or ended with an error."""

    def __init__(self, command: Sequence[str], words: str) -> None:
        super().__init__(f"`{' '.join(command)}`: {words}")
        self.words = words


async def run(command: Sequence[str], stdin: str = "") -> str:
    """What the program printed. Raises CommandFailed."""
    # A pipe filled beforehand, not asyncio's own: that is a socket on Python 3.11, and nft and wg, which
    # open /dev/stdin by its name, cannot open a socket.
    data = stdin.encode()
    if len(data) > STDIN_LIMIT_BYTES:
        raise ValueError(f"more than {STDIN_LIMIT_BYTES} bytes of input")
    reader, writer = os.pipe()
    try:
        try:
            os.write(writer, data)
        finally:
            os.close(writer)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=reader, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise CommandFailed(command, f"{command[0]} is not installed") from None
    except OSError as error:
        raise CommandFailed(command, str(error.strerror)) from error
    finally:
        os.close(reader)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise CommandFailed(command, f"did not end within {TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = " ".join(errors.decode(errors="replace").split()) or f"exit status {process.returncode}"
        raise CommandFailed(command, words)
    return output.decode(errors="replace")
