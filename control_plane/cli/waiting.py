"""Saying on a terminal that something takes its time; elsewhere nothing, so that logs stay readable."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
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


@contextmanager
def advancing(words: str) -> Iterator[Callable[[float], None]]:
    """Yields what is told how much is done, from 0 to 1; shown as `waiting` is, by a bar."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, shown_from_s = bar.add_task(words, total=1.0), time.monotonic() + PATIENCE_S
    begun = False

    def tell(done: float) -> None:
        nonlocal begun
        if not begun and time.monotonic() >= shown_from_s:
            begun = True
            bar.start()
        bar.update(task, completed=done)

    try:
        yield tell
    finally:
        if begun:
            bar.stop()
