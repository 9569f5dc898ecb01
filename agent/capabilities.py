"""What a program that the daemon starts may do beyond its user's rights (capabilities(7)).

The unit gives the daemon CAP_NET_ADMIN in its ambient set, from which every program that it starts would
inherit it: `ip`, `wg`, `nft` and wireguard-go need it, the engine must not have it.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# linux/capability.h, linux/prctl.h
CAP_NET_ADMIN = 12
_PR_CAP_AMBIENT = 47
_IS_SET, _RAISE, _LOWER = 1, 2, 3

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def no_capabilities() -> Iterator[None]:
    """What the calling thread starts inside gets no capability of the daemon's. Raises OSError."""
    held = _ambient(_IS_SET) == 1
    if held:
        _ambient(_LOWER)
    try:
        yield
    finally:
        if held:
            _ambient(_RAISE)


def _ambient(operation: int) -> int:
    result: int = _libc.prctl(_PR_CAP_AMBIENT, operation, CAP_NET_ADMIN, 0, 0)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_CAP_AMBIENT): {os.strerror(code)}")
    return result
