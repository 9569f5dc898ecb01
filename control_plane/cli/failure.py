"""How a command ends when it could not do what it was asked."""


class Failure(Exception):
    """Printed as one line on standard error; the exit code is 1."""
