"""`daalu`: sets a control plane up, runs it, and speaks to it over REST.

Exit codes: 0 done, 1 refused or failed (one line on standard error says what to do), 2 a wrong command line,
3 the control plane did not answer, 130 interrupted.
`--json` prints what REST answered, whose fields are only ever added to.
"""

from control_plane.cli.app import main

__all__ = ["main"]
