"""A table of the vendors' file, read field by field. Every complaint names file, vendor and field."""

from typing import NoReturn

from control_plane.config import InvalidSetting

MOST_TEXT_CHARACTERS = 1_000


class Fields:
    """`where` says which table of which file it is, for messages."""

    def __init__(self, where: str, values: object) -> None:
        if not isinstance(values, dict):
            raise InvalidSetting(f"{where} must be a table")
        self.where = where
        self._values = dict(values)

    def refuse(self, name: str, words: str) -> NoReturn:
        raise InvalidSetting(f"{self.where}: {name} {words}")

    def has(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        value = self._taken(name)
        if not isinstance(value, str) or not 1 <= len(value) <= MOST_TEXT_CHARACTERS:
            self.refuse(name, f"must be a text of 1 to {MOST_TEXT_CHARACTERS} characters")
        if not value.isprintable() or value != value.strip():
            self.refuse(name, "must have no control characters, and no space at its ends")
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def whole(self, name: str, *, least: int, most: int, default: int | None = None) -> int:
        if default is not None and not self.has(name):
            return default
        value = self._taken(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.refuse(name, f"must be a whole number from {least} to {most}")
        return value

    def seconds(self, name: str, *, most: float, default: float) -> float:
        if not self.has(name):
            return default
        value = self._taken(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
            self.refuse(name, f"must be a number of seconds above 0, at most {most:g}")
        return float(value)

    def tables(self, name: str, most: int) -> list[object]:
        value = self._taken(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            self.refuse(name, f"must be 1 to {most} tables, each under [[…{name}]]")
        return value

    def end(self) -> None:
        """Everything has been read: what is left is a mistake."""
        for name in self._values:
            self.refuse(repr(name), "is no field here")

    def _taken(self, name: str) -> object:
        if name not in self._values:
            self.refuse(name, "is missing")
        return self._values.pop(name)
