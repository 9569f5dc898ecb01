"""What a name may look like, so that it shows well, is typed easily and never passes for an id."""

import re

from control_plane.access.conditions import Invalid

MAX_NAME_CHARACTERS = 64
MAX_EMAIL_CHARACTERS = 254

_ID = re.compile(r"[a-z]{3,4}-[0-9a-z]{26}\Z")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\Z")


def check_name(kind: str, name: str) -> str:
    """The name as given. Raises Invalid."""
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise Invalid(f"a {kind}'s name has 1 to {MAX_NAME_CHARACTERS} characters")
    if not name.isprintable() or name != name.strip():
        raise Invalid(f"a {kind}'s name has no control characters, and no space at its ends")
    if _ID.match(name):
        raise Invalid(f"a {kind}'s name must not look like an id")
    return name


def check_email(email: str) -> str:
    """The address in lower case. Raises Invalid. Whether mail arrives there is not looked into."""
    if len(email) > MAX_EMAIL_CHARACTERS or not email.isprintable() or not _EMAIL.match(email):
        raise Invalid(f"not an e-mail address: {email[:MAX_EMAIL_CHARACTERS]!r}")
    return email.lower()
