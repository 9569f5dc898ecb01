"""The headers that the gateway reads."""

import pytest

from control_plane.gateway.headers import read_headers


def test_headers_are_read_by_name() -> None:
    read = read_headers(
        [(b"authorization", b"Bearer x"), (b"content-length", b"12"), (b"x-daalu-purpose", b" Coding ")]
    )
    assert (read.authorization, read.content_length, read.purpose) == ("Bearer x", 12, "coding")


@pytest.mark.parametrize("value", [b"", b"-1", b"1e3", b"9" * 20])
def test_a_length_that_is_none_is_not_believed(value: bytes) -> None:
    assert read_headers([(b"content-length", value)]).content_length is None
