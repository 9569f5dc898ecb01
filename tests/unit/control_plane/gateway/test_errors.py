"""Errors as clients see them."""

import json

import pytest

from control_plane.gateway.errors import Condition, error_body, error_event


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_has_a_status_a_code_and_openais_shape(condition: Condition) -> None:
    assert 400 <= condition.value.status < 600
    error = json.loads(error_body(condition, "words", "param"))["error"]
    assert error == {
        "message": "words",
        "type": condition.value.type,
        "param": "param",
        "code": condition.value.code,
    }


def test_codes_are_distinct() -> None:
    assert len({condition.value.code for condition in Condition}) == len(Condition)


def test_an_error_event_is_one_event() -> None:
    event = error_event(Condition.STREAM_BROKEN, "two\n\nlines")
    assert event.startswith(b"data: {")
    assert event.count(b"\n\n") == 1
