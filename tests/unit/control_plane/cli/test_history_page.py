"""What `daalu agents history` prints."""

from typing import Any

import pytest

from control_plane.cli.history_page import print_history, sparkline


def _field(mean: list[float | None], unit: str = "celsius", **more: Any) -> dict[str, Any]:
    return {"unit": unit, "mean": mean, "least": None, "most": None, "reasons": None} | more


def _page(capsys: pytest.CaptureFixture[str], **fields: dict[str, Any]) -> str:
    card = {
        "card_uuid": "GPU-1",
        "card_index": 0,
        "simulated": True,
        "at_unix_ms": [0, 60_000, 120_000],
        "fields": fields,
    }
    print_history(
        {"from_unix_ms": 0, "to_unix_ms": 180_000, "step_ms": 60_000, "cards": [card], "engine": None}
    )
    return capsys.readouterr().out


def test_a_sparkline_has_a_character_for_each_value_and_a_gap_for_none() -> None:
    assert sparkline([0, 50, None, 100]) == "▁▅ █"
    assert sparkline([7, 7]) == "▁▁"
    assert sparkline([None, None]) == ""


def test_a_line_has_the_least_the_mean_and_the_most_of_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    field = _field([40, None, 50], least=[38, None, 44], most=[41, None, 61])
    page = _page(capsys, temperature_celsius=field)
    assert "card 0  GPU-1 (simulated)" in page
    assert "a point every 1 min" in page
    (line,) = [line for line in page.splitlines() if line.startswith("temperature")]
    assert line.split() == ["temperature", "38", "45", "61", "°C", "▁", "█"]


def test_a_reading_that_never_came_has_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys, power_watts=_field([None, None, None], "watts"))
    assert "power" not in page
    assert "nothing was reported" in page


def test_memory_is_shown_in_gib(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys, memory_used_bytes=_field([2 * 1024**3], "bytes"))
    assert "memory used  2      2     2     GiB" in page


def test_each_reason_for_a_slowdown_has_its_share_of_the_points(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = [["hardware_thermal"], [], None, ["hardware_thermal", "idle"], []]
    page = _page(capsys, throttle=_field([], reasons=reasons) | {"mean": None})
    lines = [line.split("  ")[0] for line in page.splitlines() if "throttle" in line]
    assert lines == ["throttle: hardware thermal", "throttle: idle"]
    assert "50" in page
    assert "25" in page


def test_an_agent_of_which_nothing_was_recorded_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_history({"from_unix_ms": 0, "to_unix_ms": 1, "step_ms": 0, "cards": [], "engine": None})
    assert "nothing was recorded of this agent" in capsys.readouterr().out


def test_what_an_agent_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    card = {"card_uuid": "GPU\x1b[2J", "card_index": 0, "simulated": False, "at_unix_ms": [], "fields": {}}
    print_history({"from_unix_ms": 0, "to_unix_ms": 1, "step_ms": 0, "cards": [card], "engine": None})
    assert "\x1b" not in capsys.readouterr().out
