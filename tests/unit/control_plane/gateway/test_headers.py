"""The headers that the gateway reads."""

import pytest

from control_plane.gateway.errors import Refusal
from control_plane.gateway.headers import read_headers


def test_headers_are_read_by_name() -> None:
    read = read_headers(
        [
            (b"authorization", b"Bearer x"),
            (b"x-api-key", b" y "),
            (b"content-length", b"12"),
            (b"x-daalu-purpose", b" Coding "),
        ]
    )
    assert (read.authorization, read.api_key) == ("Bearer x", "y")
    assert (read.content_length, read.purpose) == (12, "coding")


@pytest.mark.parametrize("value", [b"", b"-1", b"1e3", b"9" * 20])
def test_a_length_that_is_none_is_not_believed(value: bytes) -> None:
    assert read_headers([(b"content-length", value)]).content_length is None


@pytest.mark.parametrize("name", [b"x-daalu-purpose", b"authorization", b"x-api-key"])
def test_two_headers_that_do_not_agree_are_refused(name: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_headers([(name, b"coding"), (name, b"general")])
    assert refused.value.param == name.decode()
    read_headers([(name, b"coding"), (name, b"coding")])
