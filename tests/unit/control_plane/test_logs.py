import logging

from control_plane.logs import KeyValueFormatter


def _line(message: str, **fields: object) -> str:
    record = logging.LogRecord("room", logging.INFO, __file__, 1, message, (), None)
    vars(record).update(fields)
    return KeyValueFormatter().format(record)


def test_fields_of_an_event_stand_beside_its_message() -> None:
    assert _line("agent enrolled", agent="agt-1").endswith(
        ' level=info logger=room message="agent enrolled" agent=agt-1'
    )


def test_no_value_can_end_a_line_or_forge_a_field() -> None:
    line = _line("a\nb", agent='x" level=error', empty="")
    assert "\n" not in line
    assert line.endswith(r'message="a\nb" agent="x\" level=error" empty=""')


def test_an_exception_is_one_field() -> None:
    error = ValueError("x")
    record = logging.LogRecord("room", logging.ERROR, __file__, 1, "failed", (), (ValueError, error, None))
    line = KeyValueFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: x" in line
