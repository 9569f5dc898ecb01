"""JSON that is carried exactly or not at all.

A request goes to the engine parsed and dumped again, so what orjson would change on the way is refused:
duplicate keys (one would vanish), integers beyond 64 bits (they would become floats), lone surrogates,
NaN and infinities, and nesting that cannot be dumped again.
"""

import json
from typing import Any, NoReturn

import orjson


class NotExact(ValueError):
    """The text is not JSON, or not JSON that can be carried exactly. The message is for the client."""


def parse(raw: bytes) -> object:
    """The value of `raw`; raises NotExact."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise NotExact(f"the body is not valid JSON: {error.msg} at character {error.pos}") from None
    try:
        again = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        raise NotExact("the body is nested too deeply") from None
    # Most clients send compact JSON, which comes out as it went in: nothing can have been lost.
    if again != raw:
        _compare(raw, value)
    return value


def _compare(raw: bytes, value: object) -> None:
    try:
        reference = json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise NotExact("the body is nested too deeply") from None
    if reference != value:
        raise NotExact("the body has a number that cannot be carried exactly")


def _integer(digits: str) -> int:
    # The widest has 20 characters; converting very many digits takes very long.
    number = int(digits) if len(digits) <= 20 else None
    if number is None or not -(2**63) <= number < 2**64:
        raise NotExact("the body has an integer of more than 64 bits, which cannot be carried exactly")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotExact(f"the key {twice[:100]!r} appears twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NotExact(f"{name} is not JSON")
