"""Saying on a terminal that something takes its time; elsewhere nothing, so that logs stay readable."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What is quicker than this is not worth a word.
PATIENCE_S = 1.0


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Shows `words` with a spinner, on standard error, from the first second on until the block ends."""
    if not sys.stderr.isatty():
        yield
        return
    # Only here: Rich's live display costs every command 20 ms where nobody sees it.
    from rich.console import Console  # noqa: PLC0415

    status = Console(stderr=True, markup=False).status(words)
    timer = threading.Timer(PATIENCE_S, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
