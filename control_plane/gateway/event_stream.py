"""Server-sent events out of bytes, as the standard has them. Pure."""

from control_plane.gateway.metering import StreamTooLarge


class EventReader:
    """Lines end in LF or CRLF; several `data` lines make one event; comments and other fields say nothing.

    The engines' own streams are not read by this: they come in one form, and many more of them.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._most = max_event_bytes
        self._partial = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that is whole now. Raises StreamTooLarge."""
        self._partial += data
        events: list[bytes] = []
        if b"\n" in data:
            *lines, rest = bytes(self._partial).split(b"\n")
            self._partial[:] = rest
            for line in lines:
                self._line(line.removesuffix(b"\r"), events)
        if len(self._partial) + self._data_bytes > self._most:
            raise StreamTooLarge(f"an event of more than {self._most} bytes")
        return events

    def end(self) -> list[bytes]:
        """The event that the stream ended in, if any: it may lack its blank line, or be cut off."""
        return self.feed(b"\n\n")

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data.clear()
            self._data_bytes = 0
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._data_bytes += len(line)
