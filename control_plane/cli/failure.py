"""How a command ends when it could not do what it was asked."""

# Of a program's exit; docs/cli.md explains them to whoever writes scripts.
REFUSED = 1
UNREACHABLE = 3


class Failure(Exception):
    """Printed as one line on standard error; its exit code says what a script may do about it."""

    exit_code = REFUSED


class Unreachable(Failure):
    """The control plane did not answer: nothing is known of what was asked, and trying again may help."""

    exit_code = UNREACHABLE
