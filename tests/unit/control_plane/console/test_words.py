import pytest

from control_plane.console.words import figure, moment, usd


@pytest.mark.parametrize(
    ("pico_usd", "shown"),
    [
        (0, "$0.0000"),
        (1, "$0.000000000001"),
        (1_999_999_999_999, "$1.9999"),
        (-2_500_000_000_000, "-$2.5000"),
        (1_234_000_000_000_000, "$1,234.0000"),
    ],
)
def test_money_is_never_rounded_up_and_small_money_is_not_lost(pico_usd: int, shown: str) -> None:
    assert usd(pico_usd) == shown


def test_bytes_are_shown_in_gib() -> None:
    assert figure(14 * 1024**3, "bytes") == "14.0 GiB"


def test_a_time_that_is_not_known_is_never() -> None:
    assert moment(None) == "never"
