import pytest

from control_plane.console.words import figure, milliseconds, moment, percent, price, usd


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


def test_a_price_is_exact() -> None:
    assert [price(each) for each in (0, 150_000, 600_001, 12_000_000)] == [
        "$0.00",
        "$0.15",
        "$0.600001",
        "$12.00",
    ]


def test_shares_are_percents_and_durations_have_the_unit_that_fits() -> None:
    assert [percent(each) for each in (0, 7_000, 7_001, 10_000)] == ["0 %", "70 %", "70.01 %", "100 %"]
    assert [milliseconds(each) for each in (0.4, 420.0, 61_250.0)] == ["0 ms", "420 ms", "61.2 s"]
