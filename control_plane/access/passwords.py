"""Passwords: Argon2id, with a salt for each, in the PHC form that names its own costs."""

import os
from functools import cache

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from control_plane.access.conditions import Invalid

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 256
# OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
_SALT_BYTES = 16
_HASH_BYTES = 32


def check_password(password: str) -> str:
    """The password as given. Raises Invalid, in words for the person who chooses it."""
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise Invalid(
            f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters;"
            " a few words in a row are good"
        )
    return password


def hash_password(password: str) -> str:
    """Takes tens of milliseconds and 19 MiB: not for the event loop."""
    argon = Argon2id(
        salt=os.urandom(_SALT_BYTES),
        length=_HASH_BYTES,
        iterations=PASSES,
        lanes=LANES,
        memory_cost=MEMORY_KIB,
    )
    return argon.derive_phc_encoded(password.encode())


def is_password(password: str, stored: str | None) -> bool:
    """As long where there is nothing to compare with, so that the time tells of no account."""
    if len(password) > MAX_PASSWORD_CHARACTERS:
        password = ""
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored or _nobodys())
    except InvalidKey:
        return False
    return stored is not None


@cache
def _nobodys() -> str:
    return hash_password(os.urandom(_SALT_BYTES).hex())
