"""What can be wrong with a request about tenants, users, keys and what belongs to them."""


class Unknown(Exception):
    """There is nothing of that kind with that id or name, or it is another tenant's."""

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"there is no {kind} {identifier!r}")
        self.kind = kind
        self.identifier = identifier


class Duplicate(Exception):
    """The name is taken, or the state asked for is incompatible with the one there is."""


class Invalid(Exception):
    """A value that is not acceptable; the message says what is."""
