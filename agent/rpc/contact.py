"""When the control plane was last here."""

import datetime as dt
from collections.abc import Callable


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Contact:
    """Noted for every call that was admitted and every sample that its caller took."""

    def __init__(self, clock: Callable[[], dt.datetime] = utc_now) -> None:
        self._clock = clock
        # None: not since the daemon started.
        self.last: dt.datetime | None = None

    def note(self) -> None:
        self.last = self._clock()
