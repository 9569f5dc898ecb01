"""JSON that is carried exactly or not at all."""

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.exact_json import NotExact, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5)
)


def same(one: object, other: object) -> bool:
    """Equal as JSON values, types included: 1 and True are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and one == other


@given(VALUE, st.booleans(), st.sampled_from([None, 2]))
def test_what_is_accepted_comes_out_as_it_went_in(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert same(json.loads(orjson.dumps(parse(raw))), value)


@given(st.integers(min_value=2**64) | st.integers(max_value=-(2**63) - 1))
def test_an_integer_beyond_64_bits_is_refused(number: int) -> None:
    with pytest.raises(NotExact, match="64 bits"):
        parse(b"[%d]" % number)


@given(st.text(st.sampled_from('{}[]",:0123456789.eE+-ntf \\u\x00'), max_size=30))
def test_whatever_comes_it_is_refused_or_means_what_it_meant(text: str) -> None:
    try:
        value = parse(text.encode())
    except NotExact:
        return
    assert json.loads(orjson.dumps(value)) == json.loads(text)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a": 1, "a": 1}', "'a' appears twice"),
        (b'{"x": {"a":1,"b":2,"a":1}}', "'a' appears twice"),
        (b"[18446744073709551617]", "64 bits"),
        (b"[" + b"9" * 5000 + b"]", "64 bits|not valid JSON"),
        (b"[NaN]", "not valid JSON"),
        (b"[1e999]", "not valid JSON"),
        (b'["\\udc00"]', "not valid JSON"),
        (b'["\xc3"]', "not valid JSON"),
        (b"[" * 300 + b"]" * 300, "too deeply"),
        (b"[" * 5000, "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
    ],
)
def test_what_cannot_be_carried_is_refused_in_words(raw: bytes, words: str) -> None:
    with pytest.raises(NotExact, match=words):
        parse(raw)
